"""A worker's sign of life: written by its loop, gone when it stops, and never a reason to fail."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.db import DatabaseError, connection

from detection.models import WorkerBeat
from worker import beats

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beats, "_facts", {})
    monkeypatch.setattr(beats, "_beaten_at", -beats.EVERY_S)
    monkeypatch.setattr(connection, "close", lambda: None)  # it is the test's own


def worker() -> Any:
    queues = SimpleNamespace(consume_from={"extract": 1, "classify": 2})
    return SimpleNamespace(hostname="w@host", concurrency=2, app=SimpleNamespace(amqp=SimpleNamespace(queues=queues)))


def test_a_beat_is_a_row_that_is_renewed_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    beats.beat()  # not set up yet
    assert not WorkerBeat.objects.exists()
    beats.know(worker())
    beats.beat()
    first = WorkerBeat.objects.get()
    assert (first.name, first.queues, first.processes) == ("w@host", "classify,extract", 2)
    beats.beat()  # too soon
    assert WorkerBeat.objects.get().seen_at == first.seen_at
    monkeypatch.setattr(beats, "_beaten_at", beats._beaten_at - beats.EVERY_S)
    beats.beat()
    again = WorkerBeat.objects.get()
    assert again.seen_at > first.seen_at
    assert again.started_at == first.started_at
    beats.end()
    assert not WorkerBeat.objects.exists()


def test_a_database_that_is_gone_does_not_stop_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise DatabaseError("gone")

    monkeypatch.setattr(WorkerBeat.objects, "update_or_create", fail)
    beats.know(worker())
    beats.beat()
    assert beats._beaten_at > 0  # it tried, and waits for its next turn
