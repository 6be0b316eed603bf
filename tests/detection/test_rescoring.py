"""Rescoring in batches: constant queries, nothing counted twice, nothing stored on faces that are gone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from detection.models import FaceFrame, ModelVersion, Verdict, Video
from detection.services.jobs import analyses
from detection.services.learning import registry, rescoring
from detection.services.learning.rescoring import StoredVideo
from tests.detection.conftest import verdict
from tests.learning import register_blind, stored_video

pytestmark = pytest.mark.django_db


def answers(batch: list[StoredVideo], model: ModelVersion) -> list[tuple[StoredVideo, Any]]:
    return [(stored, verdict(model)) for stored in batch]


def test_a_batch_takes_as_many_queries_for_three_videos_as_for_twelve(tmp_path: Path) -> None:
    model = register_blind(tmp_path)
    for number in range(12):
        stored_video(number, fake=False)
    counts = []
    for size in (3, 9):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            batch = rescoring.next_batch(model=model, size=size)
            assert rescoring.store_verdicts(model=model, results=answers(batch, model)) == size
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_the_video_shows_the_new_verdict_and_storing_a_batch_again_changes_nothing(tmp_path: Path) -> None:
    model = register_blind(tmp_path)
    video = stored_video(1, fake=True)
    batch = rescoring.next_batch(model=model, size=5)
    assert rescoring.store_verdicts(model=model, results=answers(batch, model)) == 1
    video.refresh_from_db()
    assert (video.verdict_label, video.fake_probability, video.needs_review) == ("fake", 0.9, True)
    first = Verdict.objects.get()
    assert video.current_verdict == first
    assert rescoring.store_verdicts(model=model, results=answers(batch, model)) == 0
    assert Verdict.objects.get() == first
    assert rescoring.next_batch(model=model, size=5) == []


def on_faces(batch: list[StoredVideo], model: ModelVersion, probability: float) -> list[tuple[StoredVideo, Any]]:
    found = []
    for stored in batch:
        frames = [{"face": str(face.id)} for _, run in stored.people for face in run]
        people = [{"track": 0, "fake_probability": probability, "frames": frames}]
        found.append((stored, replace(verdict(model, probability), people=people)))
    return found


def test_after_a_rollback_the_earlier_verdict_is_shown_again_and_only_a_verdict_on_other_faces_is_made_anew(
    tmp_path: Path,
) -> None:
    first = register_blind(tmp_path)
    same, changed = (stored_video(number, fake=True) for number in range(2))
    batch = rescoring.next_batch(model=first, size=5)
    assert rescoring.store_verdicts(model=first, results=on_faces(batch, first, 0.9)) == 2
    second = register_blind(tmp_path, active=False, seed=1)
    registry.activate_model(model=second)
    batch = rescoring.next_batch(model=second, size=5)
    assert rescoring.store_verdicts(model=second, results=on_faces(batch, second, 0.1)) == 2
    FaceFrame.objects.filter(video=changed, position=0).delete()
    registry.rollback()
    assert rescoring.outdated(model=first).count() == 2
    batch = rescoring.next_batch(model=first, size=5)
    assert {stored.video_id for stored in batch if stored.verdict} == {same.id}
    anew = on_faces([stored for stored in batch if not stored.verdict], first, 0.8)
    results = [*((stored, None) for stored in batch if stored.verdict), *anew]
    assert rescoring.store_verdicts(model=first, results=results) == 2
    assert rescoring.outdated(model=first).count() == 0
    for video, probability in ((same, 0.9), (changed, 0.8)):
        video.refresh_from_db()
        assert video.current_verdict is not None
        assert video.current_verdict.model_version == first
        assert (video.verdict_label, video.fake_probability) == ("fake", probability)
    assert Verdict.objects.count() == 4
    assert rescoring.store_verdicts(model=first, results=results) == 0


def test_videos_that_changed_meanwhile_are_left_alone(tmp_path: Path) -> None:
    model = register_blind(tmp_path)
    gone, busy, changed = (stored_video(number, fake=True) for number in range(3))
    batch = rescoring.next_batch(model=model, size=5)
    assert len(batch) == 3
    Video.objects.filter(id=gone.id).delete()
    analyses.queue_analysis(video=busy)
    FaceFrame.objects.filter(video=changed, position=0).delete()
    assert rescoring.store_verdicts(model=model, results=answers(batch, model)) == 0


def test_verdicts_of_a_model_that_is_no_longer_active_are_not_wanted(tmp_path: Path) -> None:
    model = register_blind(tmp_path)
    stored_video(1, fake=True)
    batch = rescoring.next_batch(model=model, size=5)
    registry.activate_model(model=register_blind(tmp_path, active=False, seed=1))
    assert rescoring.store_verdicts(model=model, results=answers(batch, model)) == 0
    assert not Verdict.objects.exists()
