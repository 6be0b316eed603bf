"""The review workspace: which reviewer gets which video next, and what they answer.

A video is claimed before it is shown, so that no two people have it at once; a claim expires when its page stops
extending it.  The model's verdict is not told before the answer is stored.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from detection.errors import Refused
from detection.models import (
    Review,
    ReviewBatch,
    ReviewClaim,
    ReviewLabel,
    ReviewNext,
    ReviewRole,
    Video,
)
from detection.services.reviews import gold, rescan
from detection.services.reviews.people import PeopleAnswer
from detection.services.reviews.queues import CHOSEN, MIXED, SHEET_QUEUES, queue_parts
from detection.services.reviews.reviews import Reading, record_review, undo_review

HELD = 3
"""Claims a page may hold: the video shown, the prefetched one, and one more after an undo."""
MOST_TABS = 4
"""Most open tabs of one reviewer; claims of older ones are released."""
MOST_HELD = HELD * MOST_TABS
LOOK_AT = 20
"""Candidates that one call tries to claim; each is lost only to a simultaneous claim."""

_ROLES = {ReviewNext.SECOND: ReviewRole.SECOND, ReviewNext.ADJUDICATE: ReviewRole.ADJUDICATION}
_TURNS = {role: turn for turn, role in _ROLES.items()}


@dataclass(frozen=True)
class Claimed:
    """A video that a reviewer has claimed."""

    token: UUID
    video: Video
    queue: str
    role: str


def next_item(
    *, reviewer: User, queue: str = MIXED, held: Collection[UUID] = (), skipped: Collection[UUID] = ()
) -> Claimed | None:
    """Claim the next video for the reviewer; None if nothing waits.

    `held` are claims that the page still shows.  Claims of a page that went silent are taken up again first; those of
    other
    open tabs stay.  Raises Refused `too_many_claims`, `unknown_queue`.
    """
    queues = settings.DFD_REVIEW_ORDER if queue == MIXED else [queue]
    singly = ReviewClaim.objects.filter(reviewer=reviewer, sheet=False)
    mine = list(singly.order_by("claimed_at"))
    kept = [claim for claim in mine if claim.token in held]
    if len(kept) >= HELD:
        raise Refused("too_many_claims", f"At most {HELD} videos can be held at once.", status=409)
    given_up = _given_up(mine, held=held, most=MOST_HELD)
    for claim in given_up:
        if claim.queue in queues and claim.video_id not in skipped:
            again = _take(claim.video_id, reviewer, claim.queue, claim.role, instead_of=claim.token)
            if again is not None:
                return again
    singly.filter(token__in=[claim.token for claim in given_up]).delete()
    if random.random() < settings.DFD_REVIEW_GOLD_SHARE:  # nosec B311 # a sample, not a secret
        for video, name in gold.unseen(reviewer=reviewer, queues=queues, skipped=skipped):
            found = _take(video.pk, reviewer, name, ReviewRole.GOLD)
            if found is not None:
                return found
    for name in queues:
        for video in _candidates(name, reviewer, skipped):
            role = _ROLES[ReviewNext(video.review_next)] if name == "disagreement" else ReviewRole.FIRST
            found = _take(video.pk, reviewer, name, role)
            if found is not None:
                return found
    return None


def answer(
    *,
    reviewer: User,
    token: UUID,
    label: str = "",
    seconds: float | None = None,
    comment: str = "",
    people: PeopleAnswer | None = None,
) -> Review:
    """Store the answer and release the claim, in one transaction.

    Answering the same claim again returns the stored review: its response was lost.  Raises Refused `claim_lost`
    (somebody
    else has it, or it was answered), and as `record_review`.
    """
    with transaction.atomic():
        again = Review.objects.filter(id=token, reviewer=reviewer).first()
        if again is not None:
            return again
        claim = _mine(reviewer, token)
        video = claim.video
        seen = Review.objects.filter(video=video, reviewer=reviewer).exists()
        claim.delete()
        return record_review(
            video=video,
            reviewer=reviewer,
            label=label,
            comment=comment,
            people=people,
            # Whoever has answered before, here or from a list, has been told what the model says.
            reading=Reading(role=claim.role, queue=claim.queue, seconds=seconds, score_shown=seen, claim=token),
        )


def open_sheet(
    *, reviewer: User, queue: str, chosen: Collection[UUID] = (), held: Collection[UUID] = ()
) -> list[Claimed]:
    """Claim a contact sheet: the `chosen` videos, or the next of a queue, at most DFD_REVIEW_SHEET_SIZE.

    Releases what the page `held` and what silent pages hold; sheets in other tabs stay.  Videos claimed by others are
    left out.  Raises Refused `unknown_queue`; disagreements are settled one by one.
    """
    size = settings.DFD_REVIEW_SHEET_SIZE
    if queue not in SHEET_QUEUES and not chosen:
        raise Refused("unknown_queue", f"A contact sheet shows {', '.join(SHEET_QUEUES)}.")
    sheets = ReviewClaim.objects.filter(reviewer=reviewer, sheet=True)
    given_up = _given_up(sheets.order_by("claimed_at"), held=held, most=MOST_TABS * size)
    sheets.filter(token__in=[*held, *(claim.token for claim in given_up)]).delete()
    found: list[Claimed] = []
    queue = CHOSEN if chosen else queue
    wanted = list(chosen) if chosen else [video.pk for video in _candidates(queue, reviewer, look_at=2 * size)]
    for video_id in wanted:
        if len(found) == size:
            break
        claimed = _take(video_id, reviewer, queue, ReviewRole.SHEET, sheet=True, own=bool(chosen))
        if claimed is not None:
            found.append(claimed)
    return found


def answer_sheet(
    *, reviewer: User, tokens: Collection[UUID], label: str, confirmed: int, batch_id: UUID, comment: str = ""
) -> ReviewBatch:
    """Record one label for many videos, as one batch; sent again, return the batch made before.

    `confirmed` is the number that the reviewer confirmed.  All or nothing: raises Refused `not_as_confirmed`,
    `claim_lost`
    (another reviewer has one of them), and as `record_review`.
    """
    with transaction.atomic():
        again = ReviewBatch.objects.filter(id=batch_id, reviewer=reviewer).first()
        if again is not None:
            return again
        if len(set(tokens)) != confirmed or not confirmed:
            raise Refused("not_as_confirmed", f"You confirmed {confirmed} videos, {len(set(tokens))} were sent.")
        claims = list(ReviewClaim.objects.filter(token__in=tokens, reviewer=reviewer, sheet=True).order_by("video_id"))
        lost = confirmed - len(claims)
        if lost:
            raise Refused(
                "claim_lost",
                f"{lost} of them went to somebody else meanwhile. Nothing was stored; open the sheet again.",
                status=409,
            )
        if label not in ReviewLabel.values:
            raise Refused("invalid_label", f"The label must be one of {', '.join(ReviewLabel.values)}.")
        _lock(claim.video_id for claim in claims)
        batch = ReviewBatch.objects.create(id=batch_id, reviewer=reviewer, label=label, comment=comment, size=confirmed)
        answered = Review.objects.filter(reviewer=reviewer, video__in=[claim.video_id for claim in claims])
        seen = set(answered.values_list("video_id", flat=True))
        for claim in claims:
            # Chosen were they in a list, where the scores are in sight.
            shown = claim.queue == CHOSEN or claim.video_id in seen
            reading = Reading(role=claim.role, queue=claim.queue, score_shown=shown, batch=batch, claim=claim.token)
            video, _ = claim.video, claim.delete()
            record_review(video=video, reviewer=reviewer, label=label, comment=comment, reading=reading)
    return batch


def revert_batch(*, batch: ReviewBatch, by: User) -> ReviewBatch:
    """Undo all answers of a batch at once; answers undone one by one before stay undone.

    Raises Refused `permission_denied` (not one's own, without the right to adjudicate), `nothing_to_undo`.
    """
    if batch.reviewer_id != by.pk and not by.has_perm("detection.adjudicate_review"):
        raise Refused("permission_denied", "Only one's own decisions can be reverted.", status=403)
    with transaction.atomic():
        if batch.undoes_id or ReviewBatch.objects.filter(undoes=batch).exists():
            raise Refused("nothing_to_undo", "This decision has been reverted already.", status=409)
        rows = list(Review.objects.not_undone().filter(batch=batch).order_by("video_id"))
        _lock(row.video_id for row in rows)
        revert = ReviewBatch.objects.create(reviewer=by, undoes=batch, size=len(rows))
        for row in rows:
            undo_review(review=row, by=by, batch=revert)
    return revert


def skip(*, reviewer: User, token: UUID) -> UUID:
    """Release the claim without an answer; return the video's id.  Raises Refused `claim_lost`."""
    with transaction.atomic():
        claim = _mine(reviewer, token)
        video_id = claim.video_id  # deleting the row takes it from the object
        claim.delete()
    return video_id


def request_rescan(*, reviewer: User, token: UUID) -> None:
    """Release the claim and request a rescan of its video.

    Raises Refused `claim_lost`, and as `rescan.request_rescan`; the claim stays then.
    """
    with transaction.atomic():
        claim = _mine(reviewer, token)
        video = claim.video
        claim.delete()
        rescan.request_rescan(video=video, by=reviewer)


def release(*, reviewer: User, tokens: Collection[UUID]) -> None:
    """Release claims of a page that is being closed."""
    ReviewClaim.objects.filter(reviewer=reviewer, token__in=tokens).delete()


def extend_claims(*, reviewer: User, tokens: Collection[UUID]) -> list[UUID]:
    """Extend the claims of a page; return those that were lost."""
    ReviewClaim.objects.filter(reviewer=reviewer, token__in=tokens).update(until=_until())
    alive = set(ReviewClaim.objects.filter(reviewer=reviewer, token__in=tokens).values_list("token", flat=True))
    return [token for token in tokens if token not in alive]


def undo(*, reviewer: User, review_id: UUID | None = None) -> tuple[Review, Claimed | None]:
    """Undo an answer of the reviewer's in the workspace, and claim its video again unless somebody else has it.

    `review_id` names it, so that who asks again because no response came does not undo another; else it is the newest.
    Raises Refused `nothing_to_undo`.
    """
    with transaction.atomic():
        # Every claim has a queue, and nothing that is said elsewhere: a known answer and a senior's button in a list
        # are adjudications just as one given here is.
        rows = Review.objects.answers().filter(reviewer=reviewer, batch=None).exclude(queue="")
        named = rows.filter(pk=review_id) if review_id else rows.not_undone().order_by("-created_at", "-id")
        last = named.first()
        if last is None:
            raise Refused("nothing_to_undo", "There is no answer of yours to take back.", status=409)
        if review_id is None or named.not_undone().exists():
            undo_review(review=last, by=reviewer)
        return last, _take(last.video_id, reviewer, last.queue, last.role, own=True)


def delete_expired_claims() -> int:
    """Delete claims that expired more than a lease ago; newer ones are taken over by the next reviewer."""
    gone = ReviewClaim.objects.filter(until__lt=timezone.now() - timedelta(seconds=settings.DFD_REVIEW_LEASE_S))
    return gone.delete()[0]


def _candidates(queue: str, reviewer: User, skipped: Collection[UUID] = (), look_at: int = LOOK_AT) -> Iterator[Video]:
    taken = ReviewClaim.objects.filter(video=OuterRef("pk"), until__gte=timezone.now())
    for rows in queue_parts(queue=queue, reviewer=reviewer):
        rows = rows.filter(~Exists(taken))
        if skipped:
            rows = rows.exclude(pk__in=skipped)
        yield from rows.only("id", "review_next")[:look_at]


def _take(
    video_id: UUID,
    reviewer: User,
    queue: str,
    role: str,
    *,
    instead_of: UUID | None = None,
    sheet: bool = False,
    own: bool = False,
) -> Claimed | None:
    """Claim a video; None if somebody was quicker, or it was answered or deleted meanwhile."""
    now = timezone.now()
    facts: Mapping[str, Any] = {
        "token": uuid4(), "reviewer": reviewer, "queue": queue, "role": role, "claimed_at": now, "until": _until(),
        "sheet": sheet,
    }  # fmt: skip
    # Only what the reviewer points at is taken from another tab of theirs.
    free = Q(until__lt=now) | Q(reviewer=reviewer) if own else Q(until__lt=now)
    free = Q(token=instead_of) if instead_of else free
    taken = ReviewClaim.objects.filter(free, video_id=video_id).update(**facts)
    if not taken and instead_of is None:
        try:
            with transaction.atomic():
                ReviewClaim.objects.create(video_id=video_id, **facts)
            taken = 1
        except IntegrityError:
            return None
    if not taken:
        return None
    # Only now: an answer between the look and the claim must not be followed by a second one to the same question.
    video = _still_waiting(video_id, reviewer, queue, role)
    if video is None:
        ReviewClaim.objects.filter(token=facts["token"]).delete()
        return None
    return Claimed(token=facts["token"], video=video, queue=queue, role=role)


def _still_waiting(video_id: UUID, reviewer: User, queue: str, role: str) -> Video | None:
    video = Video.objects.select_related("current_verdict__model_version").filter(pk=video_id).first()
    if video is None or (video.pictures_removed_at is not None and queue != CHOSEN):
        return None
    turn = _TURNS.get(ReviewRole(role))
    if turn is not None:
        waits = video.review_next == turn
    elif role == ReviewRole.GOLD:
        waits = gold.is_open_for(video_id=video_id, reviewer=reviewer)
    elif queue == CHOSEN:
        waits = True
    else:
        waits = not Review.objects.effective().filter(video_id=video_id).exists()
    return video if waits else None


def _lock(video_ids: Iterable[UUID]) -> None:
    """Lock videos in order, all before the first answer: that may lock the audit log, as an answer of others does."""
    list(Video.objects.select_for_update().filter(pk__in=list(video_ids)).order_by("pk").values_list("pk"))


def _mine(reviewer: User, token: UUID) -> ReviewClaim:
    rows = ReviewClaim.objects.select_for_update(of=("self",)).select_related("video")
    claim = rows.filter(token=token, reviewer=reviewer).first()
    if claim is None:
        raise Refused(
            "claim_lost",
            "This video is no longer with this page: it was answered or deleted, or the page was silent too long.",
            status=409,
        )
    return claim


def _given_up(claims: Iterable[ReviewClaim], *, held: Collection[UUID], most: int) -> list[ReviewClaim]:
    """Return claims that are not `held` and that their page gave up, oldest first.

    Given up are those not extended for half a lease (pages extend each third of it), and the oldest of more than
    `most`.
    """
    silent = timezone.now() + timedelta(seconds=settings.DFD_REVIEW_LEASE_S / 2)
    others = [claim for claim in claims if claim.token not in held]
    return [claim for n, claim in enumerate(others) if claim.until < silent or n <= len(others) + len(held) - most]


def _until() -> Any:
    return timezone.now() + timedelta(seconds=settings.DFD_REVIEW_LEASE_S)
