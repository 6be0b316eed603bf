"""Which videos show the same shot or the same face, by perceptual hashes: people in uploads have no names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from detection.models import Print, PrintKind
from detection.selectors.near_duplicates import NEAR_BITS as NEAR_FACES
from detection.services.learning.identity_splits import components

FINGERPRINT_BITS = 256
NEAR_BITS = 20
"""Pictures whose prints (see ml.faces.perceptual_hash) differ in at most this many of 256 bits show the same shot.

Stricter than what reviewers are shown (detection.selectors.near_duplicates): a wrong link ties two people's videos to
one side.
"""
NEAR_FACE_BITS = NEAR_FACES[PrintKind.FACE]
"""Different bits, of 256, up to which two faces are one person's; reviewers see the same bound."""
MAX_COMPARED = 200
"""Hashes compared per band: of a common one the newest are enough, as links form chains."""
BATCH = 500
BANDS = 32
"""Two hashes with at most 20 different bits agree in at least 12 of 32 bytes: equal bytes find the candidates."""


def same_faces(uploads: Mapping[UUID, bool]) -> list[tuple[str, str]]:
    """Return pairs of these videos that show the same face, at least one of them an upload (true).

    People of data sets have names, and there are many: a wrong link in a million pairs would tie strangers together.
    """
    pairs: list[tuple[str, str]] = []
    buckets: dict[tuple[int, int], list[tuple[Any, int]]] = defaultdict(list)
    for video_id, bits, *values in _face_prints(sorted(uploads)):
        face = int(bits, 16)
        compared = {video_id}
        for band, value in enumerate(values):
            bucket = buckets[band, value]
            for other, other_face in bucket[-MAX_COMPARED:]:
                if other in compared or not (uploads[video_id] or uploads[other]):
                    continue
                if (face ^ other_face).bit_count() <= NEAR_FACE_BITS:
                    compared.add(other)
                    pairs.append((str(video_id), str(other)))
            bucket.append((video_id, face))
    return pairs


def groups_of(uploads: Sequence[tuple[UUID, str, str]]) -> dict[UUID, str]:
    """Map each of these uploads, (id, sha256, perceptual hash), to the name of its group of people."""
    linked = near_duplicates(
        [(str(video_id), sha256, bits) for video_id, sha256, bits in uploads],
        same_faces({video_id: True for video_id, _, _ in uploads}),
    )
    return {video_id: linked.get(str(video_id), f"upload {sha256[:32]}") for video_id, sha256, _ in uploads}


def _face_prints(videos: Sequence[UUID]) -> Iterator[tuple[Any, ...]]:
    """Yield (video, hash, its bands) of each face, by video and person."""
    rows = Print.objects.filter(kind=PrintKind.FACE).order_by("video_id", "track")
    for start in range(0, len(videos), BATCH):
        part = rows.filter(video_id__in=videos[start : start + BATCH])
        yield from part.values_list("video_id", "bits", "band0", "band1", "band2", "band3")


def near_duplicates(prints: Sequence[tuple[str, str, str]], linked: Iterable[tuple[str, str]] = ()) -> dict[str, str]:
    """Map each video that has near-duplicates to the name of its group.

    `prints` are (id, sha256, perceptual hash); `linked` are pairs of ids that belong together for another reason.
    """
    links: dict[str, set[str]] = defaultdict(set)
    for video_id, twin in linked:
        links[video_id].add(twin)
    by_content: dict[str, str] = {}
    buckets: dict[tuple[int, str], list[tuple[str, int]]] = defaultdict(list)
    for video_id, sha256, fingerprint in prints:
        twin = by_content.setdefault(sha256, video_id)
        if twin != video_id:
            links[video_id].add(twin)
        if len(fingerprint) * 4 != FINGERPRINT_BITS:
            continue
        value = int(fingerprint, 16)
        compared: set[str] = set()
        for band in range(BANDS):
            bucket = buckets[band, fingerprint[2 * band : 2 * band + 2]]
            for other, bits in bucket[-MAX_COMPARED:]:  # a common byte says little: the newest are looked at
                if other not in compared:
                    compared.add(other)
                    if (value ^ bits).bit_count() <= NEAR_BITS:
                        links[video_id].add(other)
            bucket.append((video_id, value))
    component = components([[video_id, *others] for video_id, others in links.items()])
    first_print = {video_id: sha256 for video_id, sha256, _ in prints}
    members: dict[str, list[str]] = defaultdict(list)
    for video_id, root in component.items():
        members[root].append(first_print[video_id])
    # Named by the smallest content in it, so that the name stays while the group grows by one.
    return {video_id: f"shot {min(members[root])[:32]}" for video_id, root in component.items()}
