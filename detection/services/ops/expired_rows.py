"""Delete expired rows, a few at each sweep, so that no table grows for ever.

Each table has its retention time.  The audit log is not among them: it is kept from the beginning, its old entries in
files (`audit_archive`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from django.utils import timezone
from knox.models import AuthToken

from detection.audit_context import acting_as
from detection.models import UploadKey

BATCH = 1000
KEYS_KEPT = timedelta(days=90)
"""A client that repeats an upload under its Idempotency-Key does so within the hour; the content is known for ever."""
HISTORY_KEPT = timedelta(days=365)
"""Retention of the admin's own history; what counts is in the audit log."""
TOKENS_KEPT = timedelta(days=30)
"""Retention after a token expired, in which an operator sees that it has."""


def delete_expired() -> int:
    """Delete at most `BATCH` rows of each table; return how many."""
    deleted = 0
    with acting_as("expiry"):
        for rows in _expired():
            keys = list(rows.order_by().values_list("pk", flat=True)[:BATCH])
            if keys:
                rows.model._default_manager.filter(pk__in=keys).delete()
                deleted += len(keys)
    return deleted


def _expired() -> Iterator[QuerySet[Any]]:
    now = timezone.now()
    yield Session.objects.filter(expire_date__lt=now)
    yield _oldest(LogEntry.objects.all()).filter(action_time__lt=now - HISTORY_KEPT)
    yield _oldest(UploadKey.objects.all()).filter(created_at__lt=now - KEYS_KEPT)
    yield AuthToken.objects.filter(expiry__lt=now - TOKENS_KEPT)


def _oldest(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Return the rows added first, by their counting key: without an index on the time, nothing else is read."""
    return rows.filter(pk__in=list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH]))
