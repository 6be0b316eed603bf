"""What training has kept of videos that are gone: packs, cached features, reports with their faces."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any

import structlog
from django.conf import settings
from django.core.files.storage import default_storage

from detection.models import TrainingRun
from detection.services.ops import pending_deletions
from ml.data.erasure import forget_features, forget_packs

log = structlog.get_logger(__name__)


def sweep() -> int:
    """Finish what was let go: files first, then packs and features; returns how many videos were seen to."""
    pending_deletions.sweep()
    waiting = pending_deletions.waiting_for_packs()
    if waiting:
        forget_cached({str(removal.video_id) for removal in waiting})
        pending_deletions.packs_gone(removals=waiting)
    return len(waiting)


def forget_cached(videos: Collection[str]) -> int:
    """Remove packs that hold a face of these videos, and features of their faces; returns how many packs."""
    root = training_root()
    packs = forget_packs(root / "packs", videos)
    features = forget_features(root / "features", videos)
    if packs or features:
        log.info("cached_faces_removed", packs=packs, videos_with_features=features)
    return packs


def forget_reports(videos: Collection[str]) -> int:
    """Remove the reports of trainings and evaluations that show a face of these videos; returns how many.

    The figures of a training stay with its run.
    """
    removed = 0
    for run in TrainingRun.objects.exclude(report="").only("id", "report").order_by("created_at"):
        name = str(run.report.name)
        beside = str(PurePosixPath(name).with_name("report.json"))
        try:
            with default_storage.open(beside) as handle:
                shown = _shows(json.load(handle), videos)
        except OSError:
            shown = True  # who is shown cannot be told any more
        if shown:
            default_storage.delete(name)
            default_storage.delete(beside)
            TrainingRun.objects.filter(pk=run.pk).update(report="")
            removed += 1
    for path in sorted((training_root() / "evaluations").glob("*/report.json")):
        if _shows(json.loads(path.read_text()), videos):
            shutil.rmtree(path.parent)
            removed += 1
    return removed


def training_root() -> Path:
    """As `worker.training.snapshot_pack.root`, which loads torch."""
    folder: Path = settings.VAR_DIR / "training"
    return folder


def _shows(report: dict[str, Any], videos: Collection[str]) -> bool:
    return any(mistake.get("key") in videos for mistake in report.get("mistakes", ()))
