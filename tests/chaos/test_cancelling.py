"""The short form of `python -m tests.chaos.cancelling`."""

from __future__ import annotations

import pytest

from tests.chaos.cancelling import cancel_some

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(900)]


def test_cancelled_at_random_moments_no_task_is_left_running_or_half_stored() -> None:
    report = cancel_some(tasks=8, cancel=4)
    assert report["faults_found"] == {}
    assert sum(report["states"].values()) == 8
    assert report["states"]["cancelled"] >= 1  # that one before a worker is there
