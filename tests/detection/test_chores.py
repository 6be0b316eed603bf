"""Chores of the sweep: one that fails or hangs costs the others nothing, and is seen."""

from __future__ import annotations

import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery.signals import worker_ready
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.utils import timezone

import worker.app  # noqa: F401  (its receivers)
from detection import dispatch
from detection.models import ChoreRun
from detection.selectors.chores import sweep_health
from detection.services.ops import chores
from detection.services.ops.chores import Chore
from detection.services.uploads import resumable
from worker import tasks

pytestmark = pytest.mark.django_db


def _fail() -> None:
    raise RuntimeError("the bucket does not answer")


def _hang() -> None:
    for _ in range(100):  # as a chore that tolerates a storage's errors, name by name
        try:
            time.sleep(30)
        except Exception:
            continue


def test_a_chore_that_fails_or_hangs_stops_none_that_follow() -> None:
    done: list[str] = []
    round_ = [
        Chore("first", lambda: done.append("first")),
        Chore("fails", _fail),
        Chore("hangs", _hang, budget_s=0.2),
        Chore("last", lambda: done.append("last")),
    ]
    started = time.monotonic()
    outcomes = {outcome.name: outcome.error for outcome in chores.run_all(round_)}
    assert time.monotonic() - started < 60
    assert done == ["first", "last"]
    assert outcomes["first"] == outcomes["last"] == ""
    assert outcomes["fails"].endswith("RuntimeError: the bucket does not answer\n")
    assert outcomes["hangs"] == "Cut short after 0.2 s."


def test_what_a_chore_had_begun_in_the_database_is_undone_when_it_is_cut_short() -> None:
    def begin_and_hang() -> None:
        from django.db import transaction

        with transaction.atomic():
            ChoreRun.objects.create(name="half done")
            _hang()

    chores.run(Chore("hangs", begin_and_hang, budget_s=0.2))
    assert not ChoreRun.objects.filter(name="half done").exists()


def test_failures_are_counted_and_the_round_is_noted() -> None:
    for _ in range(2):
        chores.run_all([Chore("fails", _fail), Chore("works", lambda: None)])
    failing, works = ChoreRun.objects.get(name="fails"), ChoreRun.objects.get(name="works")
    assert (failing.runs, failing.failures, failing.succeeded_at) == (2, 2, None)
    assert (works.runs, works.failures, works.last_error) == (2, 0, "")
    assert works.succeeded_at == works.ran_at
    health = sweep_health()
    assert not health.late
    assert [row.name for row in health.failing] == ["fails"]
    chores.run_all([Chore("fails", lambda: None)])
    assert sweep_health().failing == ()


def test_a_sweep_is_late_after_two_periods_and_when_there_was_none(settings: object) -> None:
    assert sweep_health().late
    settings.DFD_SWEEP_S = 30  # type: ignore[attr-defined]
    chores.run_all([])
    now = timezone.now()
    assert [sweep_health(now=now + timedelta(seconds=passed)).due for passed in (29, 31)] == [False, True]
    assert not sweep_health(now=now + timedelta(seconds=59)).late
    assert sweep_health(now=now + timedelta(seconds=61)).late


def test_a_round_that_the_database_was_not_told_of_is_soon_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[float] = []
    monkeypatch.setattr(tasks, "CHORES", [Chore("counts", lambda: rounds.append(time.monotonic()))])
    with monkeypatch.context() as away:
        away.setattr(chores, "_record", lambda outcomes: _fail())
        assert isinstance(tasks.sweep.apply().result, chores.NotRecordedError)
    assert len(rounds) == 3  # `apply` repeats at once; over a broker five seconds lie between
    assert tasks.sweep.default_retry_delay == 5
    tasks.sweep.apply(throw=True)
    assert not sweep_health().due


@pytest.mark.parametrize(
    ("queues", "swept_s_ago", "asks"),
    [
        (["extract", "maintenance"], None, True),
        (["maintenance"], 31, True),
        (["maintenance"], 29, False),
        (["extract"], None, False),
    ],
)
def test_a_worker_that_begins_catches_up_with_a_sweep_that_is_due(
    monkeypatch: pytest.MonkeyPatch, settings: Any, queues: list[str], swept_s_ago: float | None, asks: bool
) -> None:
    settings.DFD_SWEEP_S = 30
    if swept_s_ago is not None:
        ChoreRun.objects.create(name=chores.SWEEP, ran_at=timezone.now() - timedelta(seconds=swept_s_ago))
    asked: list[bool] = []
    monkeypatch.setattr(dispatch, "wake_sweeper", lambda: asked.append(True))
    monkeypatch.setattr(connection, "close", lambda: None)  # it is the test's

    class Worker:
        app = SimpleNamespace(amqp=SimpleNamespace(queues=SimpleNamespace(consume_from=queues)))

    worker_ready.send(sender=Worker())
    assert asked == [True] * asks


@pytest.mark.parametrize("name", ["lost+found", ".snapshot", "backup-2026", "A0EEBC999C0B4EF8BB6D6BB9BD380A11"])
def test_a_foreign_name_beside_the_uploads_is_left_alone_and_stops_nothing(name: str) -> None:
    default_storage.save(f"uploads/{name}/kept", ContentFile(b"x"))
    default_storage.save("uploads/a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11/0.part", ContentFile(b"x"))
    resumable.sweep()
    assert default_storage.listdir("uploads")[0] == [name]
    assert default_storage.exists(f"uploads/{name}/kept")
