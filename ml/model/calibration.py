"""From logits to probabilities that mean something, and from probabilities to a yes or no."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def probabilities(margins: Floats, temperature: float) -> Floats:
    """Fake probability from the logit difference FAKE minus REAL, (N,)."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(margins / temperature, -60, 60))), dtype=np.float64)


def highest_per_video(margins: Floats, labels: Sequence[int], videos: Sequence[str]) -> tuple[Floats, Ints]:
    """Return each video's highest margin and its label, (V,) each, from those of its people, (N,) each.

    A video's score is that of its most suspicious person: the more people, the more chances of a false alarm.
    """
    highest: dict[str, tuple[float, int]] = {}
    for video, margin, label in zip(videos, margins.tolist(), labels, strict=True):
        if video not in highest or margin > highest[video][0]:
            highest[video] = (margin, int(label))
    return (
        np.array([margin for margin, _ in highest.values()], dtype=np.float64),
        np.array([label for _, label in highest.values()], dtype=np.int64),
    )


def fit_temperature(margins: Floats, labels: Ints) -> float:
    """The temperature with the least negative log likelihood, classes weighted equally (Guo et al. 2017).

    Searched on a grid from 0.1 to 20, so that a set that is separated perfectly, or not at all, gives a usable one.
    """
    weight = np.where(labels == 1, 1 / max(1, (labels == 1).sum()), 1 / max(1, (labels == 0).sum()))
    sign = np.where(labels == 1, -1.0, 1.0)
    grid = np.exp(np.linspace(np.log(0.1), np.log(20.0), 400))
    losses = [float((weight * np.logaddexp(0, sign * margins / t)).sum()) for t in grid]
    return float(grid[int(np.argmin(losses))])


def choose_threshold(scores: Floats, labels: Ints, *, fake_recall: float | None = None) -> float:
    """The probability from which a video is called fake; halfway between the two scores that it parts.

    With `fake_recall` (0 to 1) it is the highest that still catches that share of the fakes, else the one with the best
    balanced accuracy, and of equally good ones the nearest to 0.5.  Raises ValueError unless both classes are there.
    """
    if not ((labels == 0).any() and (labels == 1).any()):
        raise ValueError("a threshold needs real and fake videos to be chosen on")
    levels = np.unique(scores)
    fakes, reals = scores[labels == 1], scores[labels == 0]
    between = np.concatenate([[levels[0] / 2], (levels[1:] + levels[:-1]) / 2])
    if fake_recall is not None:
        enough = between[np.array([(fakes >= c).mean() >= fake_recall - 1e-12 for c in between])]
        return float(np.clip(enough.max(), 0.001, 0.999))
    candidates = np.concatenate([[0.5], between[1:]])
    balanced = np.array([((fakes >= c).mean() + (reals < c).mean()) / 2 for c in candidates])
    best = candidates[balanced >= balanced.max() - 1e-12]
    return float(best[int(np.argmin(np.abs(best - 0.5)))])
