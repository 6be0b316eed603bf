"""Metrics of a classifier per video: point values, and intervals of `ClusterBootstrap`.  JSON-able."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn import metrics as sk

from ml.config import MIN_GROUPS, MIN_GROUPS_BALANCED, Label
from ml.evaluation.bootstrap import NO_INTERVAL, Bools, ClusterBootstrap, Floats, Ints

# average_precision, eer and ece have no interval: biased on few videos, none held the truth as often as it said.


def ranking_metrics(labels: Ints, scores: Floats) -> tuple[float, float, float]:
    """(ROC AUC, average precision, equal error rate) of (N,) labels and scores; NaN without both labels.

    All three are of one ROC curve (each call of scikit-learn checks its arrays anew, which takes longer than to
    compute).  The average precision is its precisions weighed by what each adds to the recall.  The equal error rate is
    where the curve's misses and false alarms cross, interpolated.
    """
    if len(set(labels.tolist())) < 2:
        return (float("nan"),) * 3
    fpr, tpr, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    fakes = int((labels == Label.FAKE).sum())
    found, alarms = tpr[1:] * fakes, fpr[1:] * (len(labels) - fakes)  # the curve begins where nothing is called fake
    average_precision = float((np.diff(tpr) * found / (found + alarms)).sum())
    gap = (1 - tpr) - fpr
    k = int(np.argmax(gap <= 0))
    part = gap[k - 1] / (gap[k - 1] - gap[k])
    eer = float(fpr[k - 1] + part * (fpr[k] - fpr[k - 1]))
    return float(np.trapezoid(tpr, fpr)), average_precision, eer


def confusion_matrix(labels: Ints, scores: Floats, threshold: float) -> Ints:
    """Count (N,) labels and answers at `threshold`, (2, 2): rows are the truth, real first."""
    return np.bincount(2 * labels + (scores >= threshold), minlength=4).reshape(2, 2).astype(np.int64)


def expected_calibration_error(labels: Ints, scores: Floats, bins: int = 10) -> float:
    """Mean distance between fake probability and share of fakes over equally wide bins (Naeini et al. 2015)."""
    which = np.minimum((scores * bins).astype(int), bins - 1)
    filled = [which == b for b in range(bins) if (which == b).any()]
    return float(sum(b.mean() * abs(float(scores[b].mean()) - float(labels[b].mean())) for b in filled))


def classification_metrics(labels: Ints, scores: Floats, threshold: float) -> dict[str, float]:
    """Every scalar metric at `threshold` of (N,) labels and scores; NaN where a label or an answer is missing."""
    matrix = confusion_matrix(labels, scores, threshold)
    right, truly, called = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    with np.errstate(invalid="ignore"):
        precision, recall, f1 = right / called, right / truly, 2 * right / (truly + called)
    auc, average_precision, eer = ranking_metrics(labels, scores)
    by_label = {
        f"{name}_{label.name.lower()}": float(values[label])
        for label in Label
        for name, values in (("precision", precision), ("recall", recall), ("f1", f1))
    }
    return {
        "accuracy": float(right.sum() / len(labels)),
        "balanced_accuracy": float(np.mean(recall)),
        **by_label,
        "auc": auc,
        "average_precision": average_precision,
        "eer": eer,
        "ece": expected_calibration_error(labels, scores),
        "brier": float(np.mean((scores - labels) ** 2)),
    }


def metric(value: float, interval: tuple[float, float]) -> dict[str, float | None]:
    """`{"value", "low", "high"}`, rounded; None for what is not finite."""
    numbers = {"value": value, "low": interval[0], "high": interval[1]}
    return {key: round(float(number), 6) if np.isfinite(number) else None for key, number in numbers.items()}


def metric_intervals(
    point: Mapping[str, float], labels: Ints, scores: Floats, threshold: float, draws: ClusterBootstrap
) -> dict[str, tuple[float, float]]:
    """95 % interval of every metric of `point` (see `classification_metrics`) that has one; NaN for too few people."""
    real: Bools = labels == Label.REAL
    fake: Bools = labels == Label.FAKE
    called: Bools = scores >= threshold
    right, everyone = called == fake, real | fake
    intervals = {
        "accuracy": draws.rate_interval(right, everyone),
        "recall_real": draws.rate_interval(~called, real),
        "recall_fake": draws.rate_interval(called, fake),
        "precision_real": draws.rate_interval(real, ~called),
        "precision_fake": draws.rate_interval(fake, called),
        "brier": draws.interval(
            point["brier"],
            draws.totals((scores - labels) ** 2) / draws.totals(everyone),
            among=everyone,
        ),
    }
    if not (real.any() and fake.any()):
        return intervals
    recalls = draws.rate(~called, real), draws.rate(called, fake)
    drawn = {"auc": draws.auc(labels, scores), "balanced_accuracy": (recalls[0] + recalls[1]) / 2}
    for name, label, answer in (("f1_real", real, ~called), ("f1_fake", fake, called)):
        drawn[name] = 2 * draws.totals(label & answer) / (draws.totals(label) + draws.totals(answer))
    least = {"balanced_accuracy": MIN_GROUPS_BALANCED}
    return intervals | {
        name: draws.interval(point[name], values, min_groups=least.get(name, MIN_GROUPS))
        for name, values in drawn.items()
    }


def evaluate_scores(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    threshold: float,
    n_bootstrap: int = 1000,
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Evaluate fake probabilities at `threshold`, with 95 % intervals that draw whole groups of people.

    Args:
        labels: (N,) of 0 (REAL) and 1 (FAKE).
        scores: (N,) fake probabilities in [0, 1].
        threshold: The probability from which a video is called fake.
        n_bootstrap: Draws behind the intervals.
        seed: Of the draws.
        groups: N names of groups of people; by default each video is one.

    Returns:
        JSON-able: `n`, `n_real`, `n_fake`, `n_groups`, `groups_real` and `groups_fake` (effective, see `bootstrap`),
        `threshold`, `confusion_matrix` (rows are the truth, real first), `majority_accuracy`, and each metric as
        `{"value", "low", "high"}`, None where it is undefined or people are too few for an interval.

    Raises:
        ValueError: For anything that is not labels, probabilities and groups of one length.
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
    names = [str(k) for k in range(len(y))] if groups is None else groups
    return evaluate_draws(y, s, threshold, ClusterBootstrap(names, y, n_bootstrap, np.random.default_rng(seed)))


def evaluate_draws(labels: Ints, scores: Floats, threshold: float, draws: ClusterBootstrap) -> dict[str, Any]:
    """Evaluate as `evaluate_scores`, with existing bootstrap draws."""
    point = classification_metrics(labels, scores, threshold)
    intervals = metric_intervals(point, labels, scores, threshold, draws)
    return {
        "n": len(labels),
        "n_real": int((labels == Label.REAL).sum()),
        "n_fake": int((labels == Label.FAKE).sum()),
        "n_groups": draws.n_groups,
        "groups_real": round(draws.groups[Label.REAL], 2),
        "groups_fake": round(draws.groups[Label.FAKE], 2),
        "threshold": float(threshold),
        "confusion_matrix": confusion_matrix(labels, scores, threshold).tolist(),
        "majority_accuracy": float(max((labels == Label.REAL).mean(), (labels == Label.FAKE).mean())),
        **{name: metric(value, intervals.get(name, NO_INTERVAL)) for name, value in point.items()},
    }
