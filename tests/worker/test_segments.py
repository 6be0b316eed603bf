"""A long video from its file to its rows, its answer over REST and its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from knox.models import AuthToken
from numpy.typing import NDArray

from detection import dispatch
from detection.models import Analysis, DatasetVideo, State, Verdict, VerdictLabel, Video
from detection.selectors import segments
from detection.services.jobs import analyses
from detection.services.learning import rescoring
from detection.services.ops import retention
from ml.model.decision import combine
from ml.video import probe
from tests.ml.clips import faces_of, write_clip
from tests.worker.test_runtime import analyse, register, upload
from worker import tasks
from worker.process import runtime

pytestmark = pytest.mark.django_db
FPS = 25
TITLE, SHOT = 160, 400
"""Frames.  A title that is longer than a segment hides who comes after it."""


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A title, one person, and two others."""
    black = np.zeros((180, 320, 3), np.uint8)
    shots = [
        [np.asarray(cv2.resize(frame, (320, 180)), np.uint8) for frame in faces_of(name)]
        for name in ("one-person.mp4", "two-people.mp4")
    ]

    def picture(number: int) -> NDArray[np.uint8]:
        shot, place = divmod(number - TITLE, SHOT)
        if number < TITLE:
            return black
        last = len(shots[shot]) - 1
        return shots[shot][last - abs(last - place % (2 * last))]  # to and fro, without a jump

    path = tmp_path_factory.mktemp("long") / "long.mp4"
    options = {"g": "50", "preset": "ultrafast", "bf": "2"}
    write_clip(path, frames=TITLE + 2 * SHOT, fps=FPS, picture=picture, options=options)
    return path.read_bytes()


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.VAR_DIR = tmp_path / "var"
    settings.MEDIA_ROOT = str(tmp_path / "media")
    monkeypatch.setattr(dispatch, "_publish", lambda task, args: True)
    monkeypatch.setattr(runtime, "_loaded", None)


def test_a_long_video_is_looked_at_in_segments_and_says_so(
    long_video: bytes, tmp_path: Path, settings: Any, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    settings.DFD_MAX_SEGMENTS = 3
    model = register(tmp_path, "m", seed=1)
    with django_capture_on_commit_callbacks(execute=True):
        analysis = analyse(upload(long_video))
    assert analysis.state == State.SUCCEEDED, analysis.last_error
    video = Video.objects.get()

    # --- the rows ---
    assert video.segments is not None
    assert video.segments[0] == {"start_s": 0.0, "end_s": 6.0, "clip": ""}
    assert len(video.segments) == 3, "the title, and each shot once"
    for part in video.segments[1:]:
        with av.open(default_storage.path(part["clip"])) as clip:
            assert sum(1 for _ in clip.decode(video=0)) >= 100
    faces = list(video.faces.order_by("track", "position"))
    assert {face.segment for face in faces} == {1, 2}
    people = {segment: sorted({face.track for face in faces if face.segment == segment}) for segment in (1, 2)}
    assert all(people.values())
    assert video.tracks == len({face.track for face in faces})
    for track in range(video.tracks):
        positions = [face.position for face in faces if face.track == track]
        assert positions == list(range(10 * sum(track in tracks for tracks in people.values())))
    for face in faces:
        part = video.segments[face.segment]
        assert part["start_s"] <= face.timestamp_s < part["end_s"]
        assert abs(face.frame_number / FPS - face.timestamp_s) < 1.5 / FPS

    verdict = Verdict.objects.get()
    assert verdict.segments is not None
    assert [part["segment"] for part in verdict.segments] == [1, 2]
    assert [[person["track"] for person in part["people"]] for part in verdict.segments] == list(people.values())
    assert verdict.fake_probability == combine([part["fake_probability"] for part in verdict.segments])
    for part in verdict.segments:
        assert part["fake_probability"] == max(person["fake_probability"] for person in part["people"])

    # --- over REST ---
    headers = {"Authorization": f"Token {AuthToken.objects.create(user=video.owner)[1]}"}
    for path in (f"/api/v1/videos/{video.pk}/", f"/api/v1/tasks/{analysis.pk}/"):
        body = Client().get(path, headers=headers).json()
        seen = body["coverage"]
        assert (seen["segments"], seen["duration_s"]) == (3, 38.4)
        assert seen["text"].startswith(f"Looked at: 3 parts, together {seen['seconds']:.0f} s of 38 s (")
        title, one, two = body["segments"]
        assert (title["start_s"], title["fake_probability"], title["people"]) == (0.0, None, [])
        assert one["fake_probability"] == pytest.approx(verdict.segments[0]["fake_probability"])
        assert [person["track"] for person in two["people"]] == people[2]
        for part in body["segments"]:
            answer = Client().get(part["clip"], headers=headers)
            assert (answer.status_code, answer["Content-Type"]) == (200, "video/mp4")
    other = {"Authorization": f"Token {AuthToken.objects.create(user=User.objects.create(username='other'))[1]}"}
    assert Client().get(two["clip"], headers=other).status_code == 404
    assert Client().get(two["clip"].replace("/2/", "/3/"), headers=headers).status_code == 404
    listed = Client().get(f"/api/v1/videos/{video.pk}/faces/?page_size=100", headers=headers).json()["results"]
    assert {face["segment"] for face in listed} == {1, 2}

    # --- the same verdict from the stored faces ---
    Video.objects.update(current_verdict=None)
    Verdict.objects.all().delete()
    assert runtime.rescore_batch(model, rescoring.next_batch(model=model, size=5)) == (1, [])
    again = Verdict.objects.get()
    assert again.fake_probability == pytest.approx(verdict.fake_probability, abs=1e-6)
    assert [part["segment"] for part in again.segments or ()] == [1, 2]


def test_looked_at_once_more_with_one_segment_it_is_what_it_was(
    long_video: bytes, tmp_path: Path, settings: Any, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    register(tmp_path, "m", seed=1)
    settings.DFD_MAX_SEGMENTS = 2
    video = upload(long_video)
    with django_capture_on_commit_callbacks(execute=True):
        analyse(video)
    video.refresh_from_db()
    assert video.segments is not None
    names = [part["clip"] for part in video.segments[1:]]
    assert all(default_storage.exists(name) for name in names)

    settings.DFD_MAX_SEGMENTS = 1
    with django_capture_on_commit_callbacks(execute=True):
        analysis = analyses.queue_analysis(video=video, reuse_faces=False)
        tasks.extract_faces(str(analysis.pk))
    analysis.refresh_from_db()
    video.refresh_from_db()
    assert (analysis.state, video.segments) == (State.NO_FACE, None)
    assert not any(default_storage.exists(name) for name in names)


def test_a_data_sets_video_is_looked_at_where_its_label_is_known_to_hold(long_video: bytes) -> None:
    video = upload(long_video)
    DatasetVideo.objects.create(video=video, dataset="set", path="a.mp4", label=VerdictLabel.REAL, identity="a")
    analysis = analyses.queue_analysis(video=video)
    tasks.extract_faces(str(analysis.pk))
    video.refresh_from_db()
    assert (Analysis.objects.get().state, video.segments) == (State.NO_FACE, None)


def test_the_retention_policy_takes_the_clips_of_all_segments(
    settings: Any, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    video = upload(b"original")
    name = default_storage.save(f"{video.folder}/{'a' * 32}/segments/01.mp4", ContentFile(b"clip"))
    part = {"start_s": 60.0, "end_s": 66.0, "clip": name}
    Video.objects.update(
        segments=[{"start_s": 0.0, "end_s": 6.0, "clip": ""}, part], created_at="2020-01-01T00:00:00Z",
        status=State.SUCCEEDED,
    )  # fmt: skip
    settings.DFD_KEEP_ORIGINALS_DAYS = 30
    with django_capture_on_commit_callbacks(execute=True):
        retention.apply()
    video.refresh_from_db()
    assert video.segments == [{"start_s": 0.0, "end_s": 6.0, "clip": ""}, part | {"clip": ""}]
    assert not default_storage.exists(name)


def test_a_file_without_a_frame_rate_has_the_same_one_here_and_there() -> None:
    assert segments.USUAL_FPS == probe.USUAL_FPS
