"""Publishing, over the real embedded broker."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
import redis
import structlog
from celery.app.task import Context
from celery.signals import task_prerun

import worker.app  # noqa: F401  (its receivers)
from detection import dispatch
from detection.models import Stage
from worker.process import embedded_broker


def messages(folder: Path, queue: str) -> list[dict[str, object]]:
    raw = redis.Redis(unix_socket_path=str(folder / "valkey.sock")).lrange(queue, 0, -1)
    return [json.loads(message) for message in raw]


@pytest.mark.django_db
def test_a_message_is_json_and_carries_an_id_only(embedded: Path) -> None:
    embedded_broker.ensure()
    analysis_id = uuid4()
    assert dispatch.wake(analysis_id=analysis_id, stage=Stage.EXTRACT)
    (message,) = messages(embedded, "extract")
    assert message["content-type"] == "application/json"
    assert message["headers"]["task"] == "worker.tasks.extract_faces"  # type: ignore[index]
    assert str(analysis_id) in message["headers"]["argsrepr"]  # type: ignore[index]
    assert dispatch.backlog(stage=Stage.EXTRACT) == 1
    assert dispatch.backlog(stage=Stage.CLASSIFY) == 0


@pytest.mark.django_db
@pytest.mark.parametrize("background", [False, True])
def test_the_id_of_the_request_goes_along_and_is_in_the_log_lines_of_the_task(
    embedded: Path, monkeypatch: pytest.MonkeyPatch, background: bool
) -> None:
    embedded_broker.ensure()
    monkeypatch.setattr(dispatch, "_background", background)
    with structlog.contextvars.bound_contextvars(request_id="of the upload"):
        dispatch.wake_sweeper()
    dispatch._waiting.join()
    monkeypatch.setattr(dispatch, "_background", False)
    dispatch.wake_sweeper()  # nobody's request
    plain, ours = (dict(message["headers"]) for message in messages(embedded, "maintenance"))  # type: ignore[call-overload]
    assert "dfd_request_id" not in plain

    task = SimpleNamespace(request=Context(ours))  # as Celery makes it of a message
    try:
        task_prerun.send(sender=None, task_id="1", task=task, args=(), kwargs={})
        assert structlog.contextvars.get_contextvars() == {"request_id": "of the upload"}
        task_prerun.send(sender=None, task_id="2", task=SimpleNamespace(request=Context(plain)))
        assert structlog.contextvars.get_contextvars() == {}
    finally:
        structlog.contextvars.clear_contextvars()


@pytest.mark.django_db
def test_without_a_broker_it_says_no_at_once_and_afterwards_publishes_again(embedded: Path) -> None:
    embedded_broker.ensure()
    assert dispatch.wake_sweeper()
    embedded_broker.stop()
    started = time.monotonic()
    assert not dispatch.wake_sweeper()
    assert dispatch.backlog(stage=Stage.EXTRACT) is None
    assert time.monotonic() - started < 30
    embedded_broker.ensure()
    assert dispatch.wake_sweeper()
    assert len(messages(embedded, "maintenance")) == 2


def test_a_stage_that_waits_for_a_model_wakes_nobody(embedded: Path) -> None:
    assert dispatch.wake(analysis_id=uuid4(), stage=Stage.AWAITING_MODEL)


def test_in_a_web_process_a_slow_broker_costs_the_request_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()
    sent: list[str] = []

    def slow(task: str, args: list[str]) -> bool:
        let_go.wait(600)
        sent.append(task)
        return True

    monkeypatch.setattr(dispatch, "_publish", slow)
    monkeypatch.setattr(dispatch, "_background", True)
    started = time.monotonic()
    answers = [dispatch.wake_sweeper() for _ in range(dispatch.BACKGROUND_QUEUE_SIZE + 5)]
    assert time.monotonic() - started < 60
    assert answers.count(False) >= 4  # bounded: the sweeper sees to the rest
    let_go.set()
    dispatch._waiting.join()
    assert len(sent) == answers.count(True)


def test_the_web_process_publishes_in_the_background() -> None:
    code = "import dfdsite.wsgi; from detection import dispatch; print(dispatch._background)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.strip() == "True"


def test_the_web_processes_collector_leaves_alone_what_was_loaded() -> None:
    code = "import gc; import dfdsite.wsgi; print(gc.get_freeze_count() > 10 * len(gc.get_objects()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.strip() == "True"
