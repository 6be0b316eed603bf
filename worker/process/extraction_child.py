"""A process that extracts faces for a command of its own machine, told by a pipe what to do next.

This module imports nothing heavy: a spawned process reads it before Django is set up.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from types import FrameType

from django.db import close_old_connections

from worker.process import stop_signal

END_S = 10
"""What a process that is told to end has for giving its work back."""


@dataclass(frozen=True)
class Answer:
    """How it stands with an analysis after one try: ended for this stage, or to be tried again in `again_s` seconds.

    `trouble`: the database (or the program) failed, and not the file.
    """

    analysis_id: str
    ended: bool
    again_s: float = 0.0
    trouble: str = ""


def serve(pipe: Connection) -> None:
    """The process: set up, say so with None, then answer each analysis id until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent says when to end
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _set_up()  # SIGTERM ends it at once: nothing is held yet, and an import turns an exception into one of its own
    # A second SIGTERM is ignored: giving the claim back must not be interrupted.
    with stop_signal.stops_with(partial(SystemExit, 1), signal.SIGTERM, second=signal.SIG_IGN):
        answer: Answer | None = None
        while True:
            with stop_signal.interruptible():
                pipe.send(answer)
                try:
                    analysis_id = pipe.recv()
                except EOFError:
                    return
            answer = extract_one(analysis_id, limit=True)
            close_old_connections()


def _set_up() -> None:
    import django

    django.setup()
    quiet_logging()

    from worker.process import host, runtime
    from worker.stages import watchdog

    host.lower_priority()
    watchdog.process_may_be_killed()
    runtime.share_cores(processes=os.cpu_count() or 1)  # the processes share the cores, so that each has one thread
    runtime.load_detector()


def extract_one(analysis_id: str, *, limit: bool = False) -> Answer:
    """One try at one analysis: claimed, extracted and settled as by a Celery worker, and with `limit` in its time."""
    from celery.exceptions import SoftTimeLimitExceeded
    from django.conf import settings

    from detection.models import Stage
    from worker.process import runtime
    from worker.stages import attempt

    def too_long(number: int, frame: FrameType | None) -> None:
        raise SoftTimeLimitExceeded

    hard = threading.Timer(settings.DFD_TASK_HARD_LIMIT_S, os._exit, (1,))  # stuck where no signal is heard
    hard.daemon = True
    try:
        if limit:
            signal.signal(signal.SIGALRM, too_long)
            signal.alarm(settings.DFD_TASK_SOFT_LIMIT_S)
            hard.start()
        try:
            attempt.run(analysis_id, Stage.EXTRACT, runtime.extract)
        finally:
            hard.cancel()
            if limit:
                signal.alarm(0)
        return _look(analysis_id)
    except Exception as error:
        return Answer(analysis_id, ended=False, again_s=5.0, trouble=f"{type(error).__name__}: {error}")


def _look(analysis_id: str) -> Answer:
    """Nothing else is remembered of a try: the row says how it ended, or who is at it."""
    from django.utils import timezone

    from detection.models import Analysis, Stage, State
    from detection.services.jobs import analyses

    row = Analysis.objects.filter(id=analysis_id).only("state", "stage", "not_before", "lease_until").first()
    if row is None or row.state not in (State.QUEUED, State.RUNNING) or row.stage != Stage.EXTRACT:
        return Answer(analysis_id, ended=True)
    now = timezone.now()
    if row.state == State.QUEUED:
        return Answer(analysis_id, ended=False, again_s=max(0.1, (row.not_before - now).total_seconds()))
    left = (row.lease_until - now).total_seconds() if row.lease_until else 0.0
    if left <= 0:  # its last attempt's process has died: only the sweeper's rule ends such a row
        analyses.give_back_expired()
    return Answer(analysis_id, ended=False, again_s=min(max(0.1, left + 0.1), 5.0))


def quiet_logging() -> None:
    """The work of thousands of files is a progress bar's to show, not two log lines each."""
    root = logging.getLogger()
    if root.level == logging.INFO:
        root.setLevel(logging.WARNING)


def _end_with_parent() -> None:
    """A parent that was killed cannot say so; without this its children would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_S)
    os._exit(1)
