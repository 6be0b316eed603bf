"""Score held-out videos and crops, for the metrics that weights carry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ml.data.crop_pack import Pack
from ml.data.splits import row_components
from ml.evaluation.metrics import evaluate_scores
from ml.evaluation.scored_video import ScoredVideo
from ml.model.calibration import probabilities
from ml.model.network import FaceSequenceClassifier
from ml.training.frame_stage import frame_scores
from ml.training.sequence_stage import FeatureSequence, sequence_margins


def scored_videos(
    model: FaceSequenceClassifier,
    sequences: Sequence[FeatureSequence],
    component_of: Callable[[FeatureSequence], str],
    *,
    temperature: float,
    shift: float = 0.0,
) -> list[ScoredVideo]:
    """Return one entry per video, with the score of its most suspicious person."""
    margins, _ = sequence_margins(model, sequences)
    scores = probabilities(margins, temperature, shift)
    best: dict[str, int] = {}
    for k, item in enumerate(sequences):
        if item.row is None or item.blended:
            continue
        name = item.row.video or item.row.sequence
        if name not in best or scores[k] > scores[best[name]]:
            best[name] = k
    found = []
    for name, k in best.items():
        item = sequences[k]
        assert item.row is not None
        found.append(
            ScoredVideo(
                key=name,
                label=item.label,
                score=float(scores[k]),
                component=component_of(item),
                name=item.row.origin,
                dataset=item.source,
                method=item.row.method,
                compression=item.row.compression,
                height=item.row.height or None,
                face_px=item.row.face_px or None,
            )
        )
    return found


def frame_report(
    model: FaceSequenceClassifier, pack: Pack, indices: Sequence[int], features: Tensor, *, n_bootstrap: int
) -> dict[str, Any]:
    """Evaluate the frame head on features (N, F) of held-out single crops, by source, at the untuned threshold 0.5."""
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
