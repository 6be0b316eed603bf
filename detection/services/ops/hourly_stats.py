"""Statistics by the hour, counted once it is over, so that the dashboard's cost does not grow."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count
from django.utils import timezone

from detection.models import Analysis, HourFigures, Review, State

HOUR = timedelta(hours=1)
SETTLED = timedelta(minutes=2)
"""An hour is counted this long after its end: a transaction that began in it may still be on its way."""
BACK = timedelta(days=90)
BATCH = 200
BINS = 20
"""Bins of the score histogram from 0 to 1."""


def count_hours(*, now: datetime | None = None) -> int:
    """Count the hours that are over and not counted yet, at most `BATCH`; return how many.

    Two workers at once count the same and store it once.  What was counted of hours that are not over yet, while the
    clock was ahead, is dropped.
    """
    now = now or timezone.now()
    end = hour_of(now - SETTLED)
    HourFigures.objects.filter(hour__gte=end).delete()
    newest = HourFigures.objects.values_list("hour", flat=True).first()
    start = newest + HOUR if newest else _first_hour(end)
    hours: list[HourFigures] = []
    while start < end and len(hours) < BATCH:
        hours.append(HourFigures(hour=start, figures=figures(start, start + HOUR)))
        start += HOUR
    HourFigures.objects.bulk_create(hours, ignore_conflicts=True)
    return len(hours)


def figures(start: datetime, end: datetime, *, scores: bool = True) -> dict[str, Any]:
    """Return what ended from `start` until before `end`, as HourFigures stores it.

    Without `scores` it takes three short queries.  Data sets' videos are left out.
    """
    ended = Analysis.objects.filter(finished_at__gte=start, finished_at__lt=end, video__dataset_video=None).order_by()
    judged = ended.filter(state=State.SUCCEEDED, verdict__isnull=False)
    answers = Review.objects.not_undone().by_reviewers().filter(created_at__gte=start, created_at__lt=end).order_by()
    found: dict[str, Any] = {
        "states": dict(ended.values_list("state").annotate(Count("pk"))),
        "labels": dict(judged.values_list("verdict__label").annotate(Count("pk"))),
        "answers": answers.count(),
    }
    if scores:
        bins: dict[str, Counter[int]] = {}
        needs_review = 0
        rows = judged.values_list("verdict__model_version", "verdict__fake_probability", "verdict__needs_review")
        for model, score, doubt in rows.iterator(chunk_size=2000):
            bins.setdefault(str(model), Counter())[min(BINS - 1, int(score * BINS))] += 1
            needs_review += doubt
        found["needs_review"] = needs_review
        found["scores"] = {model: [counts[k] for k in range(BINS)] for model, counts in bins.items()}
    return found


def hour_of(moment: datetime) -> datetime:
    """Return the beginning of the hour."""
    return moment.replace(minute=0, second=0, microsecond=0)


def _first_hour(end: datetime) -> datetime:
    rows = Analysis.objects.filter(finished_at__gte=end - BACK).order_by("finished_at")
    first = rows.values_list("finished_at", flat=True).first()
    return hour_of(first) if first else end - HOUR
