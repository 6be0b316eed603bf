"""A worker whose task is cancelled under its hands, at every step of a real analysis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from detection.models import Analysis, FaceFrame, State, Verdict, Video
from detection.services.jobs import analyses, attempt_files
from detection.services.jobs.analyses import EXTRACTED_PERCENT
from detection.services.jobs.cancellation import cancel_analysis
from tests.worker.test_runtime import register
from worker import tasks
from worker.process.lease_heartbeat import LeaseHeartbeat

CLIP = (Path(__file__).resolve().parents[2] / "demo" / "clips" / "one-person.mp4").read_bytes()
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_state", "silent_broker")]


def queued(number: int) -> Analysis:
    owner, _ = User.objects.get_or_create(username="owner")
    video = Video(owner=owner, original_name="a.mp4", sha256=f"{number:064x}", size_bytes=len(CLIP))
    video.file.name = default_storage.save(f"{video.folder}/original.mp4", ContentFile(CLIP))
    video.save()
    return analyses.queue_analysis(video=video)


def run(analysis: Analysis) -> None:
    """Both messages, as a worker gets them."""
    tasks.extract_faces(str(analysis.id))
    tasks.classify_video(str(analysis.id))


@pytest.fixture
def cancel_from(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], list[float]]:
    """Have the first progress report of at least so many percent cancel its task; returns the reports so far.

    Each report asks the database, as it does where the last one was a second ago.
    """
    reports: list[float] = []
    threshold = 101.0
    real = LeaseHeartbeat.__call__

    def report(self: LeaseHeartbeat, progress: float) -> None:
        reports.append(progress)
        if progress >= threshold:
            cancel_analysis(analysis_id=self.claim.id)
        self._written_at = float("-inf")
        real(self, progress)

    def plan(percent: float) -> list[float]:
        nonlocal threshold
        reports.clear()
        threshold = percent
        return reports

    monkeypatch.setattr(LeaseHeartbeat, "__call__", report)
    return plan


def test_at_whatever_step_it_is_cancelled_the_worker_stops_there_and_nothing_is_half_stored(
    tmp_path: Path, cancel_from: Callable[[float], list[float]], django_capture_on_commit_callbacks: Any
) -> None:
    register(tmp_path, "tiny", seed=1)
    for number, percent in enumerate((0, 40, EXTRACTED_PERCENT - 5, EXTRACTED_PERCENT, EXTRACTED_PERCENT + 10)):
        reports = cancel_from(percent)
        with django_capture_on_commit_callbacks(execute=True):
            run(analysis := queued(number))
        assert [report >= percent for report in reports] == [False] * (len(reports) - 1) + [True]  # and none after it
        row = Analysis.objects.get(id=analysis.id)
        assert (row.state, row.error_code, row.token) == (State.CANCELLED, "cancelled", None)
        assert Video.objects.get(id=row.video_id).status == State.CANCELLED
        assert not Verdict.objects.filter(video=row.video_id).exists()
        extracted = percent >= EXTRACTED_PERCENT
        assert FaceFrame.objects.filter(video=row.video_id).exists() == extracted
        folders, files = default_storage.listdir(f"videos/{row.video_id}")
        assert (len(folders), files) == (int(extracted), ["original.mp4"])
    assert list((tmp_path / "var" / "work").iterdir()) == []


def test_files_in_the_middle_of_being_stored_go_with_the_cancelled_task(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    analysis, real = queued(1), attempt_files.store

    def store(*arguments: Any) -> Any:
        stored = real(*arguments)
        cancel_analysis(analysis_id=analysis.id)
        return stored

    monkeypatch.setattr(attempt_files, "store", store)
    with django_capture_on_commit_callbacks(execute=True):
        tasks.extract_faces(str(analysis.id))
    assert Analysis.objects.get().state == State.CANCELLED
    assert not FaceFrame.objects.exists()
    assert default_storage.listdir(f"videos/{analysis.video_id}") == ([], ["original.mp4"])
