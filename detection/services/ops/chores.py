"""Run recurring chores: each isolated from the others, bounded in time, and its outcome recorded.

A chore that raises or hangs costs the others nothing but its budget.  `ChoreRun` has one row for each, and one named
`SWEEP` for the whole round, which /metrics, /readyz and the overview page read.
"""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from types import FrameType

import structlog
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from detection.models import ChoreRun

log = structlog.get_logger(__name__)

SWEEP = "sweep"
BUDGET_S = 10.0
ERROR_CHARS = 4000


class OutOfTime(BaseException):
    """A chore used up its budget.

    A BaseException, so that chores which tolerate errors of single files do not swallow it.
    """


@dataclass(frozen=True)
class Chore:
    """One step of a round, cut short after `budget_s` seconds."""

    name: str
    run: Callable[[], object]
    budget_s: float = BUDGET_S


@dataclass(frozen=True)
class Outcome:
    """Outcome of one run; `error` is empty on success."""

    name: str
    ran_at: datetime
    seconds: float
    error: str = ""


def run_all(chores: Sequence[Chore]) -> list[Outcome]:
    """Run the chores in order, record each outcome and the end of the round, and return the outcomes."""
    started = time.monotonic()
    outcomes = [run(chore) for chore in chores]
    whole = Outcome(SWEEP, timezone.now(), time.monotonic() - started)
    try:
        _record([*outcomes, whole])
    except Exception as error:  # the database is away: the round stays due
        log.warning("chores_not_recorded", error=str(error))
        _drop_connection()
    return outcomes


def run(chore: Chore) -> Outcome:
    """Run one chore for at most its budget; returns its errors as an outcome."""
    started, error = time.monotonic(), ""
    try:
        with _limited(chore.budget_s):
            chore.run()
    except OutOfTime:
        error = f"Cut short after {chore.budget_s:g} s."
        _drop_connection()  # it may be in the middle of an answer
    except Exception:
        error = traceback.format_exc()[-ERROR_CHARS:]
        _drop_connection()
    if error:
        log.error("chore_failed", chore=chore.name, error=error)
    return Outcome(chore.name, timezone.now(), time.monotonic() - started, error)


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise OutOfTime in the block after so many seconds, in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def too_long(number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, too_long)
    started = time.monotonic()
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:  # somebody else's, e.g. a test runner's
            signal.setitimer(signal.ITIMER_REAL, max(0.001, left - (time.monotonic() - started)), interval)


def _drop_connection() -> None:
    """Close the connection, so that the next chore opens its own; inside a transaction (a test's) it stays."""
    if not connection.in_atomic_block:
        connection.close()


def _record(outcomes: Sequence[Outcome]) -> None:
    with transaction.atomic():
        ChoreRun.objects.bulk_create([ChoreRun(name=each.name) for each in outcomes], ignore_conflicts=True)
        for each in outcomes:
            rows = ChoreRun.objects.filter(name=each.name)
            ended = {"failures": F("failures") + 1} if each.error else {"succeeded_at": each.ran_at}
            rows.update(ran_at=each.ran_at, seconds=each.seconds, runs=F("runs") + 1, last_error=each.error, **ended)
