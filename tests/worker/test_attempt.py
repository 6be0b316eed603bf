"""One attempt: every way in which the work can end, and what becomes of the task."""

from __future__ import annotations

import errno
import threading
import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.contrib.auth.models import User
from django.db import OperationalError
from django.utils import timezone

from detection import dispatch
from detection.models import Analysis, Stage, State, Video
from detection.services.jobs import analyses
from detection.services.jobs.analyses import AnalysisClaim
from detection.services.jobs.leases import LeaseLost
from ml.resource_limits import OverLimit
from worker.process.lease_heartbeat import LeaseHeartbeat
from worker.stages import attempt
from worker.stages.attempt import BadInput, NotNow


@pytest.fixture
def analysis(db: None, monkeypatch: pytest.MonkeyPatch) -> Analysis:
    monkeypatch.setattr(dispatch, "_publish", lambda task, args: True)
    owner = User.objects.create_user("owner")
    video = Video.objects.create(owner=owner, original_name="a.mp4", sha256="a" * 64, size_bytes=1, file="a")
    return analyses.queue_analysis(video=video)


def run(analysis: Analysis, error: BaseException) -> Analysis:
    def work(claim: AnalysisClaim, heart: LeaseHeartbeat) -> None:
        raise error

    attempt.run(str(analysis.id), Stage.EXTRACT, work)
    return Analysis.objects.get(id=analysis.id)


def test_bad_input_fails_with_its_code(analysis: Analysis) -> None:
    row = run(analysis, BadInput("corrupt_video", "It breaks off."))
    assert (row.state, row.error_code, row.error_detail) == (State.FAILED, "corrupt_video", "It breaks off.")


@pytest.mark.parametrize(
    "error", [ValueError("odd"), MemoryError(), SoftTimeLimitExceeded(), NotNow("No model."), OperationalError("x")]
)
def test_what_is_not_the_files_fault_is_tried_again_later(analysis: Analysis, error: Exception) -> None:
    row = run(analysis, error)
    assert (row.state, row.attempts) == (State.QUEUED, 1)
    assert row.not_before > timezone.now()
    assert type(error).__name__ in row.last_error


def test_a_full_disk_ends_no_task_however_often_it_is_tried(analysis: Analysis) -> None:
    for _ in range(5):
        Analysis.objects.update(not_before=timezone.now())
        row = run(analysis, OSError(errno.ENOSPC, "No space left on device", "/media/x"))
        assert (row.state, row.attempts) == (State.QUEUED, 0)
        assert row.not_before > timezone.now() + timedelta(seconds=30)  # no loop
        assert "No space left" in row.last_error


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (SoftTimeLimitExceeded(), "It took longer than 300 s."),
        (MemoryError(), "It needed more memory than there is."),
        (
            OverLimit("too_much_cpu", "It needed more than 9 s of processor time."),
            "It needed more than 9 s of processor time.",
        ),
        (NotNow("The model 'm' cannot be loaded."), "The model 'm' cannot be loaded."),
        (ValueError("/secret/path"), "An unexpected error occurred each time."),
    ],
)
def test_the_last_attempt_ends_with_a_sentence_without_secrets(
    analysis: Analysis, error: Exception, sentence: str
) -> None:
    for _ in range(3):
        Analysis.objects.update(not_before=timezone.now())
        row = run(analysis, error)
    assert (row.state, row.error_code) == (State.DEAD, "gave_up")
    assert row.error_detail == f"Given up after 3 attempts. {sentence}"


def test_a_worker_that_is_stopped_gives_the_work_back_uncounted(analysis: Analysis) -> None:
    with pytest.raises(SystemExit):
        run(analysis, SystemExit(1))
    analysis.refresh_from_db()
    assert (analysis.state, analysis.attempts) == (State.QUEUED, 0)


def test_a_duplicate_message_does_nothing(analysis: Analysis) -> None:
    ran: list[str] = []

    def work(claim: AnalysisClaim, heart: LeaseHeartbeat) -> None:
        ran.append("once")
        attempt.run(str(analysis.id), Stage.EXTRACT, lambda claim, heart: ran.append("twice"))
        analyses.finish_failed(claim=claim, code="x", detail="")

    attempt.run(str(analysis.id), Stage.EXTRACT, work)
    attempt.run(str(analysis.id), Stage.EXTRACT, lambda claim, heart: ran.append("again"))
    assert ran == ["once"]


@pytest.mark.django_db(transaction=True)
def test_the_heart_beats_through_a_long_silence(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.DFD_LEASE_S = 0.3
    beats: list[int] = []
    enough = threading.Event()

    def heartbeat(*, claim: AnalysisClaim, progress: int) -> None:
        beats.append(progress)
        if len(beats) >= 3:
            enough.set()

    monkeypatch.setattr(analyses, "heartbeat", heartbeat)
    with LeaseHeartbeat(make_claim(), analyses) as heart:
        heart(7)
        assert enough.wait(60)
    count = len(beats)
    time.sleep(0.3)
    assert len(beats) <= count + 1
    assert set(beats) == {7}


@pytest.mark.django_db(transaction=True)
def test_work_learns_at_its_next_progress_that_its_lease_is_lost(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DFD_LEASE_S = 0.15

    def lost(*, claim: AnalysisClaim, progress: int) -> None:
        raise LeaseLost

    monkeypatch.setattr(analyses, "heartbeat", lost)

    def work(heart: LeaseHeartbeat) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            heart(1)
            time.sleep(0.02)

    with LeaseHeartbeat(make_claim(), analyses) as heart, pytest.raises(LeaseLost):
        work(heart)


def test_progress_is_written_at_most_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[int] = []
    monkeypatch.setattr(analyses, "heartbeat", lambda *, claim, progress: beats.append(progress))
    now = 0.0
    monkeypatch.setattr("worker.process.lease_heartbeat.time", SimpleNamespace(monotonic=lambda: now))
    heart = LeaseHeartbeat(make_claim(), analyses)
    for percent in range(100):
        now += 0.03
        heart(percent)
    assert len(beats) == 2


def make_claim() -> AnalysisClaim:
    from uuid import uuid4

    return AnalysisClaim(uuid4(), uuid4(), 1, uuid4(), Stage.EXTRACT)
