"""How a version in shadow compares with the active model on the live traffic: counts, never what it said of a video."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from detection.models import ModelVersion, ShadowScore, ShadowTrial

MOST_ROWS = 20_000
"""Newest scores that are read; more would keep a page waiting."""
BINS = 10


@dataclass(frozen=True)
class Cost:
    """Seconds a video, of those that were timed."""

    n: int
    mean: float | None
    median: float | None


@dataclass(frozen=True)
class LiveTraffic:
    """The newest scores of a version beside the verdicts of one champion."""

    n: int
    failed: int
    agreed: int
    to_fake: int
    """The champion says real, the version fake."""
    to_real: int
    mean_difference: float | None
    """Of the fake probabilities, version minus champion."""
    scores: tuple[int, ...]
    """How many scores lie in each of `BINS` equal parts of 0 to 1."""
    champion_scores: tuple[int, ...]
    cost: Cost
    champion_cost: Cost
    cut: bool

    @property
    def agreement(self) -> float | None:
        """Return the share of videos that both call the same."""
        return self.agreed / self.n if self.n else None

    @property
    def agreement_percent(self) -> str:
        """Return it in percent, with one digit."""
        return "-" if self.agreement is None else f"{100 * self.agreement:.1f}"


def live_traffic(*, model: ModelVersion, champion: ModelVersion, most: int = MOST_ROWS) -> LiveTraffic:
    """Compare the newest `most` scores; one query."""
    wanted = (
        "fake_probability", "label", "seconds", "champion_probability", "champion_label", "champion_seconds",
    )  # fmt: skip
    newest = ShadowScore.objects.filter(model_version=model, champion=champion).order_by("-scored_at", "-id")
    rows = list(newest.values_list(*wanted)[:most])
    scored = [row for row in rows if row[0] is not None]
    flips = Counter((old, new) for _, new, _, _, old, _ in scored)
    return LiveTraffic(
        n=len(scored),
        failed=len(rows) - len(scored),
        agreed=sum(n for (old, new), n in flips.items() if old == new),
        to_fake=flips["real", "fake"],
        to_real=flips["fake", "real"],
        mean_difference=fmean(row[0] - row[3] for row in scored) if scored else None,
        scores=_histogram([row[0] for row in scored]),
        champion_scores=_histogram([row[3] for row in scored]),
        cost=_cost([row[2] for row in scored if row[2] is not None]),
        champion_cost=_cost([row[5] for row in scored if row[5] is not None]),
        cut=len(rows) == most,
    )


def newest_trial(*, model: ModelVersion) -> ShadowTrial | None:
    """Return the version's open trial, or its last one."""
    rows = ShadowTrial.objects.filter(model_version=model).select_related("started_by").defer("last_error")
    return rows.order_by("-created_at").first()


def _histogram(scores: Sequence[float]) -> tuple[int, ...]:
    counts = Counter(min(BINS - 1, int(score * BINS)) for score in scores)
    return tuple(counts[k] for k in range(BINS))


def _cost(seconds: Sequence[float]) -> Cost:
    return Cost(len(seconds), fmean(seconds), median(seconds)) if seconds else Cost(0, None, None)
