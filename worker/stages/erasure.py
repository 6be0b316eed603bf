"""What training has kept of videos that are gone: packs, cached features, reports with their faces."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.core.files.storage import default_storage
from django.utils import timezone

from detection.models import CacheHolder, TrainingRun
from detection.services.ops import pending_deletions
from ml.data.erasure import erase_features, erase_packs

log = structlog.get_logger(__name__)


HOLDER = "holder"
"""The file that says which CacheHolder this folder is."""


def sweep() -> int:
    """Finish what was let go: files first, then packs and features; returns how many videos are gone everywhere."""
    pending_deletions.sweep()
    erase_here()
    return pending_deletions.finish()


def erase_here() -> int:
    """Remove what this machine has cached of videos that were let go; returns of how many.

    Each machine with caches does so: by the sweep, or by a worker's heartbeat where no sweep runs.
    """
    if not training_root().is_dir():
        return 0
    holder = register()
    waiting = pending_deletions.waiting_for_packs(after=holder.erased_until)
    if waiting:
        forget_cached({str(removal.video_id) for removal in waiting})
        CacheHolder.objects.filter(pk=holder.pk).update(erased_until=waiting[-1].created_at)
    return len(waiting)


def is_waiting_here() -> bool:
    """Whether `erase_here` has something to do; cheap, for each heartbeat."""
    if not training_root().is_dir():
        return False
    return bool(pending_deletions.waiting_for_packs(after=register().erased_until))


def register() -> CacheHolder:
    """This machine's row, made before anything is cached here; says that the machine is there.

    Where the folder is unknown (new, or not heard of for so long that nobody waited for it) its caches are emptied:
    they may hold videos whose removal is over.
    """
    root = training_root()
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = root / HOLDER
    try:
        holder = CacheHolder.objects.filter(pk=UUID(path.read_text())).first()
    except (FileNotFoundError, ValueError):
        holder = None
    if holder is None:
        for name in ("packs", "features"):
            shutil.rmtree(root / name, ignore_errors=True)
        holder = CacheHolder.objects.create(host=socket.gethostname()[:200])
        new = root / f"{HOLDER}.{holder.pk.hex}"
        new.write_text(str(holder.pk))
        new.replace(path)
    CacheHolder.objects.filter(pk=holder.pk).update(seen_at=timezone.now())
    return holder


def forget_cached(videos: Collection[str]) -> int:
    """Remove packs that hold a face of these videos, and features of their faces; returns how many packs."""
    root = training_root()
    packs = erase_packs(root / "packs", videos)
    features = erase_features(root / "features", videos)
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
