"""Select near-duplicates of a video: the same content hash, or a close perceptual hash of its picture or of a face.

Nothing here writes; `detection.services.jobs.perceptual_hashes` does.  Candidates share one of four bands of 12 bits,
those that flip least when a video is re-encoded, so some near-duplicates are missed: a help, not a proof.  Measured
recall: docs/measurements.md#thresholds-of-near-duplicates.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from django.utils.translation import gettext_noop

from detection.models import Print, PrintKind, Video

SAME_FILE = gettext_noop("the same file")
SAME_PICTURE = gettext_noop("the same picture")
SAME_FACE = gettext_noop("the same face")

NEAR_BITS = {PrintKind.PICTURE: 60, PrintKind.FACE: 50}
"""Different bits, of 256, up to which two hashes show the same footage; see ml.faces.perceptual_hash."""
PER_BAND = 2000
"""Hashes compared per band: of a common one, such as a dark picture's, not all are compared."""
LIMIT = 12

_HOW = {PrintKind.PICTURE: SAME_PICTURE, PrintKind.FACE: SAME_FACE}
_BAND_BITS = (
    (0, 7, 12, 18, 19, 23, 50, 88, 129, 131, 147, 233),
    (4, 5, 10, 14, 41, 89, 135, 138, 152, 155, 192, 195),
    (3, 31, 57, 62, 70, 75, 101, 134, 145, 193, 194, 229),
    (1, 2, 9, 17, 22, 25, 32, 40, 59, 61, 71, 218),
)


class NearDuplicate(NamedTuple):
    """A video that looks like another, and how."""

    video: Video
    how: str


def bands_of(bits: str) -> dict[str, int]:
    """Return the columns `band0` to `band3` of a hash of 64 hex digits."""
    value = int(bits, 16)
    return {
        f"band{k}": sum((value >> (255 - place) & 1) << n for n, place in enumerate(places))
        for k, places in enumerate(_BAND_BITS)
    }


def near_duplicates(video: Video, *, limit: int = LIMIT) -> list[NearDuplicate]:
    """Return at most `limit` near-duplicates, same files first, then the nearest; at most twelve queries.

    They carry what pages show of them (verdict, data set); the caller decides who may see them.  What it costs among a
    million hashes: docs/measurements.md#thresholds-of-near-duplicates.
    """
    found: dict[object, NearDuplicate] = {}
    rows = Video.objects.select_related("dataset_video", "current_verdict").defer("metadata", "current_verdict__people")
    for other in rows.filter(sha256=video.sha256).exclude(pk=video.pk).order_by("created_at", "id")[:limit]:
        found[other.pk] = NearDuplicate(other, SAME_FILE)
    mine = list(Print.objects.filter(video=video))
    near: list[tuple[float, int, str]] = []
    for kind in PrintKind:
        near += _near([row for row in mine if row.kind == kind], kind)
    nearest = sorted(near)[: 4 * limit]  # one video may be near by several prints
    owners = dict(Print.objects.filter(pk__in=[pk for _, pk, _ in nearest]).values_list("pk", "video_id"))
    how: dict[object, str] = {}
    for _, pk, said in nearest:
        if pk in owners and owners[pk] not in found:
            how.setdefault(owners[pk], said)
    wanted = list(how)[: limit - len(found)]
    others = rows.in_bulk(wanted)
    return [*found.values(), *(NearDuplicate(others[pk], how[pk]) for pk in wanted if pk in others)]


def _near(mine: list[Print], kind: PrintKind) -> Iterable[tuple[float, int, str]]:
    """Return (share of the threshold, id of the hash, how) of other videos' hashes of this kind near enough."""
    if not mine:
        return []
    own = {row.pk for row in mine}
    values = [int(row.bits, 16) for row in mine]
    candidates: dict[int, str] = {}
    for band in ("band0", "band1", "band2", "band3"):
        same = Print.objects.filter(kind=kind, **{f"{band}__in": {getattr(row, band) for row in mine}})
        candidates.update(same.values_list("pk", "bits")[:PER_BAND].iterator(chunk_size=PER_BAND))
    most, how, found = NEAR_BITS[kind], _HOW[kind], []
    for pk, bits in candidates.items():
        other = int(bits, 16)
        for value in values:
            distance = (value ^ other).bit_count()
            if distance <= most and pk not in own:
                found.append((distance / most, pk, how))
    return found
