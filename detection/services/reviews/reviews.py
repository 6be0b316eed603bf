"""Record and undo reviews, and mirror the resulting label on the video.  Reviews are append-only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.db import transaction
from django.db.models import F, QuerySet
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
from detection.selectors.permissions import may_adjudicate, may_have_opinion, may_review
from detection.services.jobs import webhook_deliveries
from detection.services.reviews.consensus import Answer, Consensus, settle
from detection.services.validation import is_storable

MAX_COMMENT = 2000
MAX_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Reading:
    """How an answer came about; the default is a button in a list, where the score is visible."""

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
    """Append a review, link it to the current verdict, and update the video's label (see `consensus`).

    An owner who may not review records an opinion (`ReviewRole.OPINION`), which changes no label; an adjudicated label
    is only changed by another adjudication.  The verdict and its `needs_review` stay: a video waits for a person while
    it needs review and has no label.

    Raises:
        Refused: `permission_denied` (neither owner nor reviewer, or an adjudication without that right),
            `invalid_label`, `invalid_comment`, `not_found` (the video was deleted).
    """
    reading = reading or Reading()
    opinion = not may_review(user=reviewer)
    if reviewer.pk is None or (opinion and not may_have_opinion(user=reviewer, video=video)):
        raise Refused("permission_denied", "Only the owner of a video and reviewers may label it.", status=403)
    if reading.role == ReviewRole.ADJUDICATION and not may_adjudicate(user=reviewer):
        raise Refused("permission_denied", "Only who settles disagreements may settle this one.", status=403)
    if label not in ReviewLabel.values:
        raise Refused("invalid_label", f"The label must be one of {', '.join(ReviewLabel.values)}.")
    if len(comment) > MAX_COMMENT or not is_storable(comment):
        raise Refused("invalid_comment", f"A comment has at most {MAX_COMMENT} characters and no NUL.")
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
            role=ReviewRole.OPINION if opinion else _role(locked, reading, reviewer),
            batch=reading.batch,
        )
        now = _mirror(locked)
    video.label, video.updated_at = locked.label, now
    return review


def undo_review(*, review: Review, by: AbstractBaseUser | AnonymousUser, batch: ReviewBatch | None = None) -> Review:
    """Append a row that undoes an answer, and update the video's label.

    With `batch`, as part of reverting a batch whose permissions were checked.

    Raises:
        Refused: `permission_denied` (not one's own, or an adjudication without that right), `nothing_to_undo`.
    """
    if by.pk is None or (batch is None and review.reviewer_id != by.pk):
        raise Refused("permission_denied", "Only one's own answer can be taken back.", status=403)
    if review.role == ReviewRole.ADJUDICATION and not may_adjudicate(user=by):
        raise Refused("permission_denied", "Only who settles disagreements may take this answer back.", status=403)
    with transaction.atomic():
        locked = _locked(review.video_id)
        if not Review.objects.not_undone().filter(pk=review.pk).exists():
            raise Refused("nothing_to_undo", "This answer has been taken back already.", status=409)
        row = Review.objects.create(
            video=locked, reviewer_id=by.pk, undoes=review, role=ReviewRole.UNDO, queue=review.queue, batch=batch
        )
        _mirror(locked)
    return row


def answers_of(video_id: UUID) -> dict[int, Review]:
    """Map each reviewer's id to their newest effective answer, in the order given."""
    found: dict[int, Review] = {}
    for row in _deciding(video_id).select_related("reviewer"):
        found.pop(row.reviewer_id, None)
        found[row.reviewer_id] = row
    return found


def consensus_of(video_id: UUID) -> Consensus:
    """Return what a video's answers and its data set make of it now."""
    rows = _deciding(video_id).values_list("reviewer_id", "label", "role")
    of_dataset = DatasetVideo.objects.filter(video_id=video_id).values_list("label", flat=True).first()
    return settle((Answer(*row) for row in rows), dataset_label=of_dataset or "")


def catch_up() -> int:
    """Update rows that processes of the previous version wrote during an upgrade; return how many labels changed.

    Answers of owners who may not review become opinions, and labels that rested on them are recomputed.
    """
    owned = Review.objects.filter(role=ReviewRole.LIST, undoes=None, reviewer=F("video__owner")).order_by()
    owners = User.objects.filter(pk__in=owned.values("reviewer"))
    stale = owned.filter(reviewer__in=[user.pk for user in owners if not may_review(user=user)])
    Review.objects.filter(pk__in=list(stale.values_list("pk", flat=True))).update(role=ReviewRole.OPINION)
    changed = 0
    for video_id in list(Review.objects.order_by().values_list("video", flat=True).distinct()):
        with transaction.atomic():
            video = Video.objects.select_for_update(of=("self",)).defer("metadata").filter(pk=video_id).first()
            if video is not None and video.label != consensus_of(video_id).label:
                _mirror(video)
                changed += 1
    return changed


def _locked(video_id: Any) -> Video:
    """Return the video, locked, so that of two concurrent answers the newer one's label stays."""
    rows = (
        Video.objects.select_for_update(of=("self",))
        .select_related("current_verdict")
        .defer("current_verdict__people", "metadata")
    )
    locked = rows.filter(pk=video_id).first()
    if locked is None:
        raise Refused("not_found", "There is no such video.", status=404)
    return locked


def _deciding(video_id: UUID) -> QuerySet[Review]:
    return Review.objects.effective().filter(video_id=video_id).order_by("created_at", "id")


def _role(video: Video, reading: Reading, reviewer: AbstractBaseUser | AnonymousUser) -> str:
    """Return how the answer counts; only an adjudication changes an adjudicated label."""
    if reading.role in (ReviewRole.GOLD, ReviewRole.ADJUDICATION) or not may_adjudicate(user=reviewer):
        return reading.role
    return ReviewRole.ADJUDICATION if consensus_of(video.pk).adjudicated else reading.role


def _mirror(video: Video) -> datetime:
    """Store the video's label and who must answer next, from its effective answers; return the time."""
    before, consensus = _settled(video), consensus_of(video.pk)
    video.label, video.review_next = consensus.label, _whose_turn(video, consensus)
    now = timezone.now()
    Video.objects.filter(pk=video.pk).update(label=video.label, review_next=video.review_next, updated_at=now)
    webhook_deliveries.announce_people_say(video_id=video.pk, before=before, after=_settled(video))
    return now


def _settled(video: Video) -> str:
    """The label, where people agree and nobody else is to be asked; else empty."""
    settled = video.review_next == ReviewNext.NOBODY and video.label != ReviewLabel.UNSURE
    return video.label if settled else ""


def _whose_turn(video: Video, consensus: Consensus) -> ReviewNext:
    """Ask for a second reader where the model disagrees, and for a random share of the videos."""
    if consensus.adjudicated:
        return ReviewNext.NOBODY
    if consensus.disputed:
        return ReviewNext.ADJUDICATE
    if len(consensus.answers) == 1 and consensus.label != ReviewLabel.UNSURE:
        if consensus.answers[0].role not in (ReviewRole.FIRST, ReviewRole.SHEET):
            return ReviewNext.NOBODY
        against = consensus.label in VerdictLabel.values and video.verdict_label not in ("", consensus.label)
        drawn = AUDIT_RANKS - 1 - video.audit_rank < settings.DFD_REVIEW_SECOND_SHARE * AUDIT_RANKS
        if against or drawn:
            return ReviewNext.SECOND
    return ReviewNext.NOBODY
