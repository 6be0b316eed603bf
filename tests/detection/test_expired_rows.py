"""Rows that nobody can ask for any more go, a few at a time; the others stay."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.utils import timezone
from knox.models import AuthToken

from detection.models import AuditAction, AuditEntry, UploadKey, Video
from detection.services.ops import expired_rows
from worker.tasks import CHORES

pytestmark = pytest.mark.django_db


def fill(video: Video, *, each: int, age: timedelta) -> None:
    """So many rows of each table, whose time was over `age` ago."""
    now = timezone.now()
    kind, user = ContentType.objects.get_for_model(Video), video.owner
    for k in range(each):
        name = f"{age.days} {k}"
        Session.objects.create(session_key=name, session_data="", expire_date=now - age)
        entry = LogEntry.objects.create(user=user, content_type=kind, action_flag=ADDITION, change_message=name)
        LogEntry.objects.filter(pk=entry.pk).update(action_time=now - age - expired_rows.HISTORY_KEPT)
        key = UploadKey.objects.create(owner=user, key=name, video=video)
        UploadKey.objects.filter(pk=key.pk).update(created_at=now - age - expired_rows.KEYS_KEPT)
        token, _ = AuthToken.objects.create(user=user)
        AuthToken.objects.filter(pk=token.pk).update(expiry=now - age - expired_rows.TOKENS_KEPT)


def counts() -> list[int]:
    tables: list[Any] = [Session, LogEntry, UploadKey, AuthToken]
    return [table.objects.count() for table in tables]


def test_what_has_expired_goes_in_bounded_steps_and_the_rest_stays(
    video: Video, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expired_rows, "BATCH", 3)
    fill(video, each=4, age=timedelta(hours=1))
    fill(video, each=2, age=-timedelta(days=1))
    assert counts() == [6, 6, 6, 6]
    assert expired_rows.delete_expired() == 12
    assert counts() == [3, 3, 3, 3]
    assert expired_rows.delete_expired() == 4
    assert expired_rows.delete_expired() == 0
    assert counts() == [2, 2, 2, 2]
    assert Video.objects.filter(pk=video.pk).exists()
    revoked = AuditEntry.objects.filter(action=AuditAction.TOKEN_REVOKED)
    assert set(revoked.values_list("actor", flat=True)) == {"expiry (program)"}
    assert User.objects.filter(pk=video.owner_id).exists()


def test_the_sweep_does_it() -> None:
    assert expired_rows.delete_expired in [chore.run for chore in CHORES]
