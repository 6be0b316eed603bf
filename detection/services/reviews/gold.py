"""Known answers: videos shown in the workspace to check reviewers, who are not told which they are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from detection.errors import Refused
from detection.models import (
    OPEN_STATES,
    AuditAction,
    GoldVideo,
    Review,
    ReviewClaim,
    ReviewLabel,
    ReviewRole,
    State,
    Video,
)
from detection.services.ops import audit
from detection.services.reviews.people import PeopleAnswer
from detection.services.reviews.reviews import Reading, record_review
from detection.services.validation import is_storable

LOOK_AT = 5
MAX_REASON = 500


def set_gold(*, video: Video, label: str, reason: str, by: User) -> GoldVideo:
    """Make the video a known answer; this also adjudicates its label, and what is settled of its people with it.

    Raises Refused: `permission_denied`, `invalid_label`, `invalid_comment`, `still_open`, `not_found`.
    """
    _may(by)
    if label not in ReviewLabel.values or label == ReviewLabel.UNSURE:
        raise Refused("invalid_label", "A known answer is real, fake or no_face.")
    reason = reason.strip()
    if not reason or len(reason) > MAX_REASON or not is_storable(reason):
        raise Refused("invalid_comment", f"Say in 1 to {MAX_REASON} characters how the answer is known.")
    if video.status in OPEN_STATES:
        raise Refused("still_open", "This video is still being analysed.", status=409)
    with transaction.atomic():
        locked = Video.objects.select_for_update().filter(pk=video.pk).only("label", "person_labels").first()
        of_people = (locked.person_labels or {}) if locked is not None and locked.label == label else {}
        said = record_review(
            video=video,
            reviewer=by,
            label=label,
            comment=reason,
            reading=Reading(role=ReviewRole.ADJUDICATION),
            people=PeopleAnswer({int(track): one for track, one in of_people.items()}),
        )
        known = {"label": label, "people": said.people, "people_version": said.people_version}
        row, _ = GoldVideo.objects.update_or_create(
            video=video, defaults=known | {"reason": reason, "set_by": by, "created_at": timezone.now()}
        )
        audit.record(AuditAction.GOLD_SET, subject=f"video:{video.pk}", by=by, facts={"label": label})
    return row


def unset_gold(*, video: Video, by: User) -> None:
    """Stop using the video as a check; earlier checks on it no longer count, and its label stays.

    Raises Refused `permission_denied`.
    """
    _may(by)
    with transaction.atomic():
        if GoldVideo.objects.filter(video=video).delete()[0]:
            audit.record(AuditAction.GOLD_UNSET, subject=f"video:{video.pk}", by=by)


def unseen(*, reviewer: User, queues: Sequence[str], skipped: Collection[UUID]) -> Iterator[tuple[Video, str]]:
    """Yield known answers that the reviewer was not asked yet, each with a queue that it may pretend to come from."""
    asked = Review.objects.filter(video=OuterRef("video"), reviewer=reviewer)
    taken = ReviewClaim.objects.filter(video=OuterRef("video"), until__gte=timezone.now())
    rows = GoldVideo.objects.filter(~Exists(asked), ~Exists(taken), video__pictures_removed_at=None)
    rows = rows.exclude(video__in=skipped)
    for row in rows.select_related("video").order_by("created_at")[:LOOK_AT]:
        fitting = ("no_face",) if row.video.status == State.NO_FACE else ("uncertain", "audit")
        queue = next((name for name in fitting if name in queues), None)
        if queue is not None:
            yield row.video, queue


def is_open_for(*, video_id: UUID, reviewer: User) -> bool:
    """Return whether the video is a known answer without an answer of this reviewer that was not undone."""
    asked = Review.objects.not_undone().filter(video_id=video_id, reviewer=reviewer)
    known = GoldVideo.objects.filter(video_id=video_id, video__pictures_removed_at=None)
    return known.exists() and not asked.exists()


def _may(by: User) -> None:
    if not by.has_perm("detection.adjudicate_review"):
        raise Refused("permission_denied", "Only who settles disagreements may set known answers.", status=403)
