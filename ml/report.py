"""Held-out figures of a training run: folds of people for the videos, the validation split for single crops."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ml.calibrate import choose_threshold, fit_temperature, probabilities
from ml.config import Label
from ml.data import group_folds, row_components
from ml.engine import frame_scores
from ml.evaluate import evaluate_scores
from ml.model import FaceSequenceClassifier
from ml.pack import Pack
from ml.sequence import FeatureSequence, SequenceTraining, sequence_margins, train_sequence_head


@dataclass(frozen=True)
class CrossedPredictions:
    """Held-out predictions per video (its most fake person), and the calibration for the final weights.

    `scores` and `shifted` are under the temperature and threshold chosen on the *other* folds; `temperature` and
    `threshold` are chosen on all of the held-out predictions, and go into the weights.
    """

    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    shifted: NDArray[np.float64]
    """`scores`, moved so that each fold's own threshold is at 0.5: what accuracy is counted on."""
    frame_mean: NDArray[np.float64]
    """Mean of the frame head's logit differences: the answer without a recurrence."""
    sources: list[str]
    methods: list[str]
    components: list[str]
    temperature: float
    threshold: float


def crossed_predictions(
    model: FaceSequenceClassifier,
    videos: Sequence[FeatureSequence],
    pseudo: Sequence[FeatureSequence],
    settings: SequenceTraining,
    *,
    n_folds: int,
    seed: int,
) -> CrossedPredictions:
    """Trains the sequence head once for each fold, without its people, and predicts them.  `model` is left alone.

    Raises ValueError when there are fewer groups of people than folds.
    """
    folds = group_folds([v.component for v in videos], [v.source for v in videos], n_folds, seed=seed)
    margins, frame_means = np.zeros(len(videos)), np.zeros(len(videos))
    trial = copy.deepcopy(model)
    for fold in range(n_folds):
        inside = [v for v, f in zip(videos, folds, strict=True) if f != fold]
        train_sequence_head(trial, [*inside, *pseudo], settings)
        held = np.flatnonzero(folds == fold)
        margins[held], frame_means[held] = sequence_margins(trial, [videos[int(k)] for k in held])
    # a video is as fake as its most fake person; self-blended copies are not evaluated on
    best: dict[str, int] = {}
    for k, video in enumerate(videos):
        if not video.blended and (video.origin not in best or margins[k] > margins[best[video.origin]]):
            best[video.origin] = k
    chosen = np.array(sorted(best.values()))
    labels = np.array([videos[k].label for k in chosen], dtype=np.int64)
    scores, shifted = np.zeros(len(chosen)), np.zeros(len(chosen))
    for fold in range(n_folds):
        here, other = folds[chosen] == fold, folds[chosen] != fold
        temperature = fit_temperature(margins[chosen][other], labels[other])
        scores[here] = probabilities(margins[chosen][here], temperature)
        threshold = choose_threshold(probabilities(margins[chosen][other], temperature), labels[other])
        shifted[here] = _shift(scores[here], threshold)
    temperature = fit_temperature(margins[chosen], labels)
    frame_best: dict[str, float] = {}
    for k, video in enumerate(videos):
        if not video.blended:
            frame_best[video.origin] = max(frame_best.get(video.origin, -np.inf), frame_means[k])
    return CrossedPredictions(
        labels=labels,
        scores=scores,
        shifted=shifted,
        frame_mean=np.array([frame_best[videos[k].origin] for k in chosen]),
        sources=[videos[k].source for k in chosen],
        methods=[videos[k].method for k in chosen],
        components=[videos[k].component for k in chosen],
        temperature=temperature,
        threshold=choose_threshold(probabilities(margins[chosen], temperature), labels),
    )


def _shift(scores: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """Piecewise linear: `threshold` goes to 0.5, 0 and 1 stay.  A score at the threshold stays FAKE (>= 0.5)."""
    low = 0.5 * scores / max(threshold, 1e-9)
    high = 0.5 + 0.5 * (scores - threshold) / max(1 - threshold, 1e-9)
    return np.where(scores >= threshold, np.maximum(high, 0.5), np.minimum(low, np.nextafter(0.5, 0.0)))


def sequence_report(crossed: CrossedPredictions, *, n_bootstrap: int) -> dict[str, Any]:
    """Held-out figures over all videos, by source and by method; whole people are drawn in the bootstrap.

    The ones that depend on a threshold are counted with each fold's own; the probabilities' quality is the scores'.
    """

    def figures(mask: NDArray[np.bool_]) -> dict[str, Any]:
        groups = [c for c, keep in zip(crossed.components, mask, strict=True) if keep]
        y = crossed.labels[mask]
        answers = evaluate_scores(y, crossed.shifted[mask], threshold=0.5, n_bootstrap=n_bootstrap, groups=groups)
        quality = evaluate_scores(y, crossed.scores[mask], threshold=0.5, n_bootstrap=n_bootstrap, groups=groups)
        frames = evaluate_scores(
            y, probabilities(crossed.frame_mean[mask], 1.0), threshold=0.5, n_bootstrap=n_bootstrap, groups=groups
        )
        kept = {k: quality[k] for k in ("auc", "average_precision", "eer", "ece", "brier")}
        return {**answers, **kept, "threshold": None, "frame_mean_auc": frames["auc"]}

    everything = np.ones(len(crossed.labels), dtype=bool)
    sources, methods = np.array(crossed.sources), np.array(crossed.methods)
    real = crossed.labels == Label.REAL
    overall = figures(everything)
    report: dict[str, Any] = {
        "videos": overall,
        "by_source": {s: figures(sources == s) for s in sorted(set(crossed.sources))},
        # each method's fakes against the reals of the sources it occurs in
        "by_method": {
            m: figures((methods == m) | (real & np.isin(sources, sources[methods == m])))
            for m in sorted(set(crossed.methods) - {""})
        },
    }
    short = ("auc", "frame_mean_auc", "accuracy", "balanced_accuracy", "recall_fake", "recall_real")
    report["summary"] = {k: overall[k] for k in short} | {"majority_accuracy": overall["majority_accuracy"]}
    return report


def frame_report(
    model: FaceSequenceClassifier, pack: Pack, indices: Sequence[int], features: Tensor, *, n_bootstrap: int
) -> dict[str, Any]:
    """Frame head on the (N, F) features of held-out single crops, by source; no threshold is tuned, it is 0.5."""
    if not indices:
        return {}
    scores = probabilities(frame_scores(model, features), 1.0)
    rows = [pack.rows[i] for i in indices]
    components = row_components(rows)
    report = {}
    for source in sorted({row.source for row in rows}):
        mask = np.array([row.source == source for row in rows])
        report[source] = evaluate_scores(
            pack.labels()[list(indices)][mask],
            scores[mask],
            threshold=0.5,
            n_bootstrap=n_bootstrap,
            groups=[c for c, keep in zip(components, mask, strict=True) if keep],
        )
    return report
