"""What is said of people as a cell of an export: `0:fake@12,340,200 1:not_a_person@12,90,210`.

That is track, label, and a place (frame number, x, y) where the person's face is.  In another installation, or after a
new look for faces, people may be numbered otherwise: there the place tells who is meant.  It may be left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from detection.errors import Refused
from detection.models import PersonLabel
from detection.selectors.people import tracks_at
from detection.services.reviews.people import MAX_PEOPLE

Place = tuple[int, int, int]
_ONE = re.compile(r"([0-9]{1,5}):([a-z_]+)(?:@([0-9]{1,9}),([0-9]{1,6}),([0-9]{1,6}))?", re.ASCII)


@dataclass(frozen=True)
class Said:
    """One person of a cell."""

    track: int
    label: str
    place: Place | None


def written(people: Mapping[str, str] | None, places: Mapping[str, Place]) -> str:
    """Return the cell of {track: PersonLabel}; a place is left out where none is known."""
    parts = []
    for track, label in sorted((people or {}).items(), key=lambda one: int(one[0])):
        place = places.get(track)
        parts.append(f"{track}:{label}" + (f"@{place[0]},{place[1]},{place[2]}" if place else ""))
    return " ".join(parts)


def read(text: str) -> tuple[Said, ...]:
    """Return the people of a cell.  Raises ValueError with a sentence."""
    found: dict[int, Said] = {}
    for part in text.split():
        match = _ONE.fullmatch(part.strip().lower())
        if match is None or match[2] not in PersonLabel.values:
            labels = ", ".join(PersonLabel.values)
            raise ValueError(f"{part[:40]!r} is no person: write track:label or track:label@frame,x,y ({labels}).")
        track = int(match[1])
        if track in found or len(found) == MAX_PEOPLE:
            raise ValueError(f"Person {track} is named twice, or there are more than {MAX_PEOPLE}.")
        found[track] = Said(track, match[2], (int(match[3]), int(match[4]), int(match[5])) if match[3] else None)
    return tuple(found.values())


def resolved(video_id: UUID, people: tuple[Said, ...]) -> dict[int, str]:
    """Return {track: PersonLabel} of this video.  Raises Refused `unknown_person` where nobody's face is at a place."""
    labels: dict[int, str] = {}
    for one in people:
        track = one.track
        if one.place is not None:
            there = tracks_at(video_id, one.place)
            if str(track) not in there:  # of faces that overlap it is the one of that number
                if len(there) != 1:
                    raise Refused("unknown_person", f"In this video no one face is where person {track} was.")
                track = int(there.pop())
        if track in labels:
            raise Refused("unknown_person", f"In this video person {one.track} and another one are the same.")
        labels[track] = one.label
    return labels
