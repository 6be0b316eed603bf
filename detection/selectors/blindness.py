"""What is withheld from whom: a reviewer of a video must not know what the model or others say of it.

Everything that shows a verdict, score, heat map, label or answer asks here, on every page and endpoint.  A video is
withheld from a reviewer
- who has claimed it in the workspace or on a sheet and has never answered it;
- who may be asked for a second reading and has no answer of their own that was not undone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from detection.models import Review, ReviewClaim, ReviewNext, Video
from detection.selectors.permissions import User, may_review

NO_VERDICT = {
    "current_verdict": None, "verdict_label": "", "verdict_model_id": None, "fake_probability": None, "margin": None,
    "needs_review": False,
}  # fmt: skip
NO_ANSWER = {"label": "", "review_next": "", "person_labels": None}


def withheld_from(user: User) -> QuerySet[Video]:
    """Return the videos that are withheld from the user."""
    if not user.is_authenticated:
        return Video.objects.none()
    return Video.objects.filter(is_withheld_expression(user))


def is_withheld_expression(user: User) -> Q:
    """Return the condition on videos that they are withheld from the user."""
    condition = has_unanswered_claim(user)
    if may_review(user=user):
        mine = Review.objects.not_undone().filter(video=OuterRef("pk"), reviewer=user.pk)
        condition |= Q(review_next=ReviewNext.SECOND) & ~Q(Exists(mine))
    return condition


def has_unanswered_claim(user: User, *, video: str = "pk") -> Q:
    """Return the condition that the user has claimed the video in column `video` and has never answered it."""
    claims = ReviewClaim.objects.filter(video=OuterRef(video), reviewer=user.pk, until__gte=timezone.now())
    answers = Review.objects.filter(video=OuterRef(video), reviewer=user.pk)
    return Q(Exists(claims)) & ~Q(Exists(answers))


def withheld_ids(user: User, ids: Iterable[UUID]) -> frozenset[UUID]:
    """Return those of the videos that are withheld from the user, in one query."""
    wanted = list(ids)
    if not wanted:
        return frozenset()
    return frozenset(withheld_from(user).filter(pk__in=wanted).order_by().values_list("pk", flat=True))


def is_withheld(user: User, video_id: UUID) -> bool:
    """Return whether one video is withheld from the user."""
    return bool(withheld_ids(user, [video_id]))


def redact(video: Video) -> Video:
    """Remove from a row in memory everything that must not be told; saving it raises RuntimeError."""
    for name, nothing in (NO_VERDICT | NO_ANSWER).items():
        setattr(video, name, nothing)
    video.save = _refuse_to_save  # type: ignore[method-assign]
    return video


def redact_for(user: User, videos: Collection[Video]) -> frozenset[UUID]:
    """Redact the rows that are withheld from the user, and return their ids."""
    withheld = withheld_ids(user, [video.pk for video in videos])
    for video in videos:
        if video.pk in withheld:
            redact(video)
    return withheld


def _refuse_to_save(*_: object, **__: object) -> None:
    raise RuntimeError("A redacted row is to be shown, not saved.")
