"""The one rule for what people's answers make of a video: its label, and with that what teaches.

Used by `Video.label`, the reviewers' queues, training snapshots, exports and retention, so that none of them can hold
another opinion.  An owner's own opinion and checks against known answers are no part of it: see `ReviewSet.effective`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from detection.models import ReviewLabel, ReviewRole

TEACHING = (ReviewLabel.REAL, ReviewLabel.FAKE)
"""Labels that a model can learn from."""


@dataclass(frozen=True)
class Answer:
    """One review: `reviewer` is anything that tells people apart, `role` a ReviewRole."""

    reviewer: Hashable
    label: str
    role: str


@dataclass(frozen=True)
class Consensus:
    """`label` is a ReviewLabel, or empty where nobody has answered; `answers` are those that it rests on."""

    label: str
    disputed: bool
    adjudicated: bool
    answers: tuple[Answer, ...]


def settle(answers: Iterable[Answer], *, dataset_label: str = "") -> Consensus:
    """Work out the label from deciding answers in the order in which they were given, and a data set's label.

    The newest adjudication stands for all, the data set included, until another one.  Otherwise each person's newest
    answer counts: those that are not unsure must agree with each other and with the data set, and while they do not,
    the label is unsure.
    """
    newest: dict[Hashable, Answer] = {}
    adjudication: Answer | None = None
    for answer in answers:
        newest.pop(answer.reviewer, None)
        newest[answer.reviewer] = answer
        if answer.role == ReviewRole.ADJUDICATION:
            adjudication = answer
    if adjudication is not None:
        return Consensus(adjudication.label, disputed=False, adjudicated=True, answers=(adjudication,))
    labels = {answer.label for answer in newest.values() if answer.label != ReviewLabel.UNSURE}
    labels |= {dataset_label} if dataset_label else set()
    disputed = len(labels) > 1
    label = labels.pop() if len(labels) == 1 else ReviewLabel.UNSURE.value if newest else ""
    return Consensus(label, disputed=disputed, adjudicated=False, answers=tuple(newest.values()))
