"""The queues of the review workspace: what waits in each, and how long already."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import Exists, OuterRef, QuerySet

from detection.errors import Refused
from detection.models import AUDIT_RANKS, Review, ReviewNext, State, Video

MIXED = "mixed"
CHOSEN = "chosen"
"""Not a queue: videos picked from a list, whatever they wait for."""
QUEUES = ("disagreement", "audit", "uncertain", "no_face", "failed")
SHEET_QUEUES = ("uncertain", "audit", "no_face", "failed")


def queue_parts(*, queue: str, reviewer: User | None) -> list[QuerySet[Video]]:
    """Return what waits in a queue for this reviewer, claimed or not; each part walks one index in order.

    With `reviewer` None, what waits for anyone.  A second reader never gets their own first reading, and whoever
    settles a disagreement took no part in it.  Raises Refused `unknown_queue`.
    """
    rows = Video.objects.filter(pictures_removed_at=None)  # nobody can tell what is not there to be seen
    open_rows = rows.filter(label="")
    if queue == "uncertain":
        return [open_rows.filter(needs_review=True, margin__gte=0).order_by("margin", "id")]
    if queue == "audit":
        ranks = round(settings.DFD_REVIEW_AUDIT_SHARE * AUDIT_RANKS)
        return [open_rows.filter(audit_rank__lt=ranks, status=State.SUCCEEDED).order_by("audit_rank", "id")]
    if queue == "no_face":
        return [open_rows.filter(status=State.NO_FACE).order_by("created_at", "id")]
    if queue == "failed":
        return [open_rows.filter(status=s).order_by("created_at", "id") for s in (State.FAILED, State.DEAD)]
    if queue == "disagreement":
        turns = [ReviewNext.SECOND]
        if reviewer is None or reviewer.has_perm("detection.adjudicate_review"):
            turns.insert(0, ReviewNext.ADJUDICATE)
        mine = Review.objects.not_undone().filter(video=OuterRef("pk"), reviewer=reviewer)
        rows = rows if reviewer is None else rows.filter(~Exists(mine))
        return [rows.filter(review_next=turn).order_by("created_at", "id") for turn in turns]
    raise Refused("unknown_queue", f"There is no queue {queue!r}; there are {', '.join((MIXED, *QUEUES))}.")


def oldest_in(*, queue: str) -> datetime | None:
    """Return the upload time of the video that has waited longest in a queue.

    None if the queue is empty, and for the random audit, which has no order of time.
    """
    if queue == "audit":
        return None
    parts = queue_parts(queue=queue, reviewer=None)
    if queue == "uncertain":
        # Not by the margin, which means the same: all that waits would have to be sorted.
        waiting = Video.objects.filter(pictures_removed_at=None, label="", needs_review=True)
        parts = [waiting.exclude(verdict_label="")]
    firsts = [part.order_by("created_at").values_list("created_at", flat=True).first() for part in parts]
    return min((first for first in firsts if first), default=None)
