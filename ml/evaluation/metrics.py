"""Figures of a classifier per video, each with a bootstrap interval.  Pure numpy; results are JSON-able."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ml.config import Label

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def confusion(labels: Ints, scores: Floats, threshold: float) -> list[list[int]]:
    """[[real called real, real called fake], [fake called real, fake called fake]]."""
    called = (scores >= threshold).astype(int)
    return [[int(((labels == t) & (called == c)).sum()) for c in Label] for t in Label]


def ranking_figures(labels: Ints, scores: Floats) -> tuple[float, float, float]:
    """(ROC AUC, average precision, equal error rate); NaN without both classes.  Equal scores count as one step.

    Same definitions as scikit-learn's; written out because a bootstrap asks a thousand times.
    """
    n_fake = int(labels.sum())
    n_real = len(labels) - n_fake
    if not n_fake or not n_real:
        return (float("nan"),) * 3
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # the last item of each distinct score
    hits = np.cumsum(labels[order])[last]
    alarms = last + 1 - hits
    hit = np.concatenate([[0.0], hits / n_fake])
    alarm = np.concatenate([[0.0], alarms / n_real])
    precision = hits / (hits + alarms)
    average_precision = float((np.diff(hit) * precision).sum())
    # the equal error rate, interpolated where misses and false alarms cross
    gap = (1 - hit) - alarm
    k = int(np.argmax(gap <= 0))
    share = gap[k - 1] / (gap[k - 1] - gap[k])
    eer = float(alarm[k - 1] + share * (alarm[k] - alarm[k - 1]))
    return float(np.trapezoid(hit, alarm)), average_precision, eer


def expected_calibration_error(labels: Ints, scores: Floats, bins: int = 10) -> float:
    """Mean distance between fake probability and share of fakes, over equally wide bins."""
    which = np.minimum((scores * bins).astype(int), bins - 1)
    total = 0.0
    for b in range(bins):
        inside = which == b
        if inside.any():
            total += inside.mean() * abs(float(scores[inside].mean()) - float(labels[inside].mean()))
    return float(total)


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def point_metrics(labels: Ints, scores: Floats, threshold: float) -> dict[str, float]:
    """All scalar figures, NaN where a class is missing makes one meaningless."""
    (rr, rf), (fr, ff) = confusion(labels, scores, threshold)
    recall_real, recall_fake = _ratio(rr, rr + rf), _ratio(ff, fr + ff)
    precision_real, precision_fake = _ratio(rr, rr + fr), _ratio(ff, rf + ff)
    auc, average_precision, eer = ranking_figures(labels, scores)
    return {
        "accuracy": _ratio(rr + ff, len(labels)),
        "balanced_accuracy": (recall_real + recall_fake) / 2,
        "precision_real": precision_real,
        "recall_real": recall_real,
        "f1_real": _ratio(2 * rr, 2 * rr + fr + rf),
        "precision_fake": precision_fake,
        "recall_fake": recall_fake,
        "f1_fake": _ratio(2 * ff, 2 * ff + fr + rf),
        "auc": auc,
        "average_precision": average_precision,
        "eer": eer,
        "ece": expected_calibration_error(labels, scores),
        "brier": float(np.mean((scores - labels) ** 2)),
    }


def _resampler(n: int, groups: Sequence[str] | None) -> Callable[[np.random.Generator], Ints]:
    """Draws items with replacement; with groups whole groups are drawn, since a person's videos are not independent."""
    if groups is None:
        return lambda rng: rng.integers(0, n, size=n)
    _, which = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(which == k) for k in range(int(which.max()) + 1)]
    return lambda rng: np.concatenate([members[k] for k in rng.integers(0, len(members), size=len(members))])


def evaluate_scores(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    threshold: float,
    n_bootstrap: int = 1000,
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Figures at `threshold` with 95 % percentile bootstrap intervals.

    `labels` are 0 (REAL) or 1 (FAKE), `scores` fake probabilities in [0, 1], both (N,).  Returns a JSON-able dict: `n`,
    `n_real`, `n_fake`, `threshold`, `confusion_matrix`, `majority_accuracy` (of the naive answer), and for each
    figure `{"value", "low", "high"}`; None where it is undefined.  Raises ValueError for anything else.
    """
    y, s = np.asarray(labels, dtype=np.int64), np.asarray(scores, dtype=np.float64)
    if y.ndim != 1 or y.shape != s.shape or not len(y):
        raise ValueError(f"labels and scores are two lists of one length, not {y.shape} and {s.shape}")
    if not set(np.unique(y)) <= {0, 1}:
        raise ValueError("a label is 0 (REAL) or 1 (FAKE)")
    if not (np.isfinite(s).all() and s.min() >= 0 and s.max() <= 1):
        raise ValueError("a score is a probability from 0 to 1")
    if groups is not None and len(groups) != len(y):
        raise ValueError(f"{len(groups)} groups for {len(y)} scores")
    point = point_metrics(y, s, threshold)
    rng = np.random.default_rng(seed)
    draw = _resampler(len(y), groups)
    drawn: dict[str, list[float]] = {name: [] for name in point}
    for _ in range(n_bootstrap):
        picked = draw(rng)
        for name, value in point_metrics(y[picked], s[picked], threshold).items():
            if np.isfinite(value):
                drawn[name].append(value)
    result: dict[str, Any] = {
        "n": len(y),
        "n_real": int((y == 0).sum()),
        "n_fake": int((y == 1).sum()),
        "n_groups": len(set(groups)) if groups is not None else len(y),
        "threshold": float(threshold),
        "confusion_matrix": confusion(y, s, threshold),
        "majority_accuracy": float(max((y == 0).mean(), (y == 1).mean())),
    }
    for name, value in point.items():
        low, high = np.percentile(drawn[name], [2.5, 97.5]) if drawn[name] else (float("nan"),) * 2
        result[name] = {
            key: round(float(v), 6) if np.isfinite(v) else None
            for key, v in (("value", value), ("low", low), ("high", high))
        }
    return result
