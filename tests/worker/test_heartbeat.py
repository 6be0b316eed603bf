"""A worker's sign of life: written by its loop, gone when it stops, and never a reason to fail."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import DatabaseError, connection

from detection.models import WorkerBeat
from worker import alive
from worker.process import heartbeat, work_files

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "_facts", {})
    monkeypatch.setattr(heartbeat, "_touched_at", -alive.EVERY_S)
    monkeypatch.setattr(heartbeat, "_sent_at", -heartbeat.EVERY_S)
    monkeypatch.setattr(connection, "close", lambda: None)  # it is the test's own


def worker() -> Any:
    queues = SimpleNamespace(consume_from={"extract": 1, "classify": 2})
    return SimpleNamespace(hostname="w@host", concurrency=2, app=SimpleNamespace(amqp=SimpleNamespace(queues=queues)))


def test_a_heartbeat_is_a_row_that_is_renewed_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    heartbeat.send()  # not set up yet
    assert not WorkerBeat.objects.exists()
    heartbeat.register(worker())
    heartbeat.send()
    first = WorkerBeat.objects.get()
    assert (first.name, first.queues, first.processes) == ("w@host", "classify,extract", 2)
    heartbeat.send()  # too soon
    assert WorkerBeat.objects.get().seen_at == first.seen_at
    monkeypatch.setattr(heartbeat, "_sent_at", heartbeat._sent_at - heartbeat.EVERY_S)
    heartbeat.send()
    again = WorkerBeat.objects.get()
    assert again.seen_at > first.seen_at
    assert again.started_at == first.started_at
    heartbeat.deregister()
    assert not WorkerBeat.objects.exists()


def test_a_database_that_is_gone_does_not_stop_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise DatabaseError("gone")

    monkeypatch.setattr(WorkerBeat.objects, "update_or_create", fail)
    heartbeat.register(worker())
    heartbeat.send()
    assert heartbeat._sent_at > 0  # it tried, and waits for its next turn


def test_what_killed_attempts_left_goes_while_the_worker_lives(
    monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path
) -> None:
    settings.VAR_DIR = tmp_path
    heartbeat.register(worker())

    def left(name: str, age_s: float) -> Path:
        folder = tmp_path / "work" / name
        folder.mkdir(parents=True)
        (folder / "original.mp4").write_bytes(b"somebody's video")
        os.utime(folder, (time.time() - age_s,) * 2)
        return folder

    def turn(after_s: float) -> None:
        monkeypatch.setattr(work_files, "_tidied_at", work_files._tidied_at - after_s)
        monkeypatch.setattr(heartbeat, "_sent_at", -heartbeat.EVERY_S)
        heartbeat.send()

    turn(2 * work_files.TIDY_EVERY_S)
    old, young = left("old", 2 * work_files.LEFTOVER_AGE_S), left("young", 60)
    turn(0)  # too soon
    assert old.exists()
    turn(2 * work_files.TIDY_EVERY_S)
    assert not old.exists()
    assert young.exists()


def test_a_work_folder_that_cannot_be_tidied_stops_no_worker(settings: Any, tmp_path: Path) -> None:
    settings.VAR_DIR = tmp_path / "file"
    settings.VAR_DIR.write_bytes(b"")
    work_files.remove_leftovers()


def test_a_probe_sees_the_loop_turn_without_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    heartbeat.register(worker())
    assert alive.age_s("w@host") is None
    monkeypatch.setattr(heartbeat, "_sent_at", time.monotonic())  # nothing is written this time
    heartbeat.send()
    assert not WorkerBeat.objects.exists()
    age = alive.age_s("w@host")
    assert age is not None
    assert age < 5
    alive.mark("w@host").touch()
    heartbeat.register(worker())  # another begins, where the last was killed
    assert alive.age_s("w@host") is None
    alive.mark("w@host").touch()
    heartbeat.deregister()
    heartbeat.send()  # a last heartbeat
    assert alive.age_s("w@host") is None
    assert not WorkerBeat.objects.exists()


@pytest.mark.parametrize(
    ("age_s", "arguments", "code", "said"),
    [
        (None, [], 1, "does not take messages"),
        (3, [], 0, "took messages 3 s ago"),
        (90, [], 1, "took messages 90 s ago"),
        (90, ["--within", "600"], 0, "took messages 90 s ago"),
        (3, ["--name", "other@%h"], 1, "other@"),
    ],
)
def test_what_the_probe_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], age_s: int | None, arguments: list[str],
    code: int, said: str,
) -> None:  # fmt: skip
    mark = alive.mark(f"celery@{socket.gethostname()}")
    mark.unlink(missing_ok=True)
    if age_s is not None:
        mark.touch()
        then = time.time() - age_s
        os.utime(mark, (then, then))
    monkeypatch.setattr(sys, "argv", ["alive", *arguments])
    assert alive.main() == code
    assert said in capsys.readouterr().out
    mark.unlink(missing_ok=True)
