"""Chores of the sweep: one that fails or hangs costs the others nothing, and is seen."""

from __future__ import annotations

import operator
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from detection.models import ChoreRun
from detection.selectors.chores import sweep_health
from detection.services.ops import chores
from detection.services.ops.chores import Chore
from detection.services.uploads import resumable
from worker import tasks

pytestmark = pytest.mark.django_db
BEGAN = datetime(2026, 7, 1, tzinfo=UTC)


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
    assert [sweep_health(now=now + timedelta(seconds=passed)).due for passed in (22, 23)] == [False, True]
    assert not sweep_health(now=now + timedelta(seconds=59)).late
    assert sweep_health(now=now + timedelta(seconds=61)).late


def test_after_the_clock_was_put_back_a_sweep_is_late_and_made_at_the_next_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounds: list[bool] = []
    monkeypatch.setattr(tasks, "CHORES", [Chore("counts", lambda: rounds.append(True))])
    ChoreRun.objects.create(name=chores.SWEEP, ran_at=timezone.now() + timedelta(hours=6))
    assert (sweep_health().due, sweep_health().late) == (True, True)
    for _ in range(2):
        tasks.sweep.apply(kwargs={"if_due": True}, throw=True)
    assert rounds == [True]
    assert (sweep_health().due, sweep_health().late) == (False, False)


def test_of_beats_turns_one_in_a_period_sweeps_and_a_lost_one_costs_a_third(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.DFD_SWEEP_S = 30
    beat = settings.CELERY_BEAT_SCHEDULE["sweep"]
    assert beat["schedule"] * 3 == beat["options"]["expires"]
    rounds: list[int] = []

    def swept_after(*turns_s: int, lost: Sequence[int] = (), unrecorded: Sequence[int] = ()) -> list[int]:
        ChoreRun.objects.all().delete()
        rounds.clear()
        for at in turns_s:
            monkeypatch.setattr(tasks, "CHORES", [Chore("counts", partial(rounds.append, at))])
            monkeypatch.setattr(timezone, "now", partial(operator.add, BEGAN, timedelta(seconds=at)))
            if at not in lost:
                with monkeypatch.context() as away:
                    if at in unrecorded:
                        away.setattr(chores, "_record", lambda outcomes: _fail())
                    tasks.sweep.apply(kwargs=beat["kwargs"], throw=True)
        return list(rounds)

    turns = range(0, 100, 10)
    assert swept_after(*turns) == [0, 30, 60, 90]
    assert swept_after(*turns, lost=[30]) == [0, 40, 70]
    assert swept_after(*turns, unrecorded=[30]) == [0, 30, 40, 70]
    assert swept_after(0, 10, 20, 29, 39, 49, 59) == [0, 29, 59]  # beat began anew, a second before a turn


def test_who_asks_for_a_sweep_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    chores.run_all([])
    rounds: list[bool] = []
    monkeypatch.setattr(tasks, "CHORES", [Chore("counts", lambda: rounds.append(True))])
    tasks.sweep.apply(throw=True)
    assert rounds == [True]


@pytest.mark.parametrize("name", ["lost+found", ".snapshot", "backup-2026", "A0EEBC999C0B4EF8BB6D6BB9BD380A11"])
def test_a_foreign_name_beside_the_uploads_is_left_alone_and_stops_nothing(name: str) -> None:
    default_storage.save(f"uploads/{name}/kept", ContentFile(b"x"))
    default_storage.save("uploads/a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11/0.part", ContentFile(b"x"))
    resumable.sweep()
    assert default_storage.listdir("uploads")[0] == [name]
    assert default_storage.exists(f"uploads/{name}/kept")
