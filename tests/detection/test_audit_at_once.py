"""Many who act at once: the audit log is one chain without a gap, and what is to be there once is there once."""

from __future__ import annotations

import pytest
from django.db import transaction
from django.utils import timezone

from detection.models import AuditAction, AuditEntry
from detection.services.ops import audit
from tests.at_once import MANY, at_once

pytestmark = pytest.mark.django_db(transaction=True)
EACH = 5


def test_writers_wait_for_each_other() -> None:
    def write(number: int) -> None:
        for k in range(EACH):
            with transaction.atomic():
                audit.record(AuditAction.EXPORTED, subject=f"{number} {k}")
                transaction.set_rollback(k == 3)  # one of each fails afterwards, and leaves no gap

    at_once(write)
    checked = audit.verify()
    assert (checked.broken, checked.entries) == ((), MANY * (EACH - 1))


def test_of_many_looks_at_once_one_is_recorded() -> None:
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    at_once(lambda _: audit.record_once(AuditAction.MEDIA_VIEWED, since=hour, subject="video:1"))
    assert AuditEntry.objects.count() == 1
