"""The random audit: the one sample of an installation's videos that nobody chose.

A video's audit rank is drawn when it is uploaded; the lowest ranks (`DFD_REVIEW_AUDIT_SHARE`) are the audit, and its
queue shows them by rank.  A video counts once its label is settled, real or fake, and somebody gave that label without
having seen the score.  Videos that reviewers met for another reason (they were uncertain, say) count, too, which would
make those too many while the others wait.  So the audit is read only up to the rank to which `COVERAGE` of its videos
are settled: the queue goes by rank, and further up there is nothing but what was met for other reasons.

A video that lost its pictures (`DFD_KEEP_CROPS_DAYS`) before it was settled never will be.  Where there
are too many of these, as of months in which nobody reviewed, only what was uploaded after them is read: that is no
less by lot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Exists, OuterRef, QuerySet

from detection.models import AUDIT_RANKS, ModelVersion, Review, ReviewNext, State, Verdict, Video
from detection.services.reviews.consensus import TEACHING

COVERAGE = 0.95
"""Share of the videos up to a rank that must be settled."""
BATCH = 500


@dataclass(frozen=True)
class AuditedVideo:
    """A video of the random audit with its settled label and a model's verdict."""

    video_id: UUID
    sha256: str
    fingerprint: str
    label: str
    fake_probability: float
    segments: tuple[float, ...]
    """Fake probability of each segment's most suspicious person."""


@dataclass(frozen=True)
class AuditSample:
    """What the audit says of a model; `drawn` videos up to the rank that it is read to, `settled` of them."""

    videos: tuple[AuditedVideo, ...]
    drawn: int
    settled: int
    waiting: int
    """Drawn videos that are not settled and can be, over all ranks of the audit."""


@dataclass(frozen=True)
class _Drawn:
    video_id: UUID
    label: str
    settled: bool
    lost: bool
    """It is not settled, and its pictures were removed."""
    created_at: datetime


def audited(*, judged_by: QuerySet[Any]) -> QuerySet[Video]:
    """Return the videos of the audit that have a row in `judged_by` (with a column `video`), whatever their label."""
    ranks = round(settings.DFD_REVIEW_AUDIT_SHARE * AUDIT_RANKS)
    judged = judged_by.filter(video=OuterRef("pk"))
    rows = Video.objects.filter(audit_rank__lt=ranks, verdict_model__isnull=False, status=State.SUCCEEDED)
    return rows.filter(Exists(judged), dataset_video=None).order_by("audit_rank", "id")


def any_settled() -> bool:
    """Return whether any uploaded video of the audit has a label that teaches."""
    ranks = round(settings.DFD_REVIEW_AUDIT_SHARE * AUDIT_RANKS)
    rows = Video.objects.filter(audit_rank__lt=ranks, verdict_model__isnull=False, label__in=TEACHING)
    return rows.filter(dataset_video=None).exists()


def random_audit(*, judged_by: QuerySet[Any]) -> tuple[list[tuple[UUID, str]], AuditSample]:
    """Return (id, label) of the videos that count, and the sample's counts without videos."""
    blind = Review.objects.effective().filter(video=OuterRef("pk"), label=OuterRef("label"), score_shown=False)
    rows = audited(judged_by=judged_by).annotate(blind=Exists(blind))
    wanted = ("id", "label", "review_next", "blind", "pictures_removed_at", "created_at")
    drawn = []
    for video_id, label, review_next, is_blind, removed_at, created_at in rows.values_list(*wanted).iterator():
        settled = bool(label) and review_next == ReviewNext.NOBODY and is_blind
        drawn.append(_Drawn(video_id, label, settled, not settled and removed_at is not None, created_at))
    found = _read(drawn)
    if lost := [one.created_at for one in drawn if one.lost]:
        found = max(found, _read([one for one in drawn if one.created_at > max(lost)]), key=lambda read: len(read[0]))
    return found


def _read(drawn: Sequence[_Drawn]) -> tuple[list[tuple[UUID, str]], AuditSample]:
    """Return what `random_audit` does, of videos in the order of their ranks."""
    found: list[tuple[UUID, str]] = []
    end = drawn_to_end = settled_to_end = settled = 0
    for count, one in enumerate(drawn, 1):
        if one.settled:
            settled += 1
            if one.label in TEACHING:
                found.append((one.video_id, one.label))
        if settled >= COVERAGE * count:
            end, drawn_to_end, settled_to_end = len(found), count, settled
    waiting = sum(not one.settled and not one.lost for one in drawn)
    return found[:end], AuditSample((), drawn_to_end, settled_to_end, waiting)


def audit_sample(*, model: ModelVersion) -> AuditSample:
    """Return the audit's videos that this model gave a verdict on, with that verdict."""
    verdicts = Verdict.objects.filter(model_version=model)
    labels, sample = random_audit(judged_by=verdicts)
    videos: list[AuditedVideo] = []
    for start in range(0, len(labels), BATCH):
        part = dict(labels[start : start + BATCH])
        rows = verdicts.filter(video_id__in=list(part)).values_list(
            "video_id", "video__sha256", "video__fingerprint", "fake_probability", "with_everybody", "segments"
        )
        for video_id, sha256, print_, score, everybody, segments in rows:
            # The model's own, also where reviewers left somebody out since.
            own = float(everybody["fake_probability"]) if everybody else score
            scores = segment_scores(own, segments)
            videos.append(AuditedVideo(video_id, sha256, print_, part[video_id], own, scores))
    videos.sort(key=lambda video: str(video.video_id))
    return AuditSample(tuple(videos), sample.drawn, sample.settled, sample.waiting)


def segment_scores(score: float, segments: Any) -> tuple[float, ...]:
    """Return each segment's fake probability, from the columns of a verdict; of one segment it is the video's."""
    return tuple(float(segment["fake_probability"]) for segment in segments) if segments else (score,)
