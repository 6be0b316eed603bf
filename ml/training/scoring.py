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
from ml.model.decision import combine
from ml.model.network import FaceSequenceClassifier
from ml.training.frame_stage import frame_scores
from ml.training.sequence_stage import FeatureSequence, margins_by_video, sequence_margins


def scored_videos(
    model: FaceSequenceClassifier,
    sequences: Sequence[FeatureSequence],
    component_of: Callable[[FeatureSequence], str],
    *,
    temperature: float,
    shift: float = 0.0,
) -> list[ScoredVideo]:
    """Return one entry per video, scored as an upload would be (`ml.model.decision.combine`)."""
    judged = [item for item in sequences if item.row is not None and not item.blended]
    margins, _ = sequence_margins(model, judged)
    found = []
    for video in margins_by_video(judged, margins):
        row = video.worst.row
        assert row is not None
        fake = probabilities(np.array(list(video.segments.values())), temperature, shift)
        found.append(
            ScoredVideo(
                key=row.video or row.sequence,
                label=video.label,
                score=combine(fake.tolist()),
                component=component_of(video.worst),
                name=row.origin,
                dataset=video.worst.source,
                method=row.method,
                compression=row.compression,
                height=row.height or None,
                face_px=row.face_px or None,
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
