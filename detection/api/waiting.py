"""Requests that wait for a task to move: few in each web process, each with a short query now and then.

A web process answers with a fixed number of threads, and a request that waits holds one of them.  So only
DFD_MAX_WAITING requests of a process may wait at a time; any other is answered with what is known now, and its client
asks again.  A waiting request reads one row of the database every POLL_S; it asks no broker, and holds no transaction.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from uuid import UUID

from django.conf import settings

from detection.models import TERMINAL_STATES, Analysis

POLL_S = 0.5
LONGEST_WAIT_S = 60
"""Of one request; proxies commonly close a connection on which nothing has come for this long."""
IDLE_S = 10.0
"""A stream that has nothing to tell says so this often: proxies keep it, and one whose client has gone ends."""

_slots = threading.BoundedSemaphore(settings.DFD_MAX_WAITING)
_closing = threading.Event()


TaskState = tuple[str, str, int, int]
"""What of a task moves: state, stage, progress, attempts."""


@contextmanager
def waiting() -> Iterator[bool]:
    """Whether the request may wait in this block."""
    free = not _closing.is_set() and _slots.acquire(blocking=False)
    try:
        yield free
    finally:
        if free:
            _slots.release()


def task_state(task: Analysis) -> TaskState:
    """Return what a waiting client is woken for when it changes."""
    return task.state, task.stage, task.progress, task.attempts


def read_state(task_id: UUID) -> TaskState | None:
    """One row by its key; None where it is gone."""
    return Analysis.objects.filter(pk=task_id).values_list("state", "stage", "progress", "attempts").first()


def wait_for_end(task_id: UUID, *, seconds: float) -> None:
    """Return when the task has ended or is gone, after so many seconds, or when this process is being stopped."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        now = read_state(task_id)
        if now is None or now[0] in TERMINAL_STATES or pause(min(POLL_S, left)):
            return


def movements(task_id: UUID, *, since: TaskState, seconds: float) -> Iterator[TaskState | None]:
    """How the task stands each time that it has moved; None where there was nothing to tell for IDLE_S.

    Ends like `wait_for_end`.
    """
    told, told_at = since, time.monotonic()
    until = told_at + seconds
    while time.monotonic() < until:
        now = read_state(task_id)
        if now is None:
            return
        if now != told or time.monotonic() - told_at >= IDLE_S:
            yield now if now != told else None
            told, told_at = now, time.monotonic()
        if now[0] in TERMINAL_STATES or pause(POLL_S):
            return


def pause(seconds: float) -> bool:
    """Sleep, but no longer than this process works; returns whether it is being stopped."""
    return _closing.wait(seconds)


def stop_waiting_at_sigterm() -> None:
    """Have a web server's graceful stop not wait for those who wait.  Called where a web process starts.

    The server's own handler is called after that; a process without one is left alone.
    """
    servers_own = signal.getsignal(signal.SIGTERM)
    if not callable(servers_own) or threading.current_thread() is not threading.main_thread():
        return

    def stop(number: int, frame: FrameType | None) -> None:
        _closing.set()
        servers_own(number, frame)

    signal.signal(signal.SIGTERM, stop)
