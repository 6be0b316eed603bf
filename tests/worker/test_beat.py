"""Beat, when the clock is put back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from worker.app import app
from worker.beat import Scheduler

HOUR = timedelta(hours=1)


class Clock:
    """What beat goes by."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = datetime(2026, 7, 1, tzinfo=UTC)
        monkeypatch.setattr(Celery, "now", lambda _: self.now)


def _beat(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Scheduler, list[Any]]:
    beat, sent = Scheduler(app, schedule_filename=str(folder / "schedule")), []
    monkeypatch.setattr(Scheduler, "producer", None)  # else it waits for a broker
    monkeypatch.setattr(beat, "apply_async", lambda entry, **_: sent.append(entry.name))
    return beat, sent


def _sweeps_within_a_period(beat: Scheduler, clock: Clock, sent: list[Any]) -> int:
    sent.clear()
    for _ in range(60):
        clock.now += timedelta(seconds=1)
        while beat.tick() == 0:
            pass
    return sent.count("sweep")


@pytest.mark.parametrize("begun_anew", [False, True], ids=["running", "begun anew"])
def test_beat_waits_for_no_time_to_come_again(
    begun_anew: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    beat, sent = _beat(tmp_path, monkeypatch)
    before = _sweeps_within_a_period(beat, clock, sent)
    assert before >= 5
    clock.now -= 6 * HOUR
    if begun_anew:
        beat.close()
        beat, sent = _beat(tmp_path, monkeypatch)
    assert _sweeps_within_a_period(beat, clock, sent) >= before - 1
    beat.close()


def test_it_is_the_one_that_is_started() -> None:
    assert app.conf.beat_scheduler == "worker.beat:Scheduler"
