"""Run recurring chores: each isolated from the others, bounded in time, and its outcome recorded.

A chore that raises or hangs costs the others nothing but its budget.  `ChoreRun` keeps one row for each, and one named
`SWEEP` for the whole round, which /metrics, /readyz and the admin's first page read.
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
    """A chore has used up its budget.  No Exception: what a chore tolerates of single files must not tolerate this."""


@dataclass(frozen=True)
class Chore:
    """One step of a round, and after how many seconds it is cut short."""

    name: str
    run: Callable[[], object]
    budget_s: float = BUDGET_S


@dataclass(frozen=True)
class Outcome:
    """How one run of a chore went; `error` is empty on success."""

    name: str
    ran_at: datetime
    seconds: float
    error: str = ""


def run_all(chores: Sequence[Chore]) -> list[Outcome]:
    """Run the chores in their order, record how each went and that the round is over; returns the outcomes."""
    started = time.monotonic()
    outcomes = [run(chore) for chore in chores]
    whole = Outcome(SWEEP, timezone.now(), time.monotonic() - started)
    try:
        _record([*outcomes, whole])
    except Exception as error:  # the database is away: the next round records
        log.warning("chores_not_recorded", error=str(error))
        _drop_connection()
    return outcomes


def run(chore: Chore) -> Outcome:
    """Run one chore for at most its budget.  Raises nothing but what ends the process."""
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
    """Raises OutOfTime in the body after so many seconds; only the main thread can be interrupted."""
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
    """The next chore opens one of its own; in whoever's transaction this is (a test's), theirs stays."""
    if not connection.in_atomic_block:
        connection.close()


def _record(outcomes: Sequence[Outcome]) -> None:
    with transaction.atomic():
        ChoreRun.objects.bulk_create([ChoreRun(name=each.name) for each in outcomes], ignore_conflicts=True)
        for each in outcomes:
            rows = ChoreRun.objects.filter(name=each.name)
            ended = {"failures": F("failures") + 1} if each.error else {"succeeded_at": each.ran_at}
            rows.update(ran_at=each.ran_at, seconds=each.seconds, runs=F("runs") + 1, last_error=each.error, **ended)
