"""When the sweep last ran, and which of its chores fail."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from detection.models import ChoreRun
from detection.services.ops.chores import SWEEP

DUE_PERIODS = 0.75
"""More than two of the three turns that beat takes in a period, less than three and the round before them."""
LATE_PERIODS = 2


@dataclass(frozen=True)
class SweepHealth:
    """When a whole round last ended, and how long ago that is.

    A round is `due` at the next turn of beat, and `late` when none ended within the last two periods.  One that ended
    in the future is none: the clock was put back since, by nobody knows how much.
    """

    last_at: datetime | None
    due: bool
    late: bool
    chores: tuple[ChoreRun, ...]

    @property
    def failing(self) -> tuple[ChoreRun, ...]:
        """Return the chores whose last run failed."""
        return tuple(chore for chore in self.chores if chore.last_error)


def sweep_health(*, now: datetime | None = None) -> SweepHealth:
    """Return how the sweep is doing, in one query of a dozen rows."""
    now = now or timezone.now()
    rows = {row.name: row for row in ChoreRun.objects.all()}
    whole = rows.pop(SWEEP, None)
    last_at = whole.ran_at if whole else None
    periods = (now - last_at) / timedelta(seconds=settings.DFD_SWEEP_S) if last_at else float("inf")
    due, late = (not 0 <= periods <= most for most in (DUE_PERIODS, LATE_PERIODS))
    return SweepHealth(last_at, due, late, tuple(rows.values()))
