"""Verdicts of the active model for videos that have another model's, from their stored faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from detection.models import OPEN_STATES, Analysis, FaceFrame, ModelVersion, State, Verdict, Video
from detection.services.results import ClassificationResult


@dataclass(frozen=True)
class StoredVideo:
    """A video's faces by person: (track, faces in time order)."""

    video_id: UUID
    people: list[tuple[int, list[FaceFrame]]]


def outdated(*, model: ModelVersion) -> QuerySet[Video]:
    """Videos with stored faces and no verdict of this model; those that a worker has in hand are left to it."""
    theirs = Verdict.objects.filter(video=OuterRef("pk"), model_version=model)
    busy = Analysis.objects.filter(video=OuterRef("pk"), state__in=OPEN_STATES)
    faces = FaceFrame.objects.filter(video=OuterRef("pk"))
    return Video.objects.filter(~Exists(theirs), ~Exists(busy), Exists(faces))


def next_batch(*, model: ModelVersion, size: int, after: UUID | None = None) -> list[StoredVideo]:
    """The next videos in the order of their ids, with their faces: two queries, whatever the size."""
    rows = outdated(model=model).order_by("id")
    if after is not None:
        rows = rows.filter(id__gt=after)
    ids = list(rows.values_list("id", flat=True)[:size])
    faces = FaceFrame.objects.filter(video_id__in=ids).order_by("video_id", "track", "position")
    found = {
        video_id: [(track, list(run)) for track, run in groupby(of_video, key=lambda face: face.track)]
        for video_id, of_video in groupby(faces, key=lambda face: face.video_id)
    }
    return [StoredVideo(video_id, found[video_id]) for video_id in ids if video_id in found]


def store_verdicts(*, model: ModelVersion, results: Sequence[tuple[StoredVideo, ClassificationResult]]) -> int:
    """All in one transaction; returns how many were stored.

    Left out are videos that were deleted or taken in hand meanwhile, or whose faces are no longer those that were
    scored.  A verdict that exists stays as it is, so a batch that is stored twice counts once.  The video shows the new
    verdict; the old ones stay with it.
    """
    now = timezone.now()
    with transaction.atomic():
        if not ModelVersion.objects.select_for_update().filter(id=model.id, active=True).exists():
            return 0  # another model has become active: its verdicts are wanted now
        ids = [stored.video_id for stored, _ in results]
        free = set(outdated(model=model).filter(id__in=ids).values_list("id", flat=True))
        list(Video.objects.select_for_update().filter(id__in=free).order_by("id").values_list("id"))
        present = set(FaceFrame.objects.filter(video_id__in=free).values_list("id", flat=True))
        verdicts = []
        for stored, result in results:
            faces = {face.id for _, run in stored.people for face in run}
            if stored.video_id in free and faces <= present:
                verdicts.append(
                    Verdict(
                        video_id=stored.video_id,
                        model_version=model,
                        label=result.label,
                        fake_probability=result.fake_probability,
                        threshold=result.threshold,
                        track=result.track,
                        people=result.people,
                        needs_review=result.needs_review,
                        review_reasons=list(result.review_reasons),
                        created_at=now,
                    )
                )
        Verdict.objects.bulk_create(verdicts)
        rows = {row.id: row for row in Video.objects.filter(id__in=[v.video_id for v in verdicts])}
        for verdict in verdicts:
            row = rows[verdict.video_id]
            row.current_verdict = verdict
            row.verdict_label, row.fake_probability = verdict.label, verdict.fake_probability
            row.needs_review, row.status, row.updated_at = verdict.needs_review, State.SUCCEEDED, now
        mirrored = ("current_verdict", "verdict_label", "fake_probability", "needs_review", "status", "updated_at")
        Video.objects.bulk_update(rows.values(), mirrored, batch_size=200)
    return len(verdicts)
