"""Calibration: temperature, decision threshold, and the words for a score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.config import Assessment, DecisionConfig

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def probabilities(margins: Floats, temperature: float, shift: float = 0.0) -> Floats:
    """Return the fake probability of each logit difference FAKE minus REAL, (N,)."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(margins / temperature + shift, -60, 60))), dtype=np.float64)


def fit_temperature(means: Floats, penalties: Floats, labels: Ints) -> float:
    """Return the temperature with the least negative log likelihood, classes weighted equally (Guo et al. 2017).

    A grid from 0.1 to 20 is searched, so that perfectly or not at all separated sets give a usable one.

    Args:
        means: (V, K) logit differences FAKE minus REAL, as `ml.model.decision.means_and_penalties` has them of videos.
        penalties: (V, K), as there.
        labels: (V,), 1 is FAKE.
    """
    weight = np.where(labels == 1, 1 / max(1, (labels == 1).sum()), 1 / max(1, (labels == 0).sum()))
    sign = np.where(labels == 1, -1.0, 1.0)
    grid = np.exp(np.linspace(np.log(0.1), np.log(20.0), 400))
    losses = [float((weight * np.logaddexp(0, sign * tempered(means, penalties, t))).sum()) for t in grid]
    return float(grid[int(np.argmin(losses))])


def tempered(means: Floats, penalties: Floats, temperature: float = 1.0) -> Floats:
    """Return the log-odds of videos, (V,); see `fit_temperature`."""
    return np.asarray((means / temperature - penalties).max(axis=1), dtype=np.float64)


def choose_threshold(
    scores: Floats, labels: Ints, *, fake_recall: float | None = None, false_alarms: float | None = None
) -> float:
    """Return the probability from which a video is called fake, halfway between the two scores that it separates.

    With `fake_recall` (0 to 1) it is the highest that still catches that share of the fakes, with `false_alarms` the
    lowest
    that calls at most that share of the reals fake, else the one with the best balanced accuracy, and of equally good
    ones
    the nearest to 0.5.  Raises ValueError unless both classes are present.
    """
    if not ((labels == 0).any() and (labels == 1).any()):
        raise ValueError("a threshold needs real and fake videos to be chosen on")
    levels = np.unique(scores)
    fakes, reals = scores[labels == 1], scores[labels == 0]
    between = np.concatenate([[levels[0] / 2], (levels[1:] + levels[:-1]) / 2, [(levels[-1] + 1) / 2]])
    if fake_recall is not None:
        enough = between[np.array([(fakes >= c).mean() >= fake_recall - 1e-12 for c in between])]
        return float(np.clip(enough.max(), 0.001, 0.999))
    if false_alarms is not None:
        few = between[np.array([(reals >= c).mean() <= false_alarms + 1e-12 for c in between])]
        return float(np.clip(few.min(), 0.001, 0.999))
    candidates = np.concatenate([[0.5], between[1:-1]])
    balanced = np.array([((fakes >= c).mean() + (reals < c).mean()) / 2 for c in candidates])
    best = candidates[balanced >= balanced.max() - 1e-12]
    return float(best[int(np.argmin(np.abs(best - 0.5)))])


@dataclass(frozen=True)
class AssessmentBorders:
    """Where a score becomes another word, and what share of the validation videos lies beyond.

    Under `likely_real_below` LIKELY_REAL, up to the threshold UNCLEAR, from it SUSPICIOUS, from `likely_fake_from`
    LIKELY_FAKE.
    """

    likely_real_below: float
    fakes_below: float
    """Share of the fakes that are called LIKELY_REAL."""
    likely_fake_from: float
    reals_from: float
    """Share of the reals that are called LIKELY_FAKE."""
    videos: int
    """Judged for it, real and fake."""

    def to_metrics(self) -> dict[str, Any]:
        """Return it as it is kept among the metrics of weights."""
        return asdict(self)

    @classmethod
    def from_metrics(cls, metrics: Mapping[str, Any], threshold: float) -> AssessmentBorders | None:
        """Read it back; None where it is missing, or is no order around the threshold (others write weights, too)."""
        try:
            borders = cls(**metrics["assessment"])
            in_order = 0 < borders.likely_real_below <= threshold <= borders.likely_fake_from < 1
        except (KeyError, TypeError):
            return None
        return borders if in_order else None

    def assess(self, probability: float, threshold: float) -> Assessment:
        """Say the score in words."""
        if probability >= threshold:
            return Assessment.LIKELY_FAKE if probability >= self.likely_fake_from else Assessment.SUSPICIOUS
        return Assessment.LIKELY_REAL if probability < self.likely_real_below else Assessment.UNCLEAR


def choose_borders(
    scores: Floats, labels: Ints, threshold: float, config: DecisionConfig | None = None
) -> AssessmentBorders:
    """Return where a score of (V,) scores gets another word, by the shares of fakes and reals in `config`.

    No border crosses the threshold: what is called fake is never likely real.
    """
    config = config or DecisionConfig()
    fakes, reals = scores[labels == 1], scores[labels == 0]
    low = min(float(np.quantile(fakes, config.likely_real_fakes, method="lower")), threshold)
    high = max(float(np.nextafter(np.quantile(reals, 1 - config.likely_fake_reals, method="higher"), 1)), threshold)
    low, high = max(low, 0.0005), min(high, 0.9995)
    return AssessmentBorders(
        likely_real_below=low,
        fakes_below=float((fakes < low).mean()),
        likely_fake_from=high,
        reals_from=float((reals >= high).mean()),
        videos=len(scores),
    )
