"""The retention policy: delete what is older than DFD_KEEP_*_DAYS, in small transactions, oldest first.

originals  the upload, its clip and preview, and evidence reports
crops      faces, sampled frames, heat maps, reports, thumbnail and hashes; verdict and label stay
videos     everything

Never of a video that is being analysed or has evidence being made, nor of a data set's; no crops of a video whose label
may teach (DFD_KEEP_LABELLED).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from detection.audit_context import acting_as
from detection.models import (
    OPEN_STATES,
    Analysis,
    AuditAction,
    DatasetVideo,
    EvidenceJob,
    EvidenceKind,
    Print,
    Video,
)
from detection.services.jobs.attempt_files import heatmap_attempts
from detection.services.jobs.evidence import report_files
from detection.services.jobs.perceptual_hashes import NO_PRINT
from detection.services.ops import audit, pending_deletions
from detection.services.reviews.consensus import TEACHING
from detection.services.uploads.uploads import delete_video

BATCH = 200
BUDGET_S = 30.0


@dataclass(frozen=True)
class Removed:
    """How many videos lost what; `more`: some were left for the next round."""

    originals: int = 0
    crops: int = 0
    videos: int = 0
    more: bool = False


def apply() -> Removed:
    """Run one round of at most `BUDGET_S` seconds; if it deletes anything, the audit log has the counts."""
    until = time.monotonic() + BUDGET_S
    with acting_as("retention"):
        videos, more_videos = _each(due_videos(), _delete, until)
        originals, more_originals = _each(due_originals(), _remove_original, until)
        crops, more_crops = _each(due_crops(), _remove_crops, until)
        removed = Removed(originals, crops, videos, more=more_videos or more_originals or more_crops)
        if videos or originals or crops:
            counts = {name: count for name, count in asdict(removed).items() if name != "more"}
            audit.record(AuditAction.RETENTION, facts=counts)
    return removed


# --- what is due -----------------------------------------------------------------------------------------------------


def due_originals() -> QuerySet[Video]:
    """Return videos whose originals are due."""
    return _due(settings.DFD_KEEP_ORIGINALS_DAYS).filter(original_removed_at=None)


def due_crops() -> QuerySet[Video]:
    """Return videos whose crops are due."""
    rows = _due(settings.DFD_KEEP_CROPS_DAYS).filter(pictures_removed_at=None)
    return rows.exclude(label__in=TEACHING) if settings.DFD_KEEP_LABELLED else rows


def due_videos() -> QuerySet[Video]:
    """Return videos that are due as a whole."""
    return _due(settings.DFD_KEEP_VIDEOS_DAYS)


def _due(days: int) -> QuerySet[Video]:
    """Return uploads older than so many days that nothing works on; none if they are kept for ever."""
    if not days:
        return Video.objects.none()
    analyses = Analysis.objects.filter(video=OuterRef("pk"), state__in=OPEN_STATES)
    evidence = EvidenceJob.objects.filter(video=OuterRef("pk"), state__in=OPEN_STATES)
    of_dataset = DatasetVideo.objects.filter(video=OuterRef("pk"))
    rows = Video.objects.filter(~Exists(analyses), ~Exists(evidence), ~Exists(of_dataset))
    return rows.filter(created_at__lt=timezone.now() - timedelta(days=days)).order_by("created_at", "id")


# --- one video -------------------------------------------------------------------------------------------------------


def _each(due: QuerySet[Video], remove: Callable[[QuerySet[Video], UUID], bool], until: float) -> tuple[int, bool]:
    """Return how many were deleted, and whether more are due."""
    ids = list(due.values_list("id", flat=True)[:BATCH])
    count = 0
    for position, video_id in enumerate(ids):
        if time.monotonic() > until:
            return count, position > 0
        count += remove(due, video_id)
    return count, len(ids) == BATCH and count > 0


def _remove_original(due: QuerySet[Video], video_id: UUID) -> bool:
    with transaction.atomic():
        video = _still(due, video_id)
        if video is None:
            return False
        names = [str(file.name) for file in (video.file, video.clip, video.preview) if file]
        names += [segment["clip"] for segment in video.segments or () if segment["clip"]]
        segments = [segment | {"clip": ""} for segment in video.segments] if video.segments else None
        Video.objects.filter(pk=video_id).update(
            file="", clip="", preview="", segments=segments, original_removed_at=timezone.now()
        )
        EvidenceJob.objects.filter(video_id=video_id, kind=EvidenceKind.PREVIEW).delete()
        names += _drop_reports(video_id)
        pending_deletions.schedule(video_id=video_id, paths=names, packs=False)
    return True


def _remove_crops(due: QuerySet[Video], video_id: UUID) -> bool:
    with transaction.atomic():
        video = _still(due, video_id)
        if video is None:
            return False
        names = [
            *video.faces.values_list("crop", flat=True),
            *video.sampled_frames.values_list("image", flat=True),
            str(video.thumbnail.name or ""),
            # Each by its attempt's name, never used again: newer ones may lie beside when they are removed once more.
            *heatmap_attempts(video_id),
            *_drop_reports(video_id),
        ]
        video.faces.all().delete()
        video.sampled_frames.all().delete()
        Print.objects.filter(video_id=video_id).delete()
        EvidenceJob.objects.filter(video_id=video_id, kind=EvidenceKind.HEATMAPS).delete()
        # Nobody can look at it any more, so it waits for nobody.
        Video.objects.filter(pk=video_id).update(
            thumbnail="", fingerprint=NO_PRINT, needs_review=False, pictures_removed_at=timezone.now()
        )
        pending_deletions.schedule(video_id=video_id, paths=[name for name in names if name], packs=True)
    return True


def _drop_reports(video_id: UUID) -> list[str]:
    """Delete the video's reports, which hold its pictures; return their folders."""
    jobs = EvidenceJob.objects.filter(video_id=video_id, kind=EvidenceKind.REPORT)
    folders = report_files(jobs)
    jobs.delete()
    return folders


def _delete(due: QuerySet[Video], video_id: UUID) -> bool:
    with transaction.atomic():
        video = _still(due, video_id)
        if video is None:
            return False
        delete_video(video=video)
    return True


def _still(due: QuerySet[Video], video_id: UUID) -> Video | None:
    """Return the video, locked, if it is still due: an analysis may have been requested meanwhile."""
    list(Video.objects.select_for_update(no_key=True).filter(pk=video_id).values_list("pk"))
    return due.filter(pk=video_id).first()
