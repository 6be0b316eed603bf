"""What people say of videos, in a list, over REST or in the workspace.  Every answer is a row; none is ever changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import transaction
from django.utils import timezone

from detection.errors import Refused
from detection.models import (
    AUDIT_RANKS,
    DatasetVideo,
    Review,
    ReviewBatch,
    ReviewLabel,
    ReviewNext,
    ReviewRole,
    VerdictLabel,
    Video,
)
from detection.selectors.videos import may_review
from detection.services.validation import is_storable

MAX_COMMENT = 2000
MAX_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Reading:
    """How an answer came about; the default is a button in a list, where the score is in sight."""

    role: str = ReviewRole.LIST
    queue: str = ""
    seconds: float | None = None
    score_shown: bool = True
    batch: ReviewBatch | None = None
    claim: UUID | None = None
    """Becomes the row's id, so that an answer that is sent again is known."""


def record_review(
    *,
    video: Video,
    reviewer: AbstractBaseUser | AnonymousUser,
    label: str,
    comment: str = "",
    reading: Reading | None = None,
) -> Review:
    """Append one review, link it to the verdict that stands, and make its label the video's.

    The verdict and its `needs_review` stay as they were: a video waits for a person while it needs a review and has
    no label.  Raises Refused: `permission_denied` (neither the owner nor a reviewer), `invalid_label`,
    `invalid_comment`, `not_found` (the video was deleted meanwhile).
    """
    if reviewer.pk is None or not may_review(user=reviewer, video=video):
        raise Refused("permission_denied", "Only the owner of a video and reviewers may label it.", status=403)
    if label not in ReviewLabel.values:
        raise Refused("invalid_label", f"The label must be one of {', '.join(ReviewLabel.values)}.")
    if len(comment) > MAX_COMMENT or not is_storable(comment):
        raise Refused("invalid_comment", f"A comment has at most {MAX_COMMENT} characters and no NUL.")
    reading = reading or Reading()
    seconds = reading.seconds
    with transaction.atomic():
        locked = _locked(video.pk)
        verdict = locked.current_verdict
        review = Review.objects.create(
            id=reading.claim or uuid4(),
            video=locked,
            reviewer_id=reviewer.pk,
            label=label,
            comment=comment,
            verdict=verdict,
            model_version_id=verdict.model_version_id if verdict else None,
            model_probability=verdict.fake_probability if verdict else None,
            score_shown=reading.score_shown,
            seconds=None if seconds is None else max(0.0, min(seconds, MAX_SECONDS)),
            queue=reading.queue,
            role=reading.role,
            batch=reading.batch,
        )
        now = _mirror(locked)
    video.label, video.updated_at = locked.label, now
    return review


def undo_review(*, review: Review, by: AbstractBaseUser | AnonymousUser, batch: ReviewBatch | None = None) -> Review:
    """Take one's own answer back, by a row that says so.  The label that stood before stands again.

    With `batch`, as a part of reverting a decision for many videos, whose rights were looked at there.
    Raises Refused: `permission_denied`, `nothing_to_undo` (taken back already).
    """
    if by.pk is None or (batch is None and review.reviewer_id != by.pk):
        raise Refused("permission_denied", "Only one's own answer can be taken back.", status=403)
    with transaction.atomic():
        locked = _locked(review.video_id)
        if not Review.objects.standing().filter(pk=review.pk).exists():
            raise Refused("nothing_to_undo", "This answer has been taken back already.", status=409)
        row = Review.objects.create(
            video=locked, reviewer_id=by.pk, undoes=review, role=ReviewRole.UNDO, queue=review.queue, batch=batch
        )
        _mirror(locked)
    return row


def answers_of(video_id: UUID) -> dict[int, Review]:
    """Reviewer -> their newest answer that counts, in the order in which these were given."""
    found: dict[int, Review] = {}
    rows = Review.objects.deciding().filter(video_id=video_id).select_related("reviewer")
    for row in rows.order_by("created_at", "id"):
        found.pop(row.reviewer_id, None)
        found[row.reviewer_id] = row
    return found


def _locked(video_id: Any) -> Video:
    """Locked, so that of two answers at once the newer one is also the one whose label stays."""
    rows = (
        Video.objects.select_for_update(of=("self",))
        .select_related("current_verdict")
        .defer("current_verdict__people", "metadata")
    )
    locked = rows.filter(pk=video_id).first()
    if locked is None:
        raise Refused("not_found", "There is no such video.", status=404)
    return locked


def _mirror(video: Video) -> datetime:
    """The video's label and whose turn it is, from the answers that stand."""
    answers = list(answers_of(video.pk).values())
    if answers:
        video.label = answers[-1].label
    else:
        video.label = DatasetVideo.objects.filter(video_id=video.pk).values_list("label", flat=True).first() or ""
    video.review_next = _whose_turn(video, answers)
    now = timezone.now()
    Video.objects.filter(pk=video.pk).update(label=video.label, review_next=video.review_next, updated_at=now)
    return now


def _whose_turn(video: Video, answers: list[Review]) -> ReviewNext:
    """A second reader for those drawn by lot (from the other end than the audit) and where the model says otherwise."""
    if any(answer.role == ReviewRole.ADJUDICATION for answer in answers):
        return ReviewNext.NOBODY
    said = [answer for answer in answers if answer.label != ReviewLabel.UNSURE]
    if len({answer.label for answer in said}) > 1:
        return ReviewNext.ADJUDICATE
    if len(answers) == 1 and said and answers[0].role in (ReviewRole.FIRST, ReviewRole.SHEET):
        against = said[0].label in VerdictLabel.values and video.verdict_label not in ("", said[0].label)
        drawn = AUDIT_RANKS - 1 - video.audit_rank < settings.DFD_REVIEW_SECOND_SHARE * AUDIT_RANKS
        if against or drawn:
            return ReviewNext.SECOND
    return ReviewNext.NOBODY
