"""Workers that misbehave, for `celery -A tests.chaos.workers`: the product's own, but for the work of one stage.

DFD_TEST_EXTRACT says what extraction does: `die` kills its process, `sleep` takes a minute, `poison` does to the files
that end with one of POISON what a decoder might do when it meets a file made for it; the others are analysed.
DFD_TEST_GRACE_S is how long after a limit the watchdog kills, where nothing hears the limit itself.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery.signals import worker_process_init
from django.conf import settings

from ml.video.ranged_file import VideoFile
from tests.worker.misbehaving import hang_in_c
from worker.app import app

__all__ = ["app"]

app.conf.worker_soft_shutdown_timeout = 1

HANG_S = 5
"""Limit on the file that hangs, which only waits for it; the others have the settings' all their time."""
POISON = (b"dfd-test-crash", b"dfd-test-hang-", b"dfd-test-eat--", b"dfd-test-spin-")


def die(claim: object, heartbeat: Callable[[float], None]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(claim: object, heartbeat: Callable[[float], None]) -> None:
    for _ in range(600):
        heartbeat(1)
        time.sleep(0.1)


def swallow(path: Path) -> None:
    """What the poison of the file's end does, if there is any."""
    match path.read_bytes()[-len(POISON[0]) :]:
        case b"dfd-test-crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case b"dfd-test-hang-":
            settings.DFD_TASK_SOFT_LIMIT_S = HANG_S  # of this process, which does not survive it
            hang_in_c()
        case b"dfd-test-eat--":
            kept = []
            while True:
                kept.append(bytearray(64 * 1024**2))
        case b"dfd-test-spin-":
            while True:
                pass


def poison_the_decoder() -> None:
    from ml.faces import extract

    real = extract.extract_faces

    def extract_faces(path: VideoFile, **options: Any) -> Any:
        assert isinstance(path, Path)  # these workers' storage is a disk
        swallow(path)
        return real(path, **options)

    extract.extract_faces = extract_faces


@worker_process_init.connect
def misbehave(**_: Any) -> None:
    from worker.process import runtime
    from worker.stages import watchdog

    watchdog.GRACE_S = float(os.environ.get("DFD_TEST_GRACE_S", watchdog.GRACE_S))
    if os.environ["DFD_TEST_EXTRACT"] == "poison":
        poison_the_decoder()
    else:
        runtime.extract = {"die": die, "sleep": sleep}[os.environ["DFD_TEST_EXTRACT"]]
