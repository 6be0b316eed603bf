"""Limits on uploads, per user and in all; each refusal says when to retry.

Bytes count as they arrive, also of files that are duplicates, deleted or never completed.
"""

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
"""Seconds after which to retry while videos wait: one takes seconds."""
QUEUE_LOOK_S = 1.0
"""The queue is counted at most this often by a process: counting 100,000 rows takes tens of milliseconds."""
KEPT = timedelta(days=35)


def check_upload(*, owner_id: int) -> None:
    """Raise Refused `queue_full` or `quota_exceeded` before a file is stored."""
    check_queue()
    check_quota(owner_id=owner_id)


def check_bytes(*, owner_id: int, size_bytes: int, promised_bytes: int = 0) -> int:
    """Return how many bytes the owner may still send today.

    `promised_bytes` are still to come of uploads that have begun.  Raises Refused `daily_bytes_exceeded` if fewer than
    `size_bytes`.
    """
    left = settings.DFD_MAX_BYTES_A_DAY - _sent_today(owner_id) - promised_bytes
    if size_bytes > left:
        raise daily_bytes_exceeded(left=left, size_bytes=size_bytes)
    return left


def count_bytes(*, owner_id: int, size_bytes: int, refuse: bool = True) -> None:
    """Count bytes that have arrived.  Raises Refused `daily_bytes_exceeded`, and counts none, unless `refuse` is false.

    Check and count are one UPDATE, so that the limit holds for concurrent requests.
    """
    if size_bytes <= 0:
        return
    limit = settings.DFD_MAX_BYTES_A_DAY
    rows = UploadDay.objects.filter(owner_id=owner_id, day=_today())
    within = rows.filter(bytes__lte=limit - size_bytes) if refuse else rows
    if not rows.exists():
        UploadDay.objects.get_or_create(owner_id=owner_id, day=_today())
    if not within.update(bytes=F("bytes") + size_bytes) and refuse:
        raise daily_bytes_exceeded(left=limit - _sent_today(owner_id), size_bytes=size_bytes)


class Arrival:
    """Count the bytes of one request in steps as they arrive, and stop it at the day's limit."""

    STEP_BYTES = 4 * 1024 * 1024
    """Bytes between two counts; a refused request costs at most this."""

    def __init__(self, *, owner_id: int, announced_bytes: int) -> None:
        """Raise Refused `daily_bytes_exceeded` if the announced bytes are too many."""
        self._owner_id = owner_id
        self._left = check_bytes(owner_id=owner_id, size_bytes=max(1, announced_bytes))
        self._arrived = self._counted = 0

    def add(self, size_bytes: int) -> None:
        """Add arrived bytes.  Raises Refused `daily_bytes_exceeded`."""
        self._arrived += size_bytes
        if self._arrived > self._left:
            raise daily_bytes_exceeded(left=self._left, size_bytes=self._arrived)
        if self._arrived - self._counted >= self.STEP_BYTES:
            self.count()

    def count(self) -> None:
        """Count what has arrived since the last step.  Raises Refused `daily_bytes_exceeded`."""
        uncounted, self._counted = self._arrived - self._counted, self._arrived
        count_bytes(owner_id=self._owner_id, size_bytes=uncounted)


def lock_owner(owner_id: int) -> None:
    """Lock the user's row until the transaction ends: whoever checks a limit and then uses it holds this lock."""
    list(get_user_model().objects.select_for_update(no_key=True).filter(pk=owner_id).values_list("pk"))


def check_quota(*, owner_id: int) -> None:
    """Raise Refused `quota_exceeded` when the owner has as many open analyses as allowed."""
    limit = settings.DFD_MAX_VIDEOS_IN_FLIGHT
    if open_analyses(owner_id=owner_id) >= limit:
        raise _too_many(
            "quota_exceeded", f"{limit} of your videos are waiting already; try again when some are done.", RETRY_S
        )


def check_queue() -> None:
    """Raise Refused `queue_full` (503) when as many videos wait for extraction, of all users, as allowed."""
    limit = settings.DFD_MAX_QUEUE
    if limit and _queue_is_full(limit):
        raise _too_many("queue_full", "Too many videos are waiting to be analysed; try again later.", RETRY_S, 503)


def delete_old_days() -> int:
    """Delete counts of days that are long past; return how many."""
    return UploadDay.objects.filter(day__lt=_today() - KEPT).delete()[0]


# --- inside --------------------------------------------------------------------------------------------------------

_looked: tuple[float, int, bool] = (0.0, 0, False)


def _queue_is_full(limit: int) -> bool:
    """Return whether the queue is full, at most a second old."""
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


def daily_bytes_exceeded(*, left: int, size_bytes: int) -> Refused:
    """Return the refusal, valid until midnight UTC."""
    now = timezone.now().astimezone(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return _too_many(
        "daily_bytes_exceeded",
        f"You may send {settings.DFD_MAX_BYTES_A_DAY:,} bytes a day (UTC); {max(0, left):,} are left today, and this"
        f" upload has at least {size_bytes:,}.",
        int((midnight - now).total_seconds()) + 1,
    )


def _too_many(code: str, detail: str, retry_s: int, status: int = 429) -> Refused:
    return Refused(code, detail, status=status, headers={"Retry-After": str(retry_s)})
