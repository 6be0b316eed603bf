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
    AuditAction,
    DatasetVideo,
    Review,
    ReviewBatch,
    ReviewLabel,
    ReviewNext,
    ReviewRole,
    Verdict,
    VerdictLabel,
    Video,
)
from detection.selectors.permissions import may_adjudicate, may_have_opinion, may_review
from detection.services.jobs import webhook_deliveries
from detection.services.jobs.left_out import CHANGED, models_own, no_persons
from detection.services.jobs.verdicts import outcome, without_no_persons
from detection.services.ops import audit
from detection.services.reviews.consensus import Answer, Consensus, settle
from detection.services.reviews.people import PeopleAnswer, checked, repeated
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
    label: str = "",
    comment: str = "",
    reading: Reading | None = None,
    people: PeopleAnswer | None = None,
) -> Review:
    """Append a review, link it to the current verdict, and update the labels of video and people (see `consensus`).

    With `people`, `label` may be empty and follows from them; without, what the reviewer said of people before stays if
    the label does.  Who is settled to be no person no longer decides the verdict (see `left_out`).  An owner who may
    not review records an opinion (`ReviewRole.OPINION`), which changes no label; an adjudicated label is only changed
    by another adjudication.  A video waits for a person while it needs review and has no label.

    Raises:
        Refused: `permission_denied` (neither owner nor reviewer, or an adjudication without that right),
            `invalid_label`, `invalid_comment`, `not_found` (the video was deleted), and as `people.checked`.
    """
    reading = reading or Reading()
    opinion = not may_review(user=reviewer)
    if reviewer.pk is None or (opinion and not may_have_opinion(user=reviewer, video=video)):
        raise Refused("permission_denied", "Only the owner of a video and reviewers may label it.", status=403)
    if reading.role == ReviewRole.ADJUDICATION and not may_adjudicate(user=reviewer):
        raise Refused("permission_denied", "Only who settles disagreements may settle this one.", status=403)
    if label not in ReviewLabel.values and (label or not (people and people.labels)):
        raise Refused("invalid_label", f"The label must be one of {', '.join(ReviewLabel.values)}.")
    if len(comment) > MAX_COMMENT or not is_storable(comment):
        raise Refused("invalid_comment", f"A comment has at most {MAX_COMMENT} characters and no NUL.")
    seconds = reading.seconds
    with transaction.atomic():
        locked = _locked(video.pk)
        verdict = locked.current_verdict
        role = ReviewRole.OPINION if opinion else _role(locked, reading, reviewer)
        said: dict[str, str] | None = None
        if people is not None:
            label, said = checked(locked, label, people)
        elif role not in (ReviewRole.OPINION, ReviewRole.GOLD):
            said = repeated(locked, reviewer.pk, label)
        review = Review.objects.create(
            id=reading.claim or uuid4(),
            video=locked,
            reviewer_id=reviewer.pk,
            label=label,
            people=said,
            people_version=locked.people_version if said else None,
            comment=comment,
            verdict=verdict,
            model_version_id=verdict.model_version_id if verdict else None,
            model_probability=verdict.fake_probability if verdict else None,
            score_shown=reading.score_shown,
            seconds=None if seconds is None else max(0.0, min(seconds, MAX_SECONDS)),
            queue=reading.queue,
            role=role,
            batch=reading.batch,
        )
        now = _mirror(locked, by=reviewer)
    video.label, video.updated_at = locked.label, now
    return review


def undo_review(*, review: Review, by: AbstractBaseUser | AnonymousUser, batch: ReviewBatch | None = None) -> Review:
    """Append a row that undoes an answer, and update the labels of video and people, and who decides its verdict.

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
        _mirror(locked, by=by)
    return row


def answers_of(video_id: UUID) -> dict[int, Review]:
    """Map each reviewer's id to their newest effective answer, in the order given."""
    found: dict[int, Review] = {}
    for row in _deciding(video_id).select_related("reviewer"):
        found.pop(row.reviewer_id, None)
        found[row.reviewer_id] = row
    return found


def consensus_of(video: Video) -> Consensus:
    """Return what a video's answers and its data set make of it now."""
    rows = _deciding(video.pk).only("reviewer_id", "label", "role", "people", "people_version")
    of_dataset = DatasetVideo.objects.filter(video_id=video.pk).values_list("label", flat=True).first()
    answers = (Answer(row.reviewer_id, row.label, row.role, row.people_of(video)) for row in rows)
    return settle(answers, dataset_label=of_dataset or "")


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
            if video is not None and video.label != consensus_of(video).label:
                _mirror(video)
                changed += 1
    return changed


def _locked(video_id: Any) -> Video:
    """Return the video, locked, so that of two concurrent answers the newer one's label stays."""
    rows = (
        Video.objects.select_for_update(of=("self",))
        .select_related("current_verdict")
        .defer("current_verdict__people", "current_verdict__segments", "metadata")
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
    return ReviewRole.ADJUDICATION if consensus_of(video).adjudicated else reading.role


def _mirror(video: Video, *, by: AbstractBaseUser | AnonymousUser | None = None) -> datetime:
    """Store what the effective answers make of video and people, and who must answer next; return the time."""
    before, left_out, consensus = _settled(video), set(no_persons(video.person_labels)), consensus_of(video)
    video.label, video.person_labels = consensus.label, consensus.people or None
    verdict, now = video.current_verdict, timezone.now()
    decided: dict[str, Any] = {}
    if verdict is not None and without_no_persons(verdict, video.person_labels):
        verdict.save(update_fields=CHANGED)
        decided = outcome(verdict)
        for name, value in decided.items():
            setattr(video, name, value)
    video.review_next = _whose_turn(video, consensus)
    labels = {name: getattr(video, name) for name in ("label", "person_labels", "review_next")}
    Video.objects.filter(pk=video.pk).update(**labels, **decided, updated_at=now)
    webhook_deliveries.announce_people_say(video_id=video.pk, before=before, after=_settled(video))
    _record_left_out(video, left_out, by=by)
    return now


def _record_left_out(video: Video, before: set[int], *, by: AbstractBaseUser | AnonymousUser | None) -> None:
    """Write into the audit log who no longer decides the verdict, or does so again."""
    after, verdict = set(no_persons(video.person_labels)), video.current_verdict
    for action, tracks in (
        (AuditAction.PERSON_LEFT_OUT, after - before),
        (AuditAction.PERSON_COUNTED, before - after),
    ):
        if tracks:
            facts = {
                "tracks": sorted(tracks),
                "verdict": verdict.label if verdict else "",
                "with_everybody": str(models_own(verdict)["label"]) if verdict else "",
            }
            user = by if isinstance(by, AbstractBaseUser) else None
            audit.record(action, subject=f"video:{video.pk}", by=user, facts=facts)


def _settled(video: Video) -> str:
    """What people say, where they agree and nobody else is to be asked; else empty.

    That is the label; without one, the verdict where it is another than the model's own without those who are no
    people.
    """
    if video.review_next != ReviewNext.NOBODY:
        return ""
    return video.label if video.label != ReviewLabel.UNSURE and video.label else _turned(video.current_verdict)


def _turned(verdict: Verdict | None) -> str:
    """The verdict's label if it is another with everybody; else empty."""
    return verdict.label if verdict is not None and verdict.label != models_own(verdict)["label"] else ""


def _whose_turn(video: Video, consensus: Consensus) -> ReviewNext:
    """Ask for a second reader where the model disagrees, and for a random share of the videos.

    Of a first reading alone: its reader, who has been told what the model says, does not call it off by another answer.
    """
    if consensus.adjudicated:
        return ReviewNext.NOBODY
    if consensus.disputed:
        return ReviewNext.ADJUDICATE
    if len(consensus.answers) != 1 or not consensus.first_read:
        return ReviewNext.NOBODY
    verdict = video.current_verdict
    turned = bool(_turned(verdict))
    said = {consensus.label, *consensus.first_read} - {ReviewLabel.UNSURE}
    said_by_model = models_own(verdict)["label"] if verdict is not None else ""
    against = turned or (said_by_model and said & set(VerdictLabel.values) - {said_by_model})
    drawn = AUDIT_RANKS - 1 - video.audit_rank < settings.DFD_REVIEW_SECOND_SHARE * AUDIT_RANKS
    return ReviewNext.SECOND if against or (said and drawn) else ReviewNext.NOBODY
