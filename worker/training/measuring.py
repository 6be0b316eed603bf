"""How good a model is here: its figures on the settled labels of the random audit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import numpy as np

from detection.models import ModelVersion
from detection.selectors.random_audit import AuditSample
from detection.services.learning import local_figures
from ml.config import MIN_GROUPS, Label
from ml.evaluation.bootstrap import ClusterBootstrap
from ml.evaluation.curves import all_curves
from ml.evaluation.metrics import evaluate_draws
from ml.evaluation.recalibration import JudgedVideo, scored
from ml.evaluation.report import arrays
from worker.training import local_audit

N_BOOTSTRAP = 1000
MIN_VIDEOS = 20


def measure(model_id: str) -> None:
    """Measure a model and store what was found; nothing where it is gone."""
    model = ModelVersion.objects.filter(id=UUID(model_id)).first()
    if model is None:
        return
    videos, sample = local_audit.judged(model)
    local_figures.store(model_id=model.id, figures=figures(videos, sample, model.threshold))


def figures(videos: Sequence[JudgedVideo], sample: AuditSample, threshold: float) -> dict[str, Any]:
    """Return what `LocalFigures` keeps; of fewer than `MIN_VIDEOS` only counts."""
    labels, scores = arrays(scored(videos))
    found: dict[str, Any] = {
        "n": len(videos),
        "n_real": int((labels == Label.REAL).sum()),
        "n_fake": int((labels == Label.FAKE).sum()),
        "n_groups": len({video.component for video in videos}),
        "drawn": sample.drawn,
        "settled": sample.settled,
        "waiting": sample.waiting,
        "needs_videos": MIN_VIDEOS,
        "needs_groups": int(MIN_GROUPS),
        "enough": False,
    }
    if len(videos) < MIN_VIDEOS:
        return found
    draws = ClusterBootstrap([v.component for v in videos], labels, N_BOOTSTRAP, np.random.default_rng(0))
    found |= evaluate_draws(labels, scores, threshold, draws)
    found["reliability"] = all_curves(labels, scores, draws)["reliability"]
    return found | {"enough": found["accuracy"]["low"] is not None}
