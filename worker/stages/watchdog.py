"""Watches over the work on one file from a thread of its own, for when that is stuck where no signal is heard.

A time limit is an exception in the main thread, which C code that never returns never sees.  The pool would then kill
the process, and nobody could say what of.  This thread can: it gives the work back with a sentence, and ends the
process before the pool does.  Work that was cancelled meanwhile, or is another worker's by now, ends the same way.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from django.conf import settings

from ml.resource_limits import Limits, cpu_sentence, limited

log = structlog.get_logger(__name__)

GRACE_S = 10.0
"""After a limit, for its exception to be heard; the pool kills later still."""
LOOK_S = 0.5
TRAIN_LIMIT_S = 7 * 24 * 3600
"""Of a training run on the queue."""

_may_be_killed = False


def process_may_be_killed() -> None:
    """Called in a process which another one replaces when it dies; only there is the last resort taken."""
    global _may_be_killed
    _may_be_killed = True


def file_limits() -> Limits:
    """What the settings allow the work on one file to cost."""
    return Limits(memory_bytes=settings.DFD_TASK_MEMORY_BYTES, cpu_s=settings.DFD_TASK_CPU_S)


@contextmanager
def file_budget(give_up: Callable[[str], None], lost_for_s: Callable[[], float] = lambda: 0.0) -> Iterator[None]:
    """Limit what the block may cost.  Raises ml.resource_limits.OverLimit.

    `give_up` hears why before the process is killed.  `lost_for_s` tells for how many seconds nobody has wanted the
    work any more; a block that does not notice is killed, too.
    """
    done = threading.Event()
    if _may_be_killed:
        threading.Thread(target=_enforce, args=(done, give_up, lost_for_s), name="watchdog", daemon=True).start()
    try:
        with limited(file_limits()):
            yield
    finally:
        done.set()


def _enforce(done: threading.Event, give_up: Callable[[str], None], lost_for_s: Callable[[], float]) -> None:
    began, cpu_began = time.monotonic(), time.process_time()
    while not done.wait(LOOK_S):
        if time.monotonic() - began > settings.DFD_TASK_SOFT_LIMIT_S + GRACE_S:
            sentence = too_long_sentence()
        elif time.process_time() - cpu_began > settings.DFD_TASK_CPU_S + GRACE_S:
            sentence = cpu_sentence(settings.DFD_TASK_CPU_S)
        elif lost_for_s() > GRACE_S:
            sentence = "It was cancelled, or given to another worker, and did not stop."
        else:
            continue
        log.error("stuck", sentence=sentence)
        try:
            give_up(sentence)
        except Exception as error:  # the lease runs out, and the sweeper sees to it
            log.error("attempt_not_ended", error=str(error))
        if not done.is_set():
            os.kill(os.getpid(), signal.SIGKILL)


def too_long_sentence(limit_s: int | None = None) -> str:
    """The sentence for work that hit its time limit, which is that of a file where none is given."""
    limit_s = limit_s or settings.DFD_TASK_SOFT_LIMIT_S
    days, rest = divmod(limit_s, 24 * 3600)
    return f"It took longer than {f'{days} days' if days and not rest else f'{limit_s} s'}."
