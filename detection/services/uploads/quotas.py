"""How much one user, and all together, may bring in.  Each refusal says when it is worth trying again."""

from __future__ import annotations

import time
from datetime import UTC, date, timedelta

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import F
from django.utils import timezone

from detection.errors import Refused
from detection.models import UploadDay
from detection.selectors.videos import open_analyses, waiting_for_extraction

RETRY_S = 30
"""When it is worth trying again where videos are waiting: one takes seconds."""
QUEUE_LOOK_S = 1.0
"""The queue is counted at most this often by a process: counting 100,000 rows takes tens of milliseconds."""
KEPT = timedelta(days=35)


def check_upload(*, owner_id: int, size_bytes: int, promised_bytes: int = 0) -> None:
    """Before the file is stored: raises Refused `queue_full`, `quota_exceeded` or `daily_bytes_exceeded`.

    `promised_bytes` are of uploads that have begun and are not counted yet.
    """
    check_queue()
    check_quota(owner_id=owner_id)
    _check_bytes(_sent_today(owner_id) + promised_bytes, size_bytes)


def count_upload(*, owner_id: int, size_bytes: int) -> None:
    """The same once more, and for good: in the transaction that adds the video.  Raises Refused.

    One at a time per owner, so that the limits hold for uploads that arrive together.
    """
    lock_owner(owner_id)
    check_quota(owner_id=owner_id)
    _check_bytes(_sent_today(owner_id), size_bytes)
    UploadDay.objects.get_or_create(owner_id=owner_id, day=_today())
    UploadDay.objects.filter(owner_id=owner_id, day=_today()).update(bytes=F("bytes") + size_bytes)


def lock_owner(owner_id: int) -> None:
    """Whoever checks what limits a user, and then uses it up, does both under this lock, until the transaction ends."""
    list(get_user_model().objects.select_for_update(no_key=True).filter(pk=owner_id).values_list("pk"))


def check_quota(*, owner_id: int) -> None:
    """Raises Refused `quota_exceeded` when the owner has as many open analyses as are allowed."""
    limit = settings.DFD_MAX_VIDEOS_IN_FLIGHT
    if open_analyses(owner_id=owner_id) >= limit:
        raise _too_many(
            "quota_exceeded", f"{limit} of your videos are waiting already; try again when some are done.", RETRY_S
        )


def check_queue() -> None:
    """Raises Refused `queue_full` (503) when as many videos wait for extraction, of all users, as may."""
    limit = settings.DFD_MAX_QUEUE
    if limit and _queue_is_full(limit):
        raise _too_many("queue_full", "Too many videos are waiting to be analysed; try again later.", RETRY_S, 503)


def forget_days() -> int:
    """Remove the counts of days that are long past; returns how many."""
    return UploadDay.objects.filter(day__lt=_today() - KEPT).delete()[0]


# --- inside --------------------------------------------------------------------------------------------------------

_looked: tuple[float, int, bool] = (0.0, 0, False)


def _queue_is_full(limit: int) -> bool:
    """As it was within the last second."""
    global _looked
    at, of_limit, full = _looked
    now = time.monotonic()
    if of_limit != limit or now - at >= QUEUE_LOOK_S:
        full = waiting_for_extraction(at_most=limit) >= limit
        _looked = now, limit, full
    return full


def _today() -> date:
    return timezone.now().astimezone(UTC).date()


def _sent_today(owner_id: int) -> int:
    return UploadDay.objects.filter(owner_id=owner_id, day=_today()).values_list("bytes", flat=True).first() or 0


def _check_bytes(sent: int, size_bytes: int) -> None:
    limit = settings.DFD_MAX_BYTES_A_DAY
    if sent + size_bytes > limit:
        now = timezone.now().astimezone(UTC)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        left = max(0, limit - sent)
        raise _too_many(
            "daily_bytes_exceeded",
            f"You may send {limit:,} bytes a day (UTC); {left:,} are left today, and this file has {size_bytes:,}.",
            int((midnight - now).total_seconds()) + 1,
        )


def _too_many(code: str, detail: str, retry_s: int, status: int = 429) -> Refused:
    return Refused(code, detail, status=status, headers={"Retry-After": str(retry_s)})
