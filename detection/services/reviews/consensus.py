"""The one rule that turns people's answers into the label of a video, and of each person in it.

Used by `Video.label`, review queues, training snapshots, exports and retention, so that none can differ.  Owners'
opinions and checks against known answers take no part: see `ReviewSet.effective`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field

from detection.models import PersonLabel, ReviewLabel, ReviewRole

TEACHING = (ReviewLabel.REAL, ReviewLabel.FAKE)
"""Labels that a model can learn from."""
FIRST_READINGS = (ReviewRole.FIRST, ReviewRole.SHEET)
"""Roles of answers that may call for a second reader."""


@dataclass(frozen=True)
class Answer:
    """One review: `reviewer` is any key that tells reviewers apart, `role` a ReviewRole.

    `people` is what it says of people as they are numbered now, {track: PersonLabel}; None where nothing.
    """

    reviewer: Hashable
    label: str
    role: str
    people: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Consensus:
    """`label` is a ReviewLabel, or empty without answers; `answers` are those it rests on; `people` as an Answer's.

    `first_read` are the labels of first readings, also of those whose reader has answered again since.
    """

    label: str
    disputed: bool
    adjudicated: bool
    answers: tuple[Answer, ...]
    people: dict[str, str] = field(default_factory=dict)
    first_read: frozenset[str] = frozenset()


def video_label(people: Mapping[str, str], present: Iterable[str]) -> str:
    """Return the ReviewLabel that follows for the video, or an empty string.

    One forged person makes it fake; anything else follows only where all who are `present` (tracks) were answered for.
    """
    said = set(people.values())
    if PersonLabel.FAKE in said:
        return ReviewLabel.FAKE.value
    if not people or set(present) - set(people):
        return ""
    if PersonLabel.UNSURE in said:
        return ReviewLabel.UNSURE.value
    return (ReviewLabel.REAL if PersonLabel.REAL in said else ReviewLabel.NO_FACE).value


def settle(answers: Iterable[Answer], *, dataset_label: str = "") -> Consensus:
    """Return the label from effective answers, oldest first, and a data set's label.

    The newest adjudication overrides everything, the data set included.  Otherwise each person's newest answer counts:
    those other than unsure must agree with each other and with the data set, else the label is unsure.  So it is for
    each of the people who were answered for by themselves; who said nothing of them contradicts nobody.
    """
    newest: dict[Hashable, Answer] = {}
    adjudication: Answer | None = None
    first_read: set[str] = set()
    for answer in answers:
        newest.pop(answer.reviewer, None)
        newest[answer.reviewer] = answer
        if answer.role == ReviewRole.ADJUDICATION:
            adjudication = answer
        if answer.role in FIRST_READINGS:
            first_read.add(answer.label)
    if adjudication is not None:
        return Consensus(
            adjudication.label,
            disputed=False,
            adjudicated=True,
            answers=(adjudication,),
            people=dict(adjudication.people or {}),
        )
    labels = {answer.label for answer in newest.values() if answer.label != ReviewLabel.UNSURE}
    labels |= {dataset_label} if dataset_label else set()
    disputed = len(labels) > 1
    label = labels.pop() if len(labels) == 1 else ReviewLabel.UNSURE.value if newest else ""
    people, differ = _settle_people(newest.values())
    return Consensus(
        label,
        disputed=disputed or differ,
        adjudicated=False,
        answers=tuple(newest.values()),
        people=people,
        first_read=frozenset(first_read),
    )


def _settle_people(answers: Iterable[Answer]) -> tuple[dict[str, str], bool]:
    """Return the label of each person who was answered for, and whether there is one whom reviewers see differently."""
    said: dict[str, set[str]] = {}
    for answer in answers:
        for track, label in (answer.people or {}).items():
            said.setdefault(track, set()).add(label)
    people, differ = {}, False
    for track in sorted(said, key=int):
        labels = said[track] - {PersonLabel.UNSURE}
        differ |= len(labels) > 1
        people[track] = labels.pop() if len(labels) == 1 else PersonLabel.UNSURE.value
    return people, differ
