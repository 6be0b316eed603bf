"""Rescore stored faces with the active model, for videos that show another model's verdict.

After a rollback most verdicts exist already: they are shown again, and nothing is computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from detection.models import OPEN_STATES, Analysis, FaceFrame, ModelVersion, Verdict, Video
from detection.services.jobs.left_out import CHANGED
from detection.services.jobs.results import ClassificationResult
from detection.services.jobs.verdicts import mirrored, verdict_fields, without_no_persons
from detection.services.reviews.rescan import found_by_rescan


@dataclass(frozen=True)
class StoredVideo:
    """A video's faces by person and segment: (track, faces in time order)."""

    video_id: UUID
    people: list[tuple[int, list[FaceFrame]]]
    verdict: Verdict | None = None
    """The model's earlier verdict on these very faces."""
    sensitive: bool = False
    """Whether the faces were found with lowered thresholds."""

    @property
    def faces(self) -> set[str]:
        """Return the ids of all its faces."""
        return {str(face.id) for _, run in self.people for face in run}


def outdated(*, model: ModelVersion) -> QuerySet[Video]:
    """Return videos with stored faces that do not show a verdict of this model and are not being analysed."""
    shown = Verdict.objects.filter(id=OuterRef("current_verdict"), model_version=model)
    busy = Analysis.objects.filter(video=OuterRef("pk"), state__in=OPEN_STATES)
    faces = FaceFrame.objects.filter(video=OuterRef("pk"))
    return Video.objects.filter(~Exists(shown), ~Exists(busy), Exists(faces))


def next_batch(*, model: ModelVersion, size: int, after: UUID | None = None) -> list[StoredVideo]:
    """Return the next videos by id, with their faces; four queries for any size."""
    rows = outdated(model=model).order_by("id")
    if after is not None:
        rows = rows.filter(id__gt=after)
    ids = list(rows.values_list("id", flat=True)[:size])
    faces = FaceFrame.objects.filter(video_id__in=ids).order_by("video_id", "track", "position")
    found = {video_id: sequences_of(of_video) for video_id, of_video in groupby(faces, key=lambda face: face.video_id)}
    earlier = {verdict.video_id: verdict for verdict in Verdict.objects.filter(video_id__in=ids, model_version=model)}
    lowered = found_by_rescan(ids)
    batch = [
        StoredVideo(video_id, found[video_id], sensitive=video_id in lowered) for video_id in ids if video_id in found
    ]
    return [
        replace(stored, verdict=verdict) if verdict and _faces(verdict) == stored.faces else stored
        for stored in batch
        for verdict in [earlier.get(stored.video_id)]
    ]


def sequences_of(faces: Iterable[FaceFrame]) -> list[tuple[int, list[FaceFrame]]]:
    """(track, faces of one segment) from a video's faces in the order of track and position."""
    runs = groupby(faces, key=lambda face: (face.track, face.segment_index))
    return [(track, list(run)) for (track, _), run in runs]


def _faces(verdict: Verdict) -> set[str]:
    return {str(frame["face"]) for person in verdict.people for frame in person["frames"]}


def store_verdicts(*, model: ModelVersion, results: Sequence[tuple[StoredVideo, ClassificationResult | None]]) -> int:
    """Store a batch of verdicts in one transaction; return how many videos now show this model's verdict.

    A result of None stands for the verdict that `next_batch` found.  Videos that were deleted, claimed by a worker, or
    whose faces changed meanwhile are left out; storing a batch again changes nothing.  A verdict of this model on older
    faces is replaced; other models' verdicts stay.
    """
    now = timezone.now()
    with transaction.atomic():
        # No key: a worker that has locked a video and stores a verdict of this model must not wait for us.
        active = ModelVersion.objects.select_for_update(no_key=True).filter(id=model.id, active=True)
        if not active.values_list("pk"):
            return 0  # another model has become active: its verdicts are wanted now
        ids = [stored.video_id for stored, _ in results]
        # Locked first, looked at then: none of them is taken in hand from here on.
        list(Video.objects.select_for_update(no_key=True).filter(id__in=ids).order_by("id").values_list("id"))
        free = set(outdated(model=model).filter(id__in=ids).values_list("id", flat=True))
        present = {str(pk) for pk in FaceFrame.objects.filter(video_id__in=free).values_list("id", flat=True)}
        earlier = {v.video_id: v for v in Verdict.objects.filter(video_id__in=free, model_version=model)}
        rows = {row.id: row for row in Video.objects.filter(id__in=free)}
        redecided: list[Verdict] = []
        fresh: list[Verdict] = []
        renewed: list[Verdict] = []
        shown: list[Verdict] = []
        fields: dict[str, Any] = {}
        for stored, result in results:
            if stored.video_id not in free or not stored.faces <= present:
                continue
            verdict = earlier.get(stored.video_id)
            if result is None:
                if verdict is None or _faces(verdict) != stored.faces:
                    continue
            else:
                old, verdict = verdict, verdict or Verdict(video_id=stored.video_id, model_version=model)
                fields = verdict_fields(result, now=now)
                _assign(verdict, fields)
                (renewed if old else fresh).append(verdict)
            verdict.model_version = model
            if without_no_persons(verdict, rows[stored.video_id].person_labels) and result is None:
                redecided.append(verdict)
            shown.append(verdict)
        Verdict.objects.bulk_create(fresh)
        if renewed:
            Verdict.objects.bulk_update(renewed, fields, batch_size=200)
        if redecided:
            Verdict.objects.bulk_update(redecided, CHANGED, batch_size=200)
        changes: dict[str, Any] = {}
        for verdict in shown:
            changes = mirrored(verdict) | {"updated_at": now}
            _assign(rows[verdict.video_id], changes)
        if shown:
            Video.objects.bulk_update([rows[v.video_id] for v in shown], changes, batch_size=200)
    return len(shown)


def _assign(row: Verdict | Video, fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        setattr(row, name, value)
