"""The random audit as measuring and recalibrating see it: with the groups of people in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from detection.models import ModelVersion, Video
from detection.selectors.random_audit import AuditedVideo, AuditSample, audit_sample
from detection.services.jobs.perceptual_hashes import files_of, without_prints
from detection.services.learning.linked_videos import groups_of
from ml.config import Label
from ml.evaluation.recalibration import JudgedVideo
from worker.stages import perceptual_hashes

BATCH = 200


def judged(
    model: ModelVersion, *, alive: Callable[[float], object] = lambda share: None
) -> tuple[list[JudgedVideo], AuditSample]:
    """Return the audit's videos as this model's verdicts have them, and the sample.  `alive` is called meanwhile."""
    sample = audit_sample(model=model)
    groups = people([video.video_id for video in sample.videos], alive=alive)
    return [_judged(video, groups[video.video_id]) for video in sample.videos if video.video_id in groups], sample


def people(videos: Sequence[UUID], *, alive: Callable[[float], object] = lambda share: None) -> dict[UUID, str]:
    """Map each video to its group of people, less those that were deleted.

    Who lacks a perceptual hash gets it.
    """
    rows: list[tuple[UUID, str, str]] = []
    for start in range(0, len(videos), BATCH):
        part = list(videos[start : start + BATCH])
        perceptual_hashes.fill(files_of(list(without_prints().filter(id__in=part).only("id", "thumbnail"))))
        rows += Video.objects.filter(id__in=part).values_list("id", "sha256", "fingerprint")
        alive((start + len(part)) / len(videos))
    return groups_of(sorted(rows))


def _judged(video: AuditedVideo, group: str) -> JudgedVideo:
    return JudgedVideo(str(video.video_id), int(Label[video.label.upper()]), group, video.segments)
