"""Points of the curves in an evaluation report, thinned for drawing.

There are no bands around the ROC and PR curves: none held the truth as often as it said on few people.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import metrics as sk

from ml.config import Label
from ml.evaluation.bootstrap import ClusterBootstrap, Floats, Ints

MAX_POINTS = 200
RELIABILITY_BINS = 10
HISTOGRAM_BINS = 20


def all_curves(labels: Ints, scores: Floats, draws: ClusterBootstrap) -> dict[str, Any]:
    """Compute `roc` and `pr` (None without both labels), `reliability` and `histogram` of (N,) labels and scores."""
    ranked: dict[str, Any] = {"roc": None, "pr": None}
    if len(set(labels.tolist())) == 2:
        ranked = _ranked(labels, scores)
    return ranked | {"reliability": _reliability(labels, scores, draws), "histogram": _histogram(labels, scores)}


def _ranked(labels: Ints, scores: Floats) -> dict[str, Any]:
    fpr, tpr, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    keep = thinned(len(tpr))
    precision, recall, _ = sk.precision_recall_curve(labels, scores)
    precision, recall = precision[::-1][1:], recall[::-1][1:]  # without the made-up point at a recall of 0
    return {
        "roc": {"fpr": _list(fpr[keep]), "tpr": _list(tpr[keep])},
        "pr": {
            "recall": _list(recall[thinned(len(recall))]),
            "precision": _list(precision[thinned(len(recall))]),
            "share_fake": float((labels == Label.FAKE).mean()),
        },
    }


def _reliability(labels: Ints, scores: Floats, draws: ClusterBootstrap) -> list[dict[str, Any]]:
    """Count the videos of ten equally wide bins, with their mean score and the share of fakes among them."""
    which = np.minimum((scores * RELIABILITY_BINS).astype(int), RELIABILITY_BINS - 1)
    bins: list[dict[str, Any]] = []
    for b in range(RELIABILITY_BINS):
        inside, fake = which == b, labels == Label.FAKE
        entry: dict[str, Any] = {
            "from": b / RELIABILITY_BINS,
            "to": (b + 1) / RELIABILITY_BINS,
            "n": int(inside.sum()),
            "mean_score": None,
            "share_fake": None,
            "low": None,
            "high": None,
        }
        if inside.any():
            entry |= {"mean_score": float(scores[inside].mean()), "share_fake": float(labels[inside].mean())}
            low, high = draws.rate_interval(fake, inside)
            entry |= {"low": low, "high": high} if np.isfinite(low) else {}
        bins.append(entry)
    return bins


def _histogram(labels: Ints, scores: Floats) -> dict[str, list[float] | list[int]]:
    edges = np.linspace(0.0, 1.0, HISTOGRAM_BINS + 1)
    counts = {label.name.lower(): np.histogram(scores[labels == label], bins=edges)[0].tolist() for label in Label}
    return {"edges": _list(edges), **counts}


def thinned(n: int, most: int = MAX_POINTS) -> Ints:
    """Choose at most `most` of n points evenly, (<= most,) indices with the first and the last."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def _list(values: Floats) -> list[float]:
    return [round(float(v), 5) for v in values]
