"""Store what an extraction found: files, then the rows of faces, frames, hashes and provenance in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from django.db.models import F, Max
from django.db.models.functions import Coalesce
from django.utils import timezone

from detection.models import FaceFrame, SampledFrame, Verdict, Video, VideoProvenance
from detection.selectors import people
from detection.services.jobs import attempt_files, orphan_files
from detection.services.jobs.leases import on_commit
from detection.services.jobs.perceptual_hashes import store_prints
from detection.services.jobs.results import ExtractionResult, Provenance
from detection.services.stored_files import StoredFiles


def store_extraction(
    *, video_id: UUID, token: UUID, result: ExtractionResult, settle: Callable[[datetime], None]
) -> None:
    """Files first, then all rows in one transaction; without it the files go again, by `prune` at the latest.

    `token`: the claim's, whose attempt the files are; `settle` ends that attempt, first in the transaction.
    """
    folder = attempt_files.attempt_folder(video_id, token)
    facts = result.facts
    with StoredFiles(lambda: attempt_files.remove_tree(folder)) as files:
        clip, thumbnail, faces, frames = attempt_files.store(folder, video_id, result)
        segments = attempt_files.store_segments(folder, result)
        now = extracted_at = timezone.now()
        with files.transaction():
            settle(now)
            # Not the first time, though retention may have removed what was found then.
            if Video.objects.filter(id=video_id, extracted_at__isnull=False).exists():
                orphan_files.watch(video_id=video_id)  # who dies before `prune` would leave the old files
                _count_people_anew(video_id, faces)
                extracted_at = _later_than_verdicts(video_id, now)
            FaceFrame.objects.filter(video_id=video_id).delete()
            SampledFrame.objects.filter(video_id=video_id).delete()
            attempt_files.outdate_evidence(video_id)
            FaceFrame.objects.bulk_create(faces)
            SampledFrame.objects.bulk_create(frames)
            Video.objects.filter(id=video_id).update(
                clip=clip,
                thumbnail=thumbnail,
                **asdict(facts) | {"container": facts.container[:80], "codec": facts.codec[:40]},
                segments=segments,
                tracks=result.tracks,
                people_left_out=result.people_left_out,
                extracted_at=extracted_at,
                pictures_removed_at=None,
            )
            _store_provenance(video_id=video_id, told=result.provenance)
            store_prints(video_id=video_id, picture=result.picture_print, faces=result.face_prints)
            on_commit(partial(attempt_files.prune, video_id))


def _count_people_anew(video_id: UUID, faces: Sequence[FaceFrame]) -> None:
    """Before faces replace older ones: what was said of people holds for the same ones only.

    Where the older ones are gone, nobody can tell who they were.
    """
    if not people.are_the_same(FaceFrame.objects.filter(video_id=video_id), faces):
        version = Coalesce(F("people_version"), 0) + 1
        Video.objects.filter(id=video_id).update(people_version=version, person_labels=None)


def _later_than_verdicts(video_id: UUID, now: datetime) -> datetime:
    """Return the time of new faces: verdicts on those of before are older, also where the clock was put back since."""
    newest = Verdict.objects.filter(video_id=video_id).aggregate(newest=Max("created_at"))["newest"]
    return now if newest is None else max(now, newest + timedelta(microseconds=1))


def _store_provenance(*, video_id: UUID, told: Provenance | None) -> None:
    """Replace what was read before; nothing where it was not read this time."""
    if told is None:
        return
    values = {"claims": dict(told.claims), "credentials": told.credentials, "read_at": timezone.now()}
    VideoProvenance.objects.update_or_create(video_id=video_id, defaults=values)
