"""Count what waits, for dashboard and menu, up to a limit so that a large table costs no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from detection.localized import numeral
from detection.models import OPEN_STATES, Review, State, Video

LIMIT = 1000
_CACHE = "_dfd_numbers"


@dataclass(frozen=True)
class Number:
    """A count that stops at `LIMIT`."""

    value: int

    def __str__(self) -> str:
        return numeral(f"{LIMIT:,}+") if self.value >= LIMIT else str(self.value)

    def __bool__(self) -> bool:
        return self.value > 0


@dataclass(frozen=True)
class Numbers:
    """The four counts of the menu."""

    waiting: Number
    no_face: Number
    running: Number
    failed: Number


def waiting_videos() -> QuerySet[Video]:
    """Return the videos whose verdict needs review and which have no label."""
    return Video.objects.filter(needs_review=True, label="").exclude(verdict_label="")


def bounded(rows: QuerySet[Any]) -> Number:
    """Count rows, up to `LIMIT`."""
    return Number(rows.order_by()[:LIMIT].count())


def decided_today(**by: Any) -> Number:
    """Count today's answers that were not undone; `reviewer=...` counts one reviewer's."""
    today = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    return bounded(Review.objects.not_undone().by_reviewers().filter(created_at__gte=today, **by))


def numbers(request: HttpRequest) -> Numbers:
    """Return the four counts, made once a request."""
    found: Numbers | None = getattr(request, _CACHE, None)
    if found is None:
        found = Numbers(
            waiting=bounded(waiting_videos()),
            no_face=bounded(Video.objects.filter(status=State.NO_FACE, label="")),
            running=bounded(Video.objects.filter(status__in=OPEN_STATES)),
            failed=bounded(Video.objects.filter(status__in=(State.FAILED, State.DEAD))),
        )
        setattr(request, _CACHE, found)
    return found
