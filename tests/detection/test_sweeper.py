"""The sweeper: what a dead worker held comes back, what was never published is published, and not more."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from detection import dispatch
from detection.models import (
    Analysis,
    ChoreRun,
    EvidenceJob,
    EvidenceKind,
    ModelVersion,
    ResumableUpload,
    ReviewClaim,
    ShadowTrial,
    Stage,
    State,
    Video,
    Webhook,
    WebhookDelivery,
)
from detection.services.jobs import analyses as jobs
from detection.services.jobs import sweeper
from tests.detection.conftest import Doorbell, MakeVideo, claimed, extraction

pytestmark = pytest.mark.django_db

LONG_AGO = timedelta(hours=1)


def abandoned(analysis: Analysis, *, attempts: int = 1) -> None:
    claimed(analysis)
    Analysis.objects.filter(id=analysis.id).update(lease_until=timezone.now() - LONG_AGO, attempts=attempts)


def age(analysis: Analysis, **fields: Any) -> None:
    Analysis.objects.filter(id=analysis.id).update(created_at=timezone.now() - LONG_AGO, **fields)


def test_work_of_a_dead_worker_is_queued_again_with_a_backoff(video: Video) -> None:
    analysis = jobs.queue_analysis(video=video)
    abandoned(analysis)
    report = sweeper.sweep()
    assert (report.given_back, report.given_up) == (1, 0)
    analysis.refresh_from_db()
    video.refresh_from_db()
    assert (analysis.state, analysis.token, video.status) == (State.QUEUED, None, State.QUEUED)
    assert analysis.not_before > timezone.now()
    assert "host:1" in analysis.last_error


def test_a_file_that_killed_three_workers_is_given_up(video: Video) -> None:
    analysis = jobs.queue_analysis(video=video)
    abandoned(analysis, attempts=3)
    report = sweeper.sweep()
    assert (report.given_back, report.given_up) == (0, 1)
    analysis.refresh_from_db()
    assert (analysis.state, analysis.error_code) == (State.DEAD, "gave_up")
    assert analysis.error_detail.startswith("Given up after 3 attempts.")


def test_work_under_a_living_lease_is_left_alone(video: Video, doorbell: Doorbell) -> None:
    analysis = jobs.queue_analysis(video=video)
    claimed(analysis)
    age(analysis, not_before=timezone.now() - LONG_AGO)
    assert sweeper.sweep() == sweeper.SweepReport(0, 0, 0, 0, False)
    assert doorbell.rung == []


def test_a_row_that_was_never_published_is_published_once(video: Video, doorbell: Doorbell) -> None:
    analysis = jobs.queue_analysis(video=video)
    age(analysis)
    assert sweeper.sweep().published == 1
    assert sweeper.sweep().published == 0
    assert doorbell.rung == [("worker.tasks.extract_faces", [str(analysis.id)])]


def test_a_row_in_its_backoff_is_not_published(video: Video, doorbell: Doorbell) -> None:
    analysis = jobs.queue_analysis(video=video)
    age(analysis, not_before=timezone.now() + timedelta(seconds=30))
    assert sweeper.sweep().published == 0


def test_while_the_broker_is_down_a_sweep_ends_at_the_first_refusal(make_video: MakeVideo, doorbell: Doorbell) -> None:
    for _ in range(3):
        age(jobs.queue_analysis(video=make_video()))
    doorbell.down = True
    report = sweeper.sweep()
    assert (report.published, report.more) == (0, False)
    doorbell.down = False
    assert sweeper.sweep().published == 3


def test_a_message_that_the_broker_lost_is_published_again(
    make_video: MakeVideo, doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyses = [jobs.queue_analysis(video=make_video()) for _ in range(3)]
    for analysis in analyses:
        age(analysis, published_at=timezone.now() - LONG_AGO, not_before=timezone.now() - LONG_AGO)
    monkeypatch.setattr(dispatch, "backlog", lambda *, stage: 2 if stage == Stage.EXTRACT else 0)
    assert sweeper.sweep().published == 1


def test_what_else_waits_in_the_queue_hides_no_message_that_was_lost(
    make_video: MakeVideo, doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysis = jobs.queue_analysis(video=make_video())
    age(analysis, published_at=timezone.now() - LONG_AGO, not_before=timezone.now() - LONG_AGO)
    previewed = make_video()
    EvidenceJob.objects.create(video=previewed, kind=EvidenceKind.PREVIEW, published_at=timezone.now())
    monkeypatch.setattr(dispatch, "backlog", lambda *, stage: 1)
    assert sweeper.sweep().published == 1
    assert doorbell.rung == [("worker.tasks.extract_faces", [str(analysis.id)])]


def test_a_long_queue_is_not_doubled_by_republishing(
    make_video: MakeVideo, doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        age(jobs.queue_analysis(video=make_video()), published_at=timezone.now() - LONG_AGO)
    monkeypatch.setattr(dispatch, "backlog", lambda *, stage: 3)
    assert sweeper.sweep().published == 0


def test_waiting_tasks_go_on_once_a_model_is_active(video: Video, doorbell: Doorbell, tmp_path: Path) -> None:
    analysis = jobs.queue_analysis(video=video)
    jobs.finish_extraction(claim=claimed(analysis), result=extraction(tmp_path))
    age(analysis)
    assert sweeper.sweep().models_found == 0
    ModelVersion.objects.create(name="m", sha256="b" * 64, file="m", threshold=0.5, active=True)
    report = sweeper.sweep()
    assert (report.models_found, report.published) == (1, 1)
    assert doorbell.rung == [("worker.tasks.classify_video", [str(analysis.id)])]
    assert claimed(analysis, Stage.CLASSIFY)


def test_a_full_batch_asks_for_another_sweep(make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "BATCH", 2)
    for _ in range(3):
        age(jobs.queue_analysis(video=make_video()))
    assert sweeper.sweep().more
    assert not sweeper.sweep().more


def test_a_sweep_reads_open_rows_through_their_own_index(video: Video) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("the query plan's wording is SQLite's")
    running = Analysis.objects.filter(state=State.RUNNING, lease_until__lt=timezone.now()).order_by("not_before")
    due = Analysis.objects.filter(state=State.QUEUED, stage=Stage.EXTRACT, not_before__lte=timezone.now())
    for rows in (running, due.order_by("not_before")):
        assert "USING INDEX analysis_" in rows.explain(), rows.explain()
        assert "SCAN" not in rows.explain()


def test_after_the_clock_was_put_back_nothing_waits_for_the_old_time_to_come_again(
    make_video: MakeVideo, doorbell: Doorbell
) -> None:
    held, paused, told = (jobs.queue_analysis(video=make_video()) for _ in range(3))
    claimed(held)
    later = timezone.now() + LONG_AGO
    Analysis.objects.filter(id=held.id).update(lease_until=later)
    age(paused, not_before=later, published_at=None)
    age(told, not_before=timezone.now(), published_at=later)
    sweeper.sweep()
    for row in (held, paused, told):
        row.refresh_from_db()
    assert held.state == State.RUNNING  # its worker may be alive, and has a lease's time to say so
    assert held.lease_until is not None
    assert held.lease_until < timezone.now() + timedelta(minutes=2)
    assert paused.not_before <= timezone.now()
    assert paused.published_at is not None  # published by this very sweep
    assert told.published_at is not None
    assert told.published_at <= timezone.now()
    assert sweeper.clamp_future_timestamps() == 0


def test_what_others_than_analyses_hold_ends_in_time_too_after_the_clock_was_put_back(video: Video) -> None:
    now = timezone.now()
    later, owner = now + 6 * LONG_AGO, video.owner
    model = ModelVersion.objects.create(name="m", sha256="b" * 64, file="m", threshold=0.5)
    trial = ShadowTrial.objects.create(model_version=model, state=State.RUNNING, token=uuid4(), lease_until=later)
    hook = Webhook.objects.create(
        owner=owner, url="https://a.test/", token=uuid4(), lease_until=later, not_before=later
    )
    delivery = WebhookDelivery.objects.create(webhook=hook, video_id=video.pk, task_id=uuid4(), not_before=later)
    told = Webhook.objects.create(owner=owner, url="https://b.test/", doorbell=uuid4(), told_at=later)
    claim = ReviewClaim.objects.create(video=video, token=uuid4(), reviewer=owner, until=later)
    upload = ResumableUpload.objects.create(owner=owner, length=1, holder=uuid4(), held_until=later)
    assert sweeper.clamp_future_timestamps(everywhere=False) == 0
    ChoreRun.objects.create(name="sweep", ran_at=now)
    sweeper.sweep()
    claim.refresh_from_db()
    assert claim.until == later, "the last sweep does not lie ahead: nothing was put back"
    assert sweeper.clamp_future_timestamps() == 7
    for row in (trial, hook, told, delivery, claim, upload):
        row.refresh_from_db()
    assert hook.not_before < now + LONG_AGO
    assert delivery.not_before < now + LONG_AGO
    assert told.told_at is not None
    assert told.told_at < now + LONG_AGO
    for until in (trial.lease_until, hook.lease_until, claim.until, upload.held_until):
        assert until is not None
        assert now < until < now + LONG_AGO
    assert sweeper.clamp_future_timestamps() == 0
    ReviewClaim.objects.update(until=later)
    ChoreRun.objects.update(ran_at=later)
    sweeper.sweep()
    claim.refresh_from_db()
    assert claim.until < now + LONG_AGO


def test_times_that_are_set_in_earnest_are_left_alone(video: Video) -> None:
    analysis = jobs.queue_analysis(video=video)
    jobs.release(claim=claimed(analysis), error="x", counts=False, wait_s=60)
    assert sweeper.clamp_future_timestamps() == 0
    Analysis.objects.update(not_before=timezone.now())
    jobs.release(claim=claimed(analysis), error="x")
    assert sweeper.clamp_future_timestamps() == 0


def test_however_many_attempts_are_allowed_the_pauses_stay_within_an_hour(settings: Any) -> None:
    settings.DFD_MAX_ATTEMPTS = 1000
    assert jobs.backoff_s(1) == settings.DFD_BACKOFF_S
    assert jobs.backoff_s(2) == 2 * settings.DFD_BACKOFF_S
    assert jobs.backoff_s(1000) == 3600
    assert sweeper.sweep() == sweeper.SweepReport(0, 0, 0, 0, False)
