"""A second look at a real file: it finds whom the first one missed, and every verdict on those faces says so."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from django.contrib.auth.models import Permission, User

from detection.models import Analysis, State, Verdict, Video
from detection.services.jobs import analyses
from detection.services.learning import registry, rescoring
from detection.services.reviews.rescan import request_rescan, rescanned
from tests.ml.clips import faces_of, write_clip
from tests.worker.test_runtime import analyse, register, upload
from worker import tasks
from worker.process import runtime

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_state", "silent_broker")]


@pytest.fixture
def reviewer(db: None) -> User:
    user = User.objects.create_user("reviewer")
    user.user_permissions.add(Permission.objects.get(codename="add_review"))
    return user


def passer_by(path: Path) -> bytes:
    """Somebody is in the picture for 5 frames of 80: too short to be its subject."""
    face = [np.asarray(cv2.resize(frame, (320, 180)), dtype=np.uint8) for frame in faces_of("one-person.mp4")[:5]]
    empty = np.full((180, 320, 3), 80, np.uint8)
    frames = [empty] * 40 + face + [empty] * 35
    return write_clip(path, frames=80, picture=lambda n: frames[n]).read_bytes()


def look(video: Video, reviewer: User) -> Analysis:
    analysis = request_rescan(video=video, by=reviewer)
    tasks.extract_faces(str(analysis.pk))
    tasks.classify_video(str(analysis.pk))
    analysis.refresh_from_db()
    return analysis


def test_it_finds_somebody_who_passes_by_and_all_models_verdicts_say_how(tmp_path: Path, reviewer: User) -> None:
    first = register(tmp_path, "first", seed=1)
    video = upload(passer_by(tmp_path / "clip.mp4"))
    assert analyse(video).state == State.NO_FACE
    analysis = look(video, reviewer)
    assert (analysis.state, analysis.sensitive) == (State.SUCCEEDED, True), analysis.last_error
    video.refresh_from_db()
    assert (video.status, video.tracks, video.needs_review) == (State.SUCCEEDED, 1, True)
    assert [face.frame_number for face in video.faces.all()] == [40, 41, 42, 43, 44]
    verdict = Verdict.objects.get(model_version=first)
    assert (verdict.needs_review, "sensitive_faces" in verdict.review_reasons) == (True, True)

    # a later model, from the stored faces, by both ways
    second = register(tmp_path, "second", seed=2)
    (stored,) = rescoring.next_batch(model=second, size=5)
    assert runtime.rescore_batch(second, [stored]) == (1, [])
    assert "sensitive_faces" in Verdict.objects.get(model_version=second).review_reasons
    again = analyses.queue_analysis(video=video)
    tasks.classify_video(str(again.pk))
    assert (again.sensitive, Verdict.objects.count()) == (False, 2)
    assert "sensitive_faces" in Verdict.objects.get(model_version=second).review_reasons
    registry.rollback()
    (stored,) = rescoring.next_batch(model=first, size=5)
    assert stored.verdict == verdict


def test_faces_found_as_usual_are_not_marked(tmp_path: Path) -> None:
    register(tmp_path, "m", seed=1)
    face = [np.asarray(cv2.resize(frame, (320, 180)), dtype=np.uint8) for frame in faces_of("one-person.mp4")[:20]]
    path = write_clip(tmp_path / "face.mp4", frames=20, picture=lambda n: face[n])
    assert analyse(upload(path.read_bytes())).state == State.SUCCEEDED
    assert "sensitive_faces" not in Verdict.objects.get().review_reasons


def test_where_there_is_nobody_it_finds_nobody(tmp_path: Path, reviewer: User) -> None:
    register(tmp_path, "m", seed=1)
    video = upload(write_clip(tmp_path / "none.mp4", frames=6).read_bytes())
    assert analyse(video).state == State.NO_FACE
    analysis = look(video, reviewer)
    assert (analysis.state, analysis.sensitive) == (State.NO_FACE, True)
    assert rescanned(video)
    assert video.sampled_frames.count() >= 1
