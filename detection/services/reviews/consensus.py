"""The one rule that turns people's answers into a video's label.

Used by `Video.label`, review queues, training snapshots, exports and retention, so that none can differ.  Owners'
opinions and checks against known answers take no part: see `ReviewSet.effective`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from detection.models import ReviewLabel, ReviewRole

TEACHING = (ReviewLabel.REAL, ReviewLabel.FAKE)
"""Labels that a model can learn from."""


@dataclass(frozen=True)
class Answer:
    """One review: `reviewer` is any key that tells people apart, `role` a ReviewRole."""

    reviewer: Hashable
    label: str
    role: str


@dataclass(frozen=True)
class Consensus:
    """`label` is a ReviewLabel, or empty without answers; `answers` are those it rests on."""

    label: str
    disputed: bool
    adjudicated: bool
    answers: tuple[Answer, ...]


def settle(answers: Iterable[Answer], *, dataset_label: str = "") -> Consensus:
    """Return the label from effective answers, oldest first, and a data set's label.

    The newest adjudication overrides everything, the data set included.  Otherwise each person's newest answer counts:
    those other than unsure must agree with each other and with the data set, else the label is unsure.
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
