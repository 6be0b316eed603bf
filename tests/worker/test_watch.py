"""The last resort against a work that is stuck where no signal is heard."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sized
from typing import Any

import pytest

from ml.resource_limits import OverLimit
from tests.ml.test_limits import spin
from worker.stages import watchdog


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What would have been killed by now."""
    kills: list[tuple[int, int]] = []
    monkeypatch.setattr(watchdog, "_may_be_killed", True)
    monkeypatch.setattr(watchdog, "GRACE_S", 0.2)
    monkeypatch.setattr(watchdog, "LOOK_S", 0.05)
    monkeypatch.setattr("worker.stages.watchdog.os.kill", lambda pid, number: kills.append((pid, number)))
    return kills


def wait_until(said: Sized) -> None:
    deadline = time.monotonic() + 60
    while not said and time.monotonic() < deadline:
        time.sleep(0.02)


class Clock:
    """Stands for the module `time` in the watchdog, which sees it move only when the test says so."""

    def __init__(self) -> None:
        self.now, self.looks = 0.0, 0

    def monotonic(self) -> float:
        self.looks += 1
        return self.now

    def process_time(self) -> float:
        return 0.0

    def go_on(self, seconds: float) -> None:
        """Move once it has been looked at (the first look is the beginning), and return when that was seen too."""
        self._wait_for_looks(2)  # a watchdog that has just ended may have had the first
        self.now += seconds
        self._wait_for_looks(2)

    def _wait_for_looks(self, more: int) -> None:
        enough, deadline = self.looks + more, time.monotonic() + 60
        while self.looks < enough and time.monotonic() < deadline:
            time.sleep(0.01)


def test_what_outlasts_its_time_is_given_up_with_a_sentence_and_killed(
    settings: Any, killed: list[tuple[int, int]]
) -> None:
    settings.DFD_TASK_SOFT_LIMIT_S = 1
    said: list[str] = []
    with watchdog.file_budget(said.append):
        wait_until(killed)
    assert said[0] == "It took longer than 1 s."
    assert killed[0] == (os.getpid(), signal.SIGKILL)


def test_it_is_killed_even_if_the_database_does_not_answer(settings: Any, killed: list[tuple[int, int]]) -> None:
    settings.DFD_TASK_SOFT_LIMIT_S = 1

    def fail(sentence: str) -> None:
        raise RuntimeError("no database")

    with watchdog.file_budget(fail):
        wait_until(killed)
    assert killed[0] == (os.getpid(), signal.SIGKILL)


def test_work_within_its_limits_is_left_alone(
    settings: Any, killed: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DFD_TASK_SOFT_LIMIT_S = 1
    clock = Clock()
    monkeypatch.setattr(watchdog, "time", clock)
    said: list[str] = []
    for _ in range(3):
        with watchdog.file_budget(said.append):
            clock.go_on(0.6)
    assert (said, killed) == ([], [])
    with watchdog.file_budget(said.append):
        clock.go_on(1.3)
        wait_until(killed)
    assert set(said) == {"It took longer than 1 s."}


def test_a_process_that_nobody_would_replace_is_never_killed(
    settings: Any, killed: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "_may_be_killed", False)
    settings.DFD_TASK_SOFT_LIMIT_S = 1
    said: list[str] = []
    with watchdog.file_budget(said.append):
        time.sleep(1.5)
    assert (said, killed) == ([], [])


def test_the_limits_are_the_settings(settings: Any) -> None:
    settings.DFD_TASK_CPU_S = 1
    with pytest.raises(OverLimit, match="more than 1 s of processor time"), watchdog.file_budget(lambda sentence: None):
        spin(20)


def test_work_that_nobody_wants_any_more_and_that_does_not_notice_is_killed(killed: list[tuple[int, int]]) -> None:
    said: list[str] = []
    with watchdog.file_budget(said.append, lost_for_s=lambda: 60.0):
        wait_until(killed)
    assert said[0] == "It was cancelled, or given to another worker, and did not stop."
    assert killed[0] == (os.getpid(), signal.SIGKILL)
