"""Queries of /metrics besides `selectors.videos.operational_counts`: queues, the last hour, workers, review.

Each is bounded by an index or a limit, so that a scrape costs the same at any size.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Count, Min
from django.utils import timezone

from detection.models import TERMINAL_STATES, Analysis, Stage, State
from detection.services.reviews.queues import QUEUES, queue_parts

HOUR = timedelta(hours=1)
MOST_TIMED = 2000
"""Newest analyses of the last hour whose timings are read."""
MOST_WAITING = 10_000
"""Bound of the count of a review queue."""
WAITING_STAGES = (Stage.EXTRACT, Stage.CLASSIFY, Stage.AWAITING_MODEL)


@dataclass(frozen=True)
class Waiting:
    """A stage's queue: how many analyses are due, and seconds since the first became due."""

    length: int = 0
    oldest_s: float = 0.0


@dataclass(frozen=True)
class Timed:
    """A step of the analyses that ended in the last hour, in seconds."""

    count: int
    total_s: float
    p95_s: float


def queues() -> dict[str, Waiting]:
    """Return the queue of each stage; analyses that back off are not due yet and do not count."""
    now = timezone.now()
    due = Analysis.objects.filter(state=State.QUEUED, not_before__lte=now).order_by()
    found = {
        stage: Waiting(count, (now - since).total_seconds())
        for stage, count, since in due.values_list("stage").annotate(Count("pk"), Min("not_before"))
    }
    return {stage.value: found.get(stage.value, Waiting()) for stage in WAITING_STAGES}


def steps() -> dict[str, Timed]:
    """Return the durations of each step (decode, detect, ..., classify) in the newest analyses of the last hour."""
    rows = Analysis.objects.filter(finished_at__gte=timezone.now() - HOUR).order_by("-finished_at")
    seconds: dict[str, list[float]] = defaultdict(list)
    for timings in rows.values_list("timings", flat=True)[:MOST_TIMED]:
        for step, value in timings.items() if isinstance(timings, dict) else ():
            if isinstance(value, int | float):
                seconds[step].append(float(value))
    return {step: _timed(values) for step, values in sorted(seconds.items())}


def outcomes() -> dict[str, int]:
    """Count the analyses of the last hour by final state."""
    ended = Analysis.objects.filter(state__in=TERMINAL_STATES, finished_at__gte=timezone.now() - HOUR).order_by()
    counts = dict(ended.values_list("state").annotate(Count("pk")))
    return {state.value: counts.get(state.value, 0) for state in TERMINAL_STATES}


def review_backlog() -> dict[str, int]:
    """Count the videos waiting in each review queue, at most `MOST_WAITING` each."""
    return {
        queue: sum(part.order_by()[:MOST_WAITING].count() for part in queue_parts(queue=queue, reviewer=None))
        for queue in QUEUES
    }


def _timed(values: list[float]) -> Timed:
    ordered = sorted(values)
    return Timed(len(ordered), sum(ordered), ordered[math.ceil(0.95 * len(ordered)) - 1])
