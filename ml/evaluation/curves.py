"""Points of the curves in an evaluation report, thinned for drawing, with 95 % bootstrap bands."""

from __future__ import annotations

from typing import Any

import numpy as np

from ml.config import Label
from ml.evaluation.bootstrap import ComponentDraws, Floats, Ints

MAX_POINTS = 200
GRID = np.linspace(0.0, 1.0, 101)
RELIABILITY_BINS = 10
HISTOGRAM_BINS = 20


def all_curves(labels: Ints, scores: Floats, draws: ComponentDraws) -> dict[str, Any]:
    """`roc` and `pr` (None without both classes), `reliability` and `histogram`."""
    ranked: dict[str, Any] = {"roc": None, "pr": None}
    if len(set(labels.tolist())) == 2:
        ranked = _ranked(labels, scores, draws)
    return ranked | {"reliability": _reliability(labels, scores, draws), "histogram": _histogram(labels, scores)}


def _ranked(labels: Ints, scores: Floats, draws: ComponentDraws) -> dict[str, Any]:
    everyone = ComponentDraws([str(k) for k in range(len(labels))], 1, np.random.default_rng(0))
    everyone.counts = np.ones((1, len(labels)))
    ((reals, fakes),) = everyone.cumulated(labels, scores)
    alarm, hit = reals[0] / reals[0, -1], fakes[0] / fakes[0, -1]
    keep = thinned(len(hit))
    roc = {"fpr": _list(_start(alarm[keep])), "tpr": _list(_start(hit[keep]))}
    pr = {"recall": _list(hit[keep]), "precision": _list((fakes[0] / (fakes[0] + reals[0]))[keep])}
    bands = _bands(labels, scores, draws) if draws.n_components > 1 else (None, None)
    return {
        "roc": roc | {"band": bands[0]},
        "pr": pr | {"band": bands[1], "share_fake": float((labels == Label.FAKE).mean())},
    }


def _bands(labels: Ints, scores: Floats, draws: ComponentDraws) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Pointwise: of the hits at a rate of false alarms, and of the precision at a recall."""
    hits, precisions = [], []
    for reals, fakes in draws.cumulated(labels, scores):
        for r, f in zip(reals, fakes, strict=True):
            if r[-1] and f[-1]:
                hit = f / f[-1]
                hits.append(np.interp(GRID, _start(r / r[-1]), _start(hit)))
                # the first threshold that reaches the recall
                at = np.minimum(np.searchsorted(hit, GRID - 1e-12), len(hit) - 1)
                precisions.append(f[at] / np.maximum(f[at] + r[at], 1e-12))
    if not hits:
        return None, None
    found = []
    for drawn in (np.array(hits), np.array(precisions)):
        low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
        found.append({"at": _list(GRID), "low": _list(low), "high": _list(high)})
    found[1] = {key: values[1:] for key, values in found[1].items()}  # no precision is defined at a recall of 0
    return found[0], found[1]


def _reliability(labels: Ints, scores: Floats, draws: ComponentDraws) -> list[dict[str, Any]]:
    """For each of ten equally wide bins: how many videos, their mean score, and the share of fakes among them."""
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
            low, high = draws.share_interval(fake, inside)
            entry |= {"low": low, "high": high} if np.isfinite(low) else {}
        bins.append(entry)
    return bins


def _histogram(labels: Ints, scores: Floats) -> dict[str, list[float] | list[int]]:
    edges = np.linspace(0.0, 1.0, HISTOGRAM_BINS + 1)
    counts = {label.name.lower(): np.histogram(scores[labels == label], bins=edges)[0].tolist() for label in Label}
    return {"edges": _list(edges), **counts}


def thinned(n: int, most: int = MAX_POINTS - 1) -> Ints:
    """Indices of at most `most` of n points, evenly, with the first and the last."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def _start(values: Floats) -> Floats:
    return np.concatenate([[0.0], values])


def _list(values: Floats) -> list[float]:
    return [round(float(v), 5) for v in values]
