"""The lease protocol, the same for every kind of job: whoever holds the token may go on, and nobody else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from detection import dispatch
from detection.models import Analysis, EvidenceJob, EvidenceKind, TrainingRun, Video
from detection.models.leasing import LeasedJob
from detection.services.jobs import analyses, evidence, sweeper, training_runs
from detection.services.jobs.leases import JobClaim, LeaseLost
from tests.detection.conftest import Doorbell

KINDS = ("analysis", "evidence", "training run")


@dataclass
class Job:
    """A queued job of one kind, and the module that moves it."""

    model: type[LeasedJob]
    id: UUID
    module: Any
    take: Callable[[], JobClaim | None]
    wake: Callable[[], bool]

    @property
    def row(self) -> Any:
        return self.model._default_manager.get(pk=self.id)

    def change(self, **changes: Any) -> None:
        self.model._default_manager.filter(pk=self.id).update(**changes)

    def expire(self) -> None:
        self.change(lease_until=timezone.now() - timedelta(seconds=1))

    def claim(self) -> JobClaim:
        if isinstance(self.row, Analysis):
            self.change(not_before=timezone.now())  # a backoff is over
        claim = self.take()
        assert claim is not None
        return claim


@pytest.fixture(params=KINDS)
def job(request: pytest.FixtureRequest, video: Video) -> Job:
    if request.param == "analysis":
        pk = analyses.queue_analysis(video=video).pk
        return Job(
            Analysis, pk, analyses,
            take=lambda: analyses.claim(analysis_id=pk, stage="extract", worker="w"),
            wake=lambda: dispatch.wake(analysis_id=pk, stage="extract"),
        )  # fmt: skip
    if request.param == "evidence":
        pk = EvidenceJob.objects.create(video=video, kind=EvidenceKind.PREVIEW, requested_by=video.owner).pk
        return Job(
            EvidenceJob, pk, evidence,
            take=lambda: evidence.claim(job_id=pk),
            wake=lambda: dispatch.wake_evidence(job_id=pk, kind=EvidenceKind.PREVIEW),
        )  # fmt: skip
    pk = training_runs.request_run(options={}, by=User.objects.get(), publish=False).pk
    return Job(
        TrainingRun, pk, training_runs,
        take=lambda: training_runs.claim(run_id=pk, worker="w"),
        wake=lambda: dispatch.wake_trainer(run_id=pk),
    )  # fmt: skip


def test_one_holds_it_until_the_lease_runs_out_and_then_only_the_next(job: Job) -> None:
    first = job.claim()
    assert job.take() is None
    job.module.heartbeat(claim=first, progress=1)
    job.expire()
    second = job.claim()
    assert (second.id, second.attempt) == (first.id, first.attempt + 1)
    for late in (
        lambda: job.module.heartbeat(claim=first, progress=1),
        lambda: job.module.release(claim=first, error="late"),
        lambda: job.module.release(claim=first, error="late", counts=False),
        lambda: job.module.finish_failed(claim=first, code="late", detail="late"),
    ):
        with pytest.raises(LeaseLost):
            late()
    job.module.heartbeat(claim=second, progress=1)
    assert (job.row.state, job.row.token, job.row.last_error) == ("running", second.token, "")


def test_an_attempt_given_back_counts_until_there_are_none_left(job: Job, settings: Any) -> None:
    for attempt in range(1, settings.DFD_MAX_ATTEMPTS + 1):
        job.module.release(claim=job.claim(), error=f"broke {attempt}")
        ended = attempt == settings.DFD_MAX_ATTEMPTS
        assert (job.row.state in ("failed", "dead"), job.row.attempts, job.row.token) == (ended, attempt, None)
        assert job.row.last_error == f"broke {attempt}"
    assert job.row.finished_at is not None
    assert job.take() is None


def test_what_is_not_the_jobs_fault_does_not_count_however_often(job: Job, settings: Any) -> None:
    for _ in range(settings.DFD_MAX_ATTEMPTS + 1):
        job.module.release(claim=job.claim(), error="disk full", counts=False, wait_s=60)
    assert (job.row.state, job.row.attempts, job.row.token) == ("queued", 0, None)


def test_who_tells_a_worker_writes_down_when(job: Job, doorbell: Doorbell) -> None:
    job.change(published_at=None)
    doorbell.down = True
    assert not job.wake()
    assert job.row.published_at is None
    doorbell.down = False
    assert job.wake()
    assert job.row.published_at is not None


def test_what_was_held_or_made_before_the_clock_was_put_back_waits_for_no_time_to_come_again(
    job: Job, doorbell: Doorbell
) -> None:
    later = timezone.now() + timedelta(hours=6)
    claim = job.claim()
    job.change(lease_until=later)
    sweeper.clamp_future_timestamps()
    assert job.row.token == claim.token  # its worker may be alive, and has a lease's time to say so
    assert job.row.lease_until < timezone.now() + timedelta(minutes=2)
    job.module.release(claim=claim, error="x", counts=False)
    for told in (None, later):
        job.change(created_at=later, published_at=told)
        doorbell.rung.clear()
        sweeper.clamp_future_timestamps()
        if told is None:
            (sweeper if job.model is Analysis else job.module).sweep()
            assert len(doorbell.rung) == 1
        assert job.row.published_at <= timezone.now()
