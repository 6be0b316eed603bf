"""Workers that misbehave, for `celery -A tests.chaos.workers`: the product's own, but for the work of one stage.

DFD_TEST_EXTRACT says what extraction does: `die` kills its process, `sleep` takes a minute.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from celery.signals import worker_process_init

from worker.app import app

__all__ = ["app"]

app.conf.worker_soft_shutdown_timeout = 1


def die(claim: object, heart: Callable[[float], None]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(claim: object, heart: Callable[[float], None]) -> None:
    for _ in range(600):
        heart(1)
        time.sleep(0.1)


@worker_process_init.connect
def misbehave(**_: Any) -> None:
    from worker import runtime

    runtime.extract = {"die": die, "sleep": sleep}[os.environ["DFD_TEST_EXTRACT"]]
