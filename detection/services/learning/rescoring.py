"""Rescore stored faces, or stored clips, with the active model, for videos that show another model's verdict.

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

from detection.models import (
    OPEN_STATES,
    Analysis,
    DatasetVideo,
    FaceFrame,
    ModelKind,
    ModelVersion,
    State,
    Verdict,
    Video,
)
from detection.services.jobs.left_out import CHANGED
from detection.services.jobs.results import ClassificationResult
from detection.services.jobs.verdicts import NO_VERDICT, mirrored, verdict_fields, without_no_persons
from detection.services.reviews.rescan import found_by_rescan


@dataclass(frozen=True)
class StoredVideo:
    """A video's faces by person and segment: (track, faces in time order); none for a model of whole frames."""

    video_id: UUID
    people: list[tuple[int, list[FaceFrame]]]
    verdict: Verdict | None = None
    """The model's earlier verdict on these very faces, or frames."""
    sensitive: bool = False
    """Whether the faces were found with lowered thresholds."""

    @property
    def faces(self) -> set[str]:
        """Return the ids of all its faces."""
        return {str(face.id) for _, run in self.people for face in run}


def outdated(*, model: ModelVersion) -> QuerySet[Video]:
    """Return videos that the model can judge, do not show a verdict of it and are not being analysed.

    It can judge those with stored faces, or a model of whole frames those whose file is still there.
    """
    shown = Verdict.objects.filter(id=OuterRef("current_verdict"), model_version=model)
    busy = Analysis.objects.filter(video=OuterRef("pk"), state__in=OPEN_STATES)
    rows = Video.objects.filter(~Exists(shown), ~Exists(busy))
    if model.kind == ModelKind.ONNX_FRAMES:
        return rows.filter(extracted_at__isnull=False, original_removed_at=None)
    return rows.filter(Exists(FaceFrame.objects.filter(video=OuterRef("pk"))))


def withdraw_faceless(*, model: ModelVersion) -> int:
    """Take back verdicts of whole frames on videos without a face, which the active `model` cannot judge.

    They wait for a person again, as those in which no face was found.  Returns how many there were.
    """
    if model.kind == ModelKind.ONNX_FRAMES:
        return 0
    busy = Analysis.objects.filter(video=OuterRef("pk"), state__in=OPEN_STATES)
    rows = Video.objects.filter(~Exists(busy), tracks=0, current_verdict__frames__isnull=False)
    of_dataset = Exists(DatasetVideo.objects.filter(video=OuterRef("pk")))
    fields = {**NO_VERDICT, "status": State.NO_FACE, "updated_at": timezone.now()}
    with transaction.atomic():
        active = ModelVersion.objects.select_for_update(no_key=True).filter(id=model.id, active=True)
        if not active.values_list("pk"):
            return 0
        ids = list(rows.select_for_update(no_key=True, of=("self",)).order_by("id").values_list("id", flat=True))
        free = rows.filter(id__in=ids)  # none of them is taken in hand from here on
        known = set(free.filter(of_dataset).values_list("id", flat=True))
        wanted = set(free.values_list("id", flat=True))
        Video.objects.filter(id__in=wanted & known).update(**fields, needs_review=False)
        Video.objects.filter(id__in=wanted - known).update(**fields, needs_review=True)
    return len(wanted)


def next_batch(*, model: ModelVersion, size: int, after: UUID | None = None) -> list[StoredVideo]:
    """Return the next videos by id, with their faces; four queries for any size, five of a model of whole frames."""
    rows = outdated(model=model).order_by("id")
    if after is not None:
        rows = rows.filter(id__gt=after)
    ids = list(rows.values_list("id", flat=True)[:size])
    if model.kind == ModelKind.ONNX_FRAMES:
        return _without_faces(model, ids)
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


def _without_faces(model: ModelVersion, ids: list[UUID]) -> list[StoredVideo]:
    since = dict(Video.objects.filter(id__in=ids).values_list("id", "extracted_at"))
    earlier = {verdict.video_id: verdict for verdict in Verdict.objects.filter(video_id__in=ids, model_version=model)}
    batch = []
    for pk in ids:
        verdict, extracted_at = earlier.get(pk), since.get(pk)
        same = verdict is not None and extracted_at is not None and verdict.created_at >= extracted_at
        batch.append(StoredVideo(pk, [], verdict if same else None))
    return batch


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
                fields = verdict_fields(result, now=now, extracted_at=rows[stored.video_id].extracted_at)
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
