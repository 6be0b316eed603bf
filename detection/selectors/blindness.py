"""What is withheld from whom: a reviewer of a video must not know what the model or others say of it.

Everything that shows a verdict, score, heat map, label or answer asks here, on every page and endpoint.  A video is
withheld from a reviewer
- who has claimed it in the workspace or on a sheet and has never answered it;
- who may be asked for a second reading (its pictures are still there) and has no answer of their own that was not
  undone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeVar
from uuid import UUID

from django.db.models import Exists, Model, OuterRef, Q, QuerySet
from django.utils import timezone

from detection.models import Review, ReviewClaim, ReviewNext, Video
from detection.selectors.permissions import User, may_review

NO_VERDICT = {
    "current_verdict": None, "verdict_label": "", "verdict_model_id": None, "fake_probability": None, "margin": None,
    "needs_review": False,
}  # fmt: skip
NO_ANSWER = {"label": "", "review_next": "", "person_labels": None}

Rows = TypeVar("Rows", bound=Model)


def without_withheld(rows: QuerySet[Rows], user: User, *, video: str = "pk") -> QuerySet[Rows]:
    """Leave out rows whose video, in column `video`, is withheld from the user.

    Two subqueries, each by an index of its own: as one condition a database would ask it of every video.
    """
    claimed = _unanswered_claims(user).values("video")
    rows = rows.exclude(**{f"{video}__in": claimed})
    if may_review(user=user):
        second = Video.objects.filter(_second_reading(user)).values("pk")
        rows = rows.exclude(**{f"{video}__in": second})
    return rows


def is_withheld_expression(user: User) -> Q:
    """Return the condition on videos that they are withheld from the user."""
    condition = has_unanswered_claim(user)
    return condition | _second_reading(user) if may_review(user=user) else condition


def has_unanswered_claim(user: User, *, video: str = "pk") -> Q:
    """Return the condition that the user has claimed the video in column `video` and has never answered it."""
    return Q(Exists(_unanswered_claims(user).filter(video=OuterRef(video))))


def _unanswered_claims(user: User) -> QuerySet[ReviewClaim]:
    answers = Review.objects.filter(video=OuterRef("video"), reviewer=user.pk)
    return ReviewClaim.objects.filter(~Exists(answers), reviewer=user.pk, until__gte=timezone.now())


def _second_reading(user: User) -> Q:
    mine = Review.objects.not_undone().filter(video=OuterRef("pk"), reviewer=user.pk)
    return Q(~Exists(mine), review_next=ReviewNext.SECOND, pictures_removed_at=None)


def withheld_ids(user: User, ids: Iterable[UUID]) -> frozenset[UUID]:
    """Return those of the videos that are withheld from the user, in one query."""
    wanted = list(ids)
    if not wanted or not user.is_authenticated:
        return frozenset()
    rows = Video.objects.filter(is_withheld_expression(user), pk__in=wanted)
    return frozenset(rows.order_by().values_list("pk", flat=True))


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
