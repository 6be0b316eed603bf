"""What people say of videos."""

from __future__ import annotations

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import transaction
from django.utils import timezone

from detection.errors import Refused
from detection.models import Review, ReviewLabel, Video
from detection.selectors import may_review
from detection.services.text import is_storable

MAX_COMMENT = 2000


def record_review(*, video: Video, reviewer: AbstractBaseUser | AnonymousUser, label: str, comment: str = "") -> Review:
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
    with transaction.atomic():
        # Locked, so that of two reviews at once the one that is newer is also the one whose label stays.
        locked = Video.objects.select_for_update().filter(pk=video.pk).first()
        if locked is None:
            raise Refused("not_found", "There is no such video.", status=404)
        review = Review.objects.create(
            video=locked, reviewer_id=reviewer.pk, label=label, comment=comment, verdict_id=locked.current_verdict_id
        )
        now = timezone.now()
        Video.objects.filter(pk=locked.pk).update(label=label, updated_at=now)
    video.label, video.updated_at = label, now
    return review
