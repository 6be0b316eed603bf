"""Machines whose clocks lie apart, and a clock that was put back: work is due, and a verdict is on its own faces."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from detection.models import HourFigures, ModelVersion, Stage, Video, Webhook, WebhookDelivery
from detection.services.jobs import analyses, cancellation, webhook_deliveries
from detection.services.learning import rescoring
from detection.services.ops import hourly_stats
from tests.detection.conftest import claimed, extraction, verdict

pytestmark = pytest.mark.django_db
Clock = Callable[[float], None]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Has the clock go wrong by so many seconds, from now on."""
    right = timezone.now

    def wrong_by(seconds: float) -> None:
        monkeypatch.setattr(timezone, "now", lambda: right() + timedelta(seconds=seconds))

    return wrong_by


def test_what_a_machine_queues_is_due_on_one_whose_clock_is_behind(
    video: Video, model: ModelVersion, tmp_path: Path, clock: Clock
) -> None:
    analysis = analyses.queue_analysis(video=video)
    clock(-2)
    claim = claimed(analysis)
    clock(0)
    analyses.finish_extraction(claim=claim, result=extraction(tmp_path))
    clock(-2)
    claim = claimed(analysis, Stage.CLASSIFY)
    analyses.release(claim=claim, error="It broke.")
    assert analyses.claim(analysis_id=analysis.id, stage=Stage.CLASSIFY, worker="host:1") is None, "a pause is one"


def test_a_delivery_is_due_on_a_machine_whose_clock_is_behind(video: Video, clock: Clock) -> None:
    webhook = Webhook.objects.create(
        owner=video.owner, url="https://example.org", not_before=timezone.now() - timedelta(minutes=1)
    )
    WebhookDelivery.objects.create(webhook=webhook, event="task.finished", video_id=video.pk, task_id=video.pk)
    clock(-2)
    claim = webhook_deliveries.claim(webhook_id=webhook.pk)
    assert claim is not None
    assert webhook_deliveries.next_due(claim=claim) is not None


@pytest.mark.parametrize("behind_s", [2.0, 3600.0])
def test_a_verdict_by_a_clock_that_is_behind_stays_when_another_task_is_cancelled(
    video: Video, model: ModelVersion, tmp_path: Path, clock: Clock, behind_s: float
) -> None:
    analysis = analyses.queue_analysis(video=video)
    analyses.finish_extraction(claim=claimed(analysis), result=extraction(tmp_path))
    analysis.not_before = timezone.now() - timedelta(days=1)  # (the sweep sees to that)
    analysis.save(update_fields=["not_before"])
    clock(-behind_s)
    analyses.finish_classification(claim=claimed(analysis, Stage.CLASSIFY), result=verdict(model))
    clock(0)
    again = analyses.queue_analysis(video=video)
    cancellation.cancel_analysis(analysis_id=again.id)
    video.refresh_from_db()
    assert (video.verdict_label, video.current_verdict is not None) == ("fake", True)


def test_new_faces_by_a_clock_that_was_put_back_outdate_the_verdict(
    video: Video, model: ModelVersion, tmp_path: Path, clock: Clock
) -> None:
    analysis = analyses.queue_analysis(video=video)
    analyses.finish_extraction(claim=claimed(analysis), result=extraction(tmp_path))
    analyses.finish_classification(claim=claimed(analysis, Stage.CLASSIFY), result=verdict(model))
    clock(-3600)
    again = analyses.queue_analysis(video=video, reuse_faces=False)
    again.not_before = timezone.now()
    again.save(update_fields=["not_before"])
    analyses.finish_extraction(claim=claimed(again), result=extraction(tmp_path))
    cancellation.cancel_analysis(analysis_id=again.id)
    video.refresh_from_db()
    assert (video.verdict_label, video.current_verdict) == ("", None), "it was on faces that are gone"


def test_rescored_verdicts_are_on_the_present_faces_by_a_clock_that_is_behind_too(
    video: Video, model: ModelVersion, tmp_path: Path, clock: Clock
) -> None:
    analysis = analyses.queue_analysis(video=video)
    analyses.finish_extraction(claim=claimed(analysis), result=extraction(tmp_path))
    cancellation.cancel_analysis(analysis_id=analysis.id)
    clock(-3600)
    batch = rescoring.next_batch(model=model, size=1)
    assert rescoring.store_verdicts(model=model, results=[(batch[0], verdict(model))]) == 1
    clock(0)
    cancellation.cancel_analysis(analysis_id=analyses.queue_analysis(video=video).id)
    video.refresh_from_db()
    assert video.verdict_label == "fake"


def test_hours_that_were_counted_by_a_clock_that_was_ahead_are_counted_when_they_are_over(
    video: Video, tmp_path: Path, clock: Clock
) -> None:
    now = timezone.now().replace(minute=30)
    HourFigures.objects.create(hour=hourly_stats.hour_of(now) - timedelta(hours=2), figures={})
    hourly_stats.count_hours(now=now + timedelta(days=1))
    assert HourFigures.objects.count() > 20
    hourly_stats.count_hours(now=now)
    assert HourFigures.objects.filter(hour__gte=hourly_stats.hour_of(now)).count() == 0
    analysis = analyses.queue_analysis(video=video)
    analyses.finish_failed(claim=claimed(analysis), code="corrupt_video", detail="It is.")
    analysis.refresh_from_db()
    assert analysis.finished_at is not None
    hour = hourly_stats.hour_of(analysis.finished_at)
    hourly_stats.count_hours(now=hour + timedelta(hours=1, minutes=5))
    assert HourFigures.objects.get(hour=hour).figures["states"] == {"failed": 1}
