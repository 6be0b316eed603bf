"""Whose faces of a labelled video teach, and as what.

Where reviewers answered for people by themselves, those teach whom they called real or forged, each as that.  Where
they only spoke of the video, everybody in a real one is real, and of a fake only the person most present teaches: who
else is in the picture is not forged.

Of a long video a passage may be forged and the rest as it was.  Nobody labels segments; the timeline that reviewers
answer by shows which of them look forged.  So whom they call forged trains as that in these segments only, or in the
most suspicious one where none is over the threshold; and of a fake of which nothing more is said, who is most present
in the most suspicious segment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import F

from detection.models import FaceFrame, PersonLabel, ReviewLabel, Split, Verdict, Video

Faces = tuple[tuple[str, float], ...]
"""(name of the crop in storage, longer side of the box in pixels), in time order."""


@dataclass(frozen=True)
class PersonFaces:
    """One person in one segment."""

    track: str
    faces: Faces
    segment: int = 0
    margin: float | None = None
    """How far above the threshold the verdict has this person here; None in a video of one segment, and unjudged."""
    still: bool = False
    """A still picture, which decides nothing while somebody alive is in the video."""


@dataclass(frozen=True)
class Taught:
    """Sequences that teach, with the label and the segment of each."""

    tracks: tuple[Faces, ...]
    labels: tuple[str, ...]
    segments: tuple[int, ...]


def sequences_of(videos: Sequence[Video]) -> dict[Any, list[PersonFaces]]:
    """Return each video's people by segment, the most present person first; two queries."""
    wanted = {video.id for video in videos}
    found: dict[Any, dict[tuple[int, int], list[tuple[str, float]]]] = defaultdict(lambda: defaultdict(list))
    still: set[tuple[Any, int, int]] = set()
    rows = FaceFrame.objects.order_by("video_id", "track", "position")
    for face in rows.values_list("video_id", "track", "segment", "still", "crop", "x1", "y1", "x2", "y2").iterator(
        chunk_size=2000
    ):
        video_id, track, segment, is_still, crop, x1, y1, x2, y2 = face
        if video_id in wanted:
            found[video_id][track, segment or 0].append((crop, round(max(x2 - x1, y2 - y1), 1)))
            if is_still:
                still.add((video_id, track, segment or 0))
    margins = _margins(wanted)
    return {
        video_id: [
            PersonFaces(
                str(track),
                tuple(faces),
                segment,
                margins.get((video_id, track, segment)),
                still=(video_id, track, segment) in still,
            )
            for (track, segment), faces in sorted(tracks.items())
        ]
        for video_id, tracks in found.items()
    }


def _margins(wanted: Container[Any]) -> dict[tuple[Any, int, int], float]:
    """By video, track and segment, of the verdicts on several segments."""
    rows = Verdict.objects.filter(segments__isnull=False, video__current_verdict=F("pk"))
    return {
        (video_id, person["track"], part["segment"]): person["fake_probability"] - threshold
        for video_id, threshold, segments in rows.values_list("video_id", "threshold", "segments").iterator()
        if video_id in wanted
        for part in segments or ()
        for person in part["people"]
    }


def taught(sequences: Sequence[PersonFaces], label: str, people: Mapping[str, str], split: str) -> Taught:
    """Return whose faces teach in a split.

    A holdout is judged as any upload is, by everybody in it but still pictures beside them.  Validation judges videos,
    too: of them only who has the video's `label` is kept, since a segment's score is that of its most suspicious
    person, but in all segments, since a video's score is made from all of them.
    """
    if split != Split.TRAIN:
        sequences = [one for one in sequences if not one.still] or sequences
    if split == Split.HOLDOUT:
        kept = [(one, label) for one in sequences]
    elif not people and label == ReviewLabel.FAKE:
        suspects = _most_suspicious(sequences)
        if split == Split.VAL:
            suspects = [one for one in sequences if one.track in {suspect.track for suspect in suspects}]
        kept = [(one, label) for one in suspects]
    elif not people:
        kept = [(one, label) for one in sequences]
    else:
        said = _completed(people, label, {one.track for one in sequences})
        wanted = (PersonLabel.REAL, PersonLabel.FAKE) if split == Split.TRAIN else (label,)
        kept = [
            (one, said[one.track])
            for one in sequences
            if said.get(one.track) in wanted
            and (split == Split.VAL or said[one.track] != PersonLabel.FAKE or _is_suspect(one, sequences))
        ]
        if not any(own == label for _, own in kept):
            kept = []
    return Taught(
        tuple(one.faces for one, _ in kept),
        tuple(own for _, own in kept),
        tuple(one.segment for one, _ in kept),
    )


def _most_suspicious(sequences: Sequence[PersonFaces]) -> Sequence[PersonFaces]:
    """Return who is most present in the most suspicious segment."""
    judged = [one for one in sequences if one.margin is not None]
    if not judged:
        return sequences[:1]
    segment = max(judged, key=lambda one: one.margin or 0.0).segment
    return [one for one in sequences if one.segment == segment][:1]


def _is_suspect(one: PersonFaces, sequences: Sequence[PersonFaces]) -> bool:
    """Return whether a forged person looks forged in this segment, or in no other one more."""
    if one.margin is None:
        return True
    return one.margin >= 0 or one.margin == max(
        other.margin for other in sequences if other.track == one.track and other.margin is not None
    )


def _completed(people: Mapping[str, str], label: str, present: set[str]) -> dict[str, str]:
    """Add what follows for those of whom nothing is said: in a real video they are real, the only one is the forged."""
    said, rest = dict(people), present - set(people)
    forged_known = PersonLabel.FAKE in said.values()
    if label == ReviewLabel.REAL or (len(rest) == 1 and not forged_known):
        said |= dict.fromkeys(rest, label)
    return said
