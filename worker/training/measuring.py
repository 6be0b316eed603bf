"""How good a model is here, and a version in shadow beside it: on the settled labels of the random audit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import numpy as np

from detection.models import ModelVersion, ShadowScore
from detection.selectors.random_audit import AuditSample, random_audit
from detection.services.learning import local_figures
from ml.config import MIN_GROUPS, Label
from ml.evaluation.bootstrap import NO_INTERVAL, Bools, ClusterBootstrap, Floats, Ints
from ml.evaluation.curves import all_curves
from ml.evaluation.metrics import evaluate_draws, metric, ranking_metrics
from ml.evaluation.recalibration import JudgedVideo, scored
from ml.evaluation.report import arrays
from worker.training import local_audit

N_BOOTSTRAP = 1000
MIN_VIDEOS = 20
BATCH = 500


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


def compared(version: ModelVersion) -> dict[str, Any]:
    """Compare a version in shadow with the active model on the random audit: what `ShadowTrial.figures` keeps.

    Both are judged on the same videos, with the same draws.
    """
    active = ModelVersion.objects.filter(active=True).first()
    rows = ShadowScore.objects.filter(model_version=version, champion=active, fake_probability__isnull=False)
    labels, sample = random_audit(judged_by=rows)
    found: dict[str, Any] = {
        "champion": str(active.id) if active else None,
        "drawn": sample.drawn,
        "settled": sample.settled,
        "waiting": sample.waiting,
        "n": len(labels),
        "needs_videos": MIN_VIDEOS,
        "needs_groups": int(MIN_GROUPS),
        "enough": False,
    }
    if active is None or len(labels) < MIN_VIDEOS:
        return found
    label_of = dict(labels)
    scores = _shadow_scores(version, list(label_of))
    groups = local_audit.people(sorted(scores))
    videos = sorted(groups)
    y = np.array([Label[label_of[video].upper()] for video in videos], dtype=np.int64)
    new, old = (np.array([scores[video][k] for video in videos], dtype=np.float64) for k in (0, 1))
    draws = ClusterBootstrap([groups[video] for video in videos], y, N_BOOTSTRAP, np.random.default_rng(0))
    found |= {
        "n": len(videos),
        "candidate": evaluate_draws(y, new, version.threshold, draws),
        "active": evaluate_draws(y, old, active.threshold, draws),
        "difference": _differences(y, new, version.threshold, old, active.threshold, draws),
        "reliability": {
            "candidate": all_curves(y, new, draws)["reliability"],
            "active": all_curves(y, old, draws)["reliability"],
        },
    }
    return found | {"enough": found["candidate"]["accuracy"]["low"] is not None}


def _shadow_scores(version: ModelVersion, videos: Sequence[UUID]) -> dict[UUID, tuple[float, float]]:
    """Map each video to (the version's, the champion's) fake probability."""
    found: dict[UUID, tuple[float, float]] = {}
    for start in range(0, len(videos), BATCH):
        rows = ShadowScore.objects.filter(model_version=version, video_id__in=videos[start : start + BATCH])
        for video_id, new, old in rows.values_list("video_id", "fake_probability", "champion_probability"):
            if new is not None:
                found[video_id] = (new, old)
    return found


def _differences(
    labels: Ints, new: Floats, new_threshold: float, old: Floats, old_threshold: float, draws: ClusterBootstrap
) -> dict[str, dict[str, float | None]]:
    """Return candidate minus active model of each metric, with its interval over the same draws."""
    real: Bools = labels == Label.REAL
    fake: Bools = labels == Label.FAKE
    right: list[Bools] = [(new >= new_threshold) == fake, (old >= old_threshold) == fake]
    found = {}
    for name, among in (("accuracy", real | fake), ("recall_fake", fake), ("recall_real", real)):
        if not among.any():
            found[name] = metric(float("nan"), NO_INTERVAL)
            continue
        value = float(right[0][among].mean()) - float(right[1][among].mean())
        drawn = draws.rate(right[0], among) - draws.rate(right[1], among)
        found[name] = metric(value, draws.difference_interval(value, drawn, among=among))
    value = ranking_metrics(labels, new)[0] - ranking_metrics(labels, old)[0]
    drawn = draws.auc(labels, new) - draws.auc(labels, old)
    return found | {"auc": metric(value, draws.difference_interval(value, drawn))}
