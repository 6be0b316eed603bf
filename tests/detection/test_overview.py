"""Hours are counted once, days add up, drift is seen where there is some, silent workers are not alive."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from detection.models import (
    Analysis,
    DatasetVideo,
    HourFigures,
    ModelVersion,
    Review,
    State,
    Verdict,
    Video,
    WorkerBeat,
)
from detection.selectors import dashboard
from detection.services.ops import hourly_stats, worker_registry

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


class Past:
    """Videos that ended at a given time."""

    def __init__(self) -> None:
        self.owner = User.objects.create_user("client")
        self.model = ModelVersion.objects.create(name="m", sha256="0" * 64, file="m", threshold=0.5, active=True)
        self._n = 0

    def video(self, at: datetime, state: str = State.SUCCEEDED, score: float | None = None) -> Video:
        self._n += 1
        video = Video.objects.create(owner=self.owner, original_name="v", sha256=f"{self._n:064d}", size_bytes=1)
        verdict = None
        if score is not None:
            verdict = Verdict.objects.create(
                video=video, model_version=self.model, label="fake" if score >= 0.5 else "real",
                fake_probability=score, threshold=0.5, track=0, needs_review=score > 0.4,
            )  # fmt: skip
        failed = state in (State.FAILED, State.DEAD)
        Analysis.objects.create(
            video=video, state=state, finished_at=at, verdict=verdict, error_code="corrupt_video" if failed else ""
        )
        return video


@pytest.fixture
def past() -> Past:
    return Past()


def test_an_hour_is_counted_when_it_is_over_and_only_once(past: Past) -> None:
    past.video(NOON + timedelta(minutes=1), score=0.99)
    past.video(NOON + timedelta(minutes=2), score=0.05)
    past.video(NOON + timedelta(minutes=59), state=State.NO_FACE)
    past.video(NOON + timedelta(minutes=60), state=State.DEAD)
    of_set = past.video(NOON + timedelta(minutes=3))
    DatasetVideo.objects.create(video=of_set, dataset="s", path="p", label="real", identity="i")
    said = [
        Review.objects.create(video=of_set, reviewer=past.owner, label="real", created_at=NOON + timedelta(minutes=n))
        for n in (5, 6)
    ]
    # what was taken back is no decision, as in the count of today beside the chart
    Review.objects.create(video=of_set, reviewer=past.owner, undoes=said[0], created_at=NOON + timedelta(minutes=7))
    assert hourly_stats.count_hours(now=NOON + timedelta(minutes=61)) == 0  # somebody may still be at it
    assert hourly_stats.count_hours(now=NOON + timedelta(minutes=63)) == 1
    assert hourly_stats.count_hours(now=NOON + timedelta(minutes=64)) == 0
    row = HourFigures.objects.get()
    assert row.hour == NOON
    bins = row.figures["scores"].pop(str(past.model.pk))
    assert (sum(bins), bins[1], bins[19]) == (2, 1, 1)
    assert row.figures == {
        "states": {"succeeded": 2, "no_face": 1},
        "labels": {"fake": 1, "real": 1},
        "answers": 1,
        "needs_review": 1,
        "scores": {},
    }


def test_hours_that_nobody_counted_are_caught_up_in_batches(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hourly_stats, "BATCH", 10)
    past.video(NOON)
    now = NOON + timedelta(hours=15, minutes=5)
    assert [hourly_stats.count_hours(now=now) for _ in range(3)] == [10, 5, 0]
    assert HourFigures.objects.count() == 15


def test_days_add_counted_hours_and_the_open_one(past: Past, settings: Any, django_assert_max_num_queries: Any) -> None:
    settings.TIME_ZONE = "UTC"
    past.video(NOON - timedelta(days=1), score=0.9)
    past.video(NOON - timedelta(days=1), state=State.FAILED)
    past.video(NOON - timedelta(days=20), score=0.9)  # long ago
    while hourly_stats.count_hours(now=NOON + timedelta(minutes=30)):
        pass
    past.video(NOON + timedelta(minutes=10), score=0.1)
    with django_assert_max_num_queries(4):
        days, until = dashboard.days(now=NOON + timedelta(minutes=30))
    assert until == NOON
    assert len(days) == dashboard.DAYS
    assert [(day.day.day, dict(+day.outcomes)) for day in days if +day.outcomes] == [
        (3, {"fake": 1, "failed": 1}),
        (4, {"real": 1}),
    ]


def test_what_ended_before_midnight_is_yesterdays_also_while_its_hour_is_not_counted_yet(past: Past) -> None:
    """It stood with the new day, for an hour's worth, until the hour was counted."""
    midnight = NOON + timedelta(hours=12)
    past.video(midnight - timedelta(minutes=90), score=0.9)
    past.video(midnight - timedelta(minutes=30), score=0.9)
    past.video(midnight + timedelta(seconds=20), score=0.1)
    while hourly_stats.count_hours(now=midnight + timedelta(minutes=1)):
        pass
    days, until = dashboard.days(now=midnight + timedelta(minutes=1))
    assert until == midnight - timedelta(hours=1)
    assert [dict(+day.outcomes) for day in days[-2:]] == [{"fake": 2}, {"real": 1}]


def drifted(past: Past, before: list[int], now_bins: list[int], *, in_weights: bool) -> dashboard.Drift:
    now = timezone.now()
    if in_weights:
        past.model.metrics = {"score_bins": {"real": before, "fake": [0] * 20}}
    else:
        past.model.promoted_at = now - timedelta(days=30)
        HourFigures.objects.create(
            hour=now - timedelta(days=29), figures={"scores": {str(past.model.pk): before, "another": now_bins}}
        )
    HourFigures.objects.create(
        hour=now - timedelta(hours=5), figures={"scores": {str(past.model.pk): now_bins, "another": before}}
    )
    found = dashboard.drift(model=past.model, now=now)
    assert found is not None
    return found


FLAT = [20] * 20
HIGH = [0] * 10 + [40] * 10


@pytest.mark.parametrize("in_weights", [True, False])
def test_drift_is_said_where_the_scores_have_moved_and_not_where_they_have_not(past: Past, in_weights: bool) -> None:
    same = drifted(past, FLAT, FLAT, in_weights=in_weights)
    assert same.index == pytest.approx(0.0, abs=1e-9)
    assert "No drift" in same.sentence
    assert (same.n_now, same.n_before) == (400, 400)
    assert sum(same.now) == pytest.approx(1.0)


def test_scores_that_all_went_up_are_strong_drift(past: Past) -> None:
    moved = drifted(past, FLAT, HIGH, in_weights=True)
    assert moved.index is not None
    assert moved.index > dashboard.LARGE
    assert "Strong drift" in moved.sentence


def test_few_videos_or_a_young_model_are_not_compared(past: Past) -> None:
    few = drifted(past, FLAT, [1] * 20, in_weights=True)
    assert few.index is None
    assert "Too few" in few.sentence
    past.model.metrics, past.model.promoted_at = {}, timezone.now() - timedelta(days=3)
    young = dashboard.drift(model=past.model)
    assert young is not None
    assert young.index is None
    assert "two weeks" in young.sentence
    HourFigures.objects.all().delete()
    assert dashboard.drift(model=past.model) is None


def test_the_index_is_the_sum_of_its_parts() -> None:
    value = dashboard.stability_index([30, 70], [70, 30])
    a, b = 70.5 / 101, 30.5 / 101
    assert value == pytest.approx(2 * (a - b) * math.log(a / b))


def test_workers_count_while_they_give_signs_of_life() -> None:
    now = timezone.now()
    for name, queues, processes, seconds in (
        ("a", "extract,classify", 2, 5), ("b", "extract", 4, 5), ("c", "train", 1, 300), ("d", "extract", 8, 90_000),
    ):  # fmt: skip
        seen = now - timedelta(seconds=seconds)
        WorkerBeat.objects.create(name=name, queues=queues, processes=processes, seen_at=seen)
    alive = {queue.name: (queue.workers, queue.processes) for queue in dashboard.workers_alive(now=now)}
    assert alive == {"extract": (2, 6), "classify": (1, 2), "train": (0, 0), "maintenance": (0, 0), "webhooks": (0, 0)}
    assert worker_registry.delete_gone() == 1
