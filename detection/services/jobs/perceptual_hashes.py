"""Perceptual hashes of videos and their faces, 256 bits each, for near-duplicates.

`detection.selectors.near_duplicates` searches them.  Workers compute them (`ml.faces.perceptual_hash`) during
extraction, and in batches for videos of earlier versions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from detection.models import FaceFrame, Print, PrintKind, Video
from detection.selectors.near_duplicates import bands_of

NO_PRINT = "-"
"""A picture that has none: it is of one colour, or cannot be read."""


@dataclass(frozen=True)
class Unprinted:
    """A video without hashes, and the files they are computed from: names in storage, faces by person."""

    video_id: UUID
    thumbnail: str
    faces: Mapping[int, Sequence[str]]


def store_prints(*, video_id: UUID, picture: str, faces: Mapping[int, str], thumbnail: str = "") -> None:
    """Replace the video's hashes; `faces` are by person.

    Each is 64 hex digits, NO_PRINT, or empty for one to be computed later.  With `thumbnail`, only while that is the
    video's: what was read may be deleted meanwhile, and its hashes with it.
    """
    found = {(PrintKind.PICTURE, 0): picture} | {(PrintKind.FACE, track): bits for track, bits in faces.items()}
    with transaction.atomic():
        rows = Video.objects.filter(id=video_id)
        if thumbnail:
            rows = rows.filter(thumbnail=thumbnail)
        if not rows.update(fingerprint=picture):
            return
        Print.objects.filter(video_id=video_id).delete()
        Print.objects.bulk_create(
            Print(video_id=video_id, kind=kind, track=track, bits=bits, **bands_of(bits))
            for (kind, track), bits in found.items()
            if bits not in ("", NO_PRINT)
        )


def without_prints() -> QuerySet[Video]:
    """Return extracted videos without hashes; an image that has none is not tried again."""
    has_one = Print.objects.filter(video=OuterRef("pk"), kind=PrintKind.PICTURE)
    rows = Video.objects.filter(extracted_at__isnull=False).exclude(thumbnail="").exclude(fingerprint=NO_PRINT)
    return rows.filter(Q(fingerprint="") | ~Exists(has_one))


def files_of(videos: Sequence[Video]) -> list[Unprinted]:
    """Return the videos with the files of their faces, in one query."""
    faces: dict[UUID, dict[int, list[str]]] = {video.pk: {} for video in videos}
    rows = FaceFrame.objects.filter(video_id__in=list(faces)).order_by("video_id", "track", "position")
    for video_id, track, name in rows.values_list("video_id", "track", "crop"):
        faces[video_id].setdefault(track, []).append(name)
    return [Unprinted(video.pk, str(video.thumbnail.name), faces[video.pk]) for video in videos]


def next_unprinted(*, after: UUID | None, batch: int, look_at: int) -> tuple[list[Unprinted], UUID | None]:
    """Return the next videos without hashes by id, and where to continue; None at the end of the table.

    At most `look_at` videos are read, so that no call takes long when all of a million have theirs.
    """
    videos, missing = Video.objects.order_by("id"), without_prints().only("id", "thumbnail").order_by("id")
    if after is not None:
        videos, missing = videos.filter(id__gt=after), missing.filter(id__gt=after)
    last = next(iter(videos.values_list("id", flat=True)[look_at - 1 : look_at]), None)
    if last is not None:
        missing = missing.filter(id__lte=last)
    found = list(missing[:batch])
    return files_of(found), found[-1].pk if len(found) == batch else last
