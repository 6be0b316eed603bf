"""What a reviewer says of people by themselves, checked against who is there, and what follows for the video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from detection.errors import Refused
from detection.models import PersonLabel, Review, ReviewLabel, Video
from detection.selectors.people import tracks_of
from detection.services.reviews.consensus import video_label

MAX_PEOPLE = 200
"""Most people in one answer."""
CONTRADICTORY = {
    ReviewLabel.REAL: {PersonLabel.FAKE, PersonLabel.UNSURE},
    ReviewLabel.FAKE: set[PersonLabel](),
    ReviewLabel.NO_FACE: {PersonLabel.FAKE, PersonLabel.REAL, PersonLabel.UNSURE},
    ReviewLabel.UNSURE: {PersonLabel.FAKE},
}
"""Answers for a person that do not go with one for the video, whoever else is in it."""


@dataclass(frozen=True)
class PeopleAnswer:
    """Answers for people, {track: PersonLabel}; empty says that only the whole video is meant.

    `version` is the `Video.people_version` (0 for null) that the reviewer was shown; None: not told.
    """

    labels: Mapping[int, str]
    version: int | None = None


def checked(video: Video, label: str, answer: PeopleAnswer) -> tuple[str, dict[str, str] | None]:
    """Return the label of the video and the `people` of the review, None where it is only of the whole.

    An empty `label` follows from the people.  Raises Refused: `invalid_person_label`, and with status 409, as it
    does not fit the video, `people_changed` (other faces were stored meanwhile), `unknown_person`, `incomplete_people`
    (no label follows), `label_contradicts_people`.
    """
    if answer.version is not None and answer.version != (video.people_version or 0):
        raise Refused(
            "people_changed",
            "The faces were looked for anew meanwhile: the people may be numbered otherwise. Look at them again.",
            status=409,
        )
    if not answer.labels:
        return label, None
    present = tracks_of(video.pk)
    people = {str(track): answer.labels[track] for track in sorted(answer.labels)}
    for track, said in people.items():
        if track not in present:
            raise Refused("unknown_person", f"There is no person {track} in this video.", status=409)
        if said not in PersonLabel.values:
            raise Refused("invalid_person_label", f"A person is one of {', '.join(PersonLabel.values)}.")
    follows = video_label(people, present)
    if not label:
        if not follows:
            raise Refused("incomplete_people", "Answer for every person, or say what the video is as well.", status=409)
        return follows, people
    if label in ReviewLabel.values and (
        follows not in ("", label) or CONTRADICTORY[ReviewLabel(label)] & set(people.values())
    ):
        raise Refused(
            "label_contradicts_people", f"The video cannot be {label} where its people are as you say.", status=409
        )
    return label, people


def repeated(video: Video, reviewer_id: int, label: str) -> dict[str, str] | None:
    """Return what the reviewer's newest answer says of people, if it gives the video the same label.

    Who says the same of the video again (from a list, a sheet or an import) takes nothing back that they said of its
    people.
    """
    mine = Review.objects.effective().filter(video=video, reviewer=reviewer_id).order_by("-created_at", "-id")
    last = mine.only("label", "people", "people_version").first()
    return last.people_of(video) if last is not None and last.label == label else None
