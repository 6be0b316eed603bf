"""Queries of the overview page: days, score drift, live workers; their cost does not grow with the table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from detection import localized
from detection.models import HourFigures, ModelVersion, State, WorkerBeat
from detection.services.ops.hourly_stats import BINS, HOUR, SETTLED, figures, hour_of

DAYS = 14
WEEK = timedelta(days=7)
OUTCOMES = ("real", "fake", "no_face", "failed")
LIVE_HOURS = 3
"""Hours counted by the page itself after the last stored one; more would take too long."""
ALIVE_S = 60
"""Age of a heartbeat up to which a worker is alive: four may be lost."""
GROUPS = 10
"""Bins of the drift's histograms; with few videos finer ones would be noise."""
FEW = 100
SMALL, LARGE = 0.1, 0.25
"""Bounds of the population stability index: no drift below the first, strong drift above the second (Siddiqi 2006)."""


@dataclass
class Day:
    """What ended on one day, in the server's time zone."""

    day: date
    outcomes: Counter[str] = field(default_factory=Counter)
    answers: int = 0


@dataclass(frozen=True)
class Drift:
    """Score histograms of the active model, this week and before: shares of each of `GROUPS` equal parts of 0 to 1."""

    now: tuple[float, ...]
    before: tuple[float, ...]
    n_now: int
    n_before: int
    against: str
    index: float | None
    sentence: str


@dataclass(frozen=True)
class QueueOfWorkers:
    """How many workers, with how many processes, consume a queue."""

    name: str
    workers: int
    processes: int


def days(*, now: datetime | None = None) -> tuple[list[Day], datetime | None]:
    """Return the last `DAYS` days up to now, and until when hours are counted (None: never).

    Four queries; seven as long as hours of yesterday are not counted yet.
    """
    now = now or timezone.now()
    today = timezone.localdate(now)
    found = {day: Day(day) for day in (today - timedelta(days=k) for k in reversed(range(DAYS)))}
    rows = list(HourFigures.objects.filter(hour__gte=now - timedelta(days=DAYS + 1)).values_list("hour", "figures"))
    counted = max((hour for hour, _figures in rows), default=None)
    until = counted + HOUR if counted else None
    start = max(until or now - LIVE_HOURS * HOUR, hour_of(now) - LIVE_HOURS * HOUR)
    live = [(begin, figures(begin, end, scores=False)) for begin, end in _spans(start, now + SETTLED, midnight=today)]
    for hour, entry in [*rows, *live]:
        day = found.get(timezone.localdate(hour))
        if day is not None:
            states = entry.get("states", {})
            day.outcomes.update(entry.get("labels", {}))
            day.outcomes["no_face"] += states.get(State.NO_FACE, 0)
            day.outcomes["failed"] += states.get(State.FAILED, 0) + states.get(State.DEAD, 0)
            day.answers += entry.get("answers", 0)
    return list(found.values()), until


def _spans(start: datetime, end: datetime, *, midnight: date) -> list[tuple[datetime, datetime]]:
    """Return the time from `start` to `end`, in two parts where the day `midnight` begins in between."""
    begin = timezone.make_aware(datetime.combine(midnight, time.min))
    return [(start, begin), (begin, end)] if start < begin else [(start, end)]


def drift(*, model: ModelVersion, now: datetime | None = None) -> Drift | None:
    """Compare the model's scores of the last week with those of its held-out videos; None without any score.

    Weights that do not carry that histogram are compared with their own first week here.
    """
    now = now or timezone.now()
    key = str(model.pk)
    rows = HourFigures.objects.filter(hour__gte=now - WEEK).values_list("figures", flat=True)
    this_week = _sum(entry.get("scores", {}).get(key) for entry in rows)
    if not sum(this_week):
        return None
    held_out = model.metrics.get("score_bins") if isinstance(model.metrics, Mapping) else None
    against = _("held-out videos of its training")
    before = _sum(held_out.values()) if isinstance(held_out, Mapping) else [0] * GROUPS
    if not sum(before):
        against = _("its first week here")
        since = model.promoted_at or model.created_at
        if now < since + 2 * WEEK:
            sentence = _("This model's weights do not say what its scores were, and it has not run for two weeks here.")
            return Drift(_shares(this_week), (), sum(this_week), 0, against, None, sentence)
        rows = HourFigures.objects.filter(hour__gte=since - HOUR, hour__lt=since + WEEK)
        before = _sum(entry.get("scores", {}).get(key) for entry in rows.values_list("figures", flat=True))
    n_now, n_before = sum(this_week), sum(before)
    index = stability_index(before, this_week) if min(n_now, n_before) >= FEW else None
    if index is None:
        sentence = _("Too few videos to compare (%(now)s and %(before)s; %(few)s of each are needed).") % {
            "now": n_now,
            "before": n_before,
            "few": FEW,
        }
    elif index < SMALL:
        sentence = _("No drift to speak of (index %(index)s).") % {"index": localized.numeral(f"{index:.2f}")}
    else:
        size = _("Some drift (index %(index)s):") if index < LARGE else _("Strong drift (index %(index)s):")
        sentence = size % {"index": localized.numeral(f"{index:.2f}")} + " "
        sentence += _(
            "other videos come in than before, or more fakes among them."
            " Look at the random audit before trusting the verdicts."
        )
    return Drift(_shares(this_week), _shares(before), n_now, n_before, against, index, sentence)


def stability_index(before: Sequence[int], now: Sequence[int]) -> float:
    """Return the population stability index of two histograms, 0 if equal; each bin gets half a video more."""
    n_before, n_now = sum(before) + 0.5 * len(before), sum(now) + 0.5 * len(now)
    pairs = [((b + 0.5) / n_before, (a + 0.5) / n_now) for b, a in zip(before, now, strict=True)]
    return sum((a - b) * math.log(a / b) for b, a in pairs)


def workers_alive(*, now: datetime | None = None) -> list[QueueOfWorkers]:
    """Return the workers of each queue whose heartbeat is less than a minute old."""
    now = now or timezone.now()
    found: dict[str, list[int]] = {name: [] for name in ("extract", "classify", "train", "maintenance", "webhooks")}
    rows = WorkerBeat.objects.filter(seen_at__gte=now - timedelta(seconds=ALIVE_S))
    for queues, processes in rows.values_list("queues", "processes"):
        for name in queues.split(","):
            found.setdefault(name, []).append(processes)
    return [QueueOfWorkers(name, len(each), sum(each)) for name, each in found.items()]


def _sum(histograms: Any) -> list[int]:
    """Add up histograms of `BINS` bins into one of `GROUPS`; entries of another shape are dropped."""
    total = [0] * GROUPS
    for bins in histograms:
        if isinstance(bins, list) and len(bins) == BINS:
            for k, n in enumerate(bins):
                total[k * GROUPS // BINS] += int(n)
    return total


def _shares(histogram: Sequence[int]) -> tuple[float, ...]:
    total = sum(histogram)
    return tuple(n / total if total else 0.0 for n in histogram)
