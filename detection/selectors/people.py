"""The people whom a video's faces are of: by number (`track`), and by place where numbers may differ.

A track is the same person for as long as the faces are stored.  When they are looked for anew the numbers may come to
be other people's; `Video.people_version` counts how often that was so, and what was said of people before holds for
them no longer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from uuid import UUID

from detection.models import FaceFrame

SAME_BOX = 0.5
"""Overlap (intersection over union) from which on two boxes in one frame are one person's."""


def tracks_of(video_id: UUID) -> set[str]:
    """Return the tracks of the video's people, as they are written in `people` of reviews."""
    return {str(track) for track in FaceFrame.objects.filter(video=video_id).values_list("track", flat=True)}


def are_the_same(before: Iterable[FaceFrame], after: Iterable[FaceFrame]) -> bool:
    """Return whether the faces of `after` are the same people by the same numbers.

    Each track must be in both, and its boxes overlap in most of the frames that either has a face of it in.
    """
    old, new = _boxes(before), _boxes(after)
    if old.keys() != new.keys():
        return False
    for track, boxes in old.items():
        frames = boxes.keys() | new[track].keys()
        both = boxes.keys() & new[track].keys()
        if 2 * sum(_overlap(boxes[frame], new[track][frame]) >= SAME_BOX for frame in both) <= len(frames):
            return False
    return True


def places_of(video_ids: Collection[UUID]) -> dict[UUID, dict[str, tuple[int, int, int]]]:
    """Return where each person is seen first, by video and track: (frame number, x, y), pixels of the full frame.

    One query.  It names a person also where the people are numbered otherwise: see `tracks_at`.
    """
    found: dict[UUID, dict[str, tuple[int, int, int]]] = defaultdict(dict)
    rows = FaceFrame.objects.filter(video__in=video_ids, position=0)
    for row in rows.only("video_id", "track", "frame_number", "x1", "y1", "x2", "y2"):
        found[row.video_id][str(row.track)] = (
            row.frame_number, round((row.x1 + row.x2) / 2), round((row.y1 + row.y2) / 2)
        )  # fmt: skip
    return found


def tracks_at(video_id: UUID, place: tuple[int, int, int]) -> set[str]:
    """Return the tracks that have a face at (frame number, x, y); several where faces overlap, none elsewhere."""
    frame, x, y = place
    rows = FaceFrame.objects.filter(video=video_id, frame_number=frame, x1__lte=x, x2__gte=x, y1__lte=y, y2__gte=y)
    return {str(track) for track in rows.values_list("track", flat=True)}


Boxes = dict[int, dict[tuple[int, int], FaceFrame]]
"""By track, and by segment and frame number."""


def _boxes(faces: Iterable[FaceFrame]) -> Boxes:
    found: Boxes = defaultdict(dict)
    for face in faces:
        found[face.track][face.segment_index, face.frame_number] = face
    return found


def _overlap(a: FaceFrame, b: FaceFrame) -> float:
    width = min(a.x2, b.x2) - max(a.x1, b.x1)
    height = min(a.y2, b.y2) - max(a.y1, b.y1)
    both = max(0.0, width) * max(0.0, height)
    return both / ((a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1) - both)
