"""The two stages on real files, and the model that a process keeps."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage, Storage, default_storage

from detection.models import Analysis, ModelVersion, Stage, State, Verdict, Video
from detection.services.jobs import analyses
from detection.services.learning import registry
from ml.faces.extract import Extraction
from ml.model.inference import Classifier, TrackScore
from ml.model.weights import read_info
from ml.video.probe import VideoInfo
from tests.ml.clips import write_clip
from tests.ml.test_still import beside_a_poster
from tests.weights import save_tiny
from worker import tasks
from worker.process import runtime
from worker.process.lease_heartbeat import LeaseHeartbeat
from worker.stages import images, watchdog
from worker.stages.extracted import extraction_result

CLIPS = Path(__file__).resolve().parents[2] / "demo" / "clips"

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_state", "silent_broker")]


def test_what_was_not_judged_is_handed_on() -> None:
    info = VideoInfo(container="mp4", codec="h264", width=64, height=48, rotation=0, fps=30.0, duration_s=5.0)
    found = Extraction(
        info=info, frames_decoded=40, tracks=(), sampled_frames=(), thumbnail=np.zeros((48, 64, 3), np.uint8),
        timings={}, frames_claimed=150, people_left_out=2,
    )  # fmt: skip
    result = extraction_result(found, [None], trim_s=0.0)
    assert (result.facts.frames_claimed, result.facts.truncated, result.people_left_out) == (150, True, 2)


def upload(content: bytes, name: str = "original.mp4") -> Video:
    owner, _ = User.objects.get_or_create(username="owner")
    video = Video(owner=owner, original_name=name, sha256="0" * 64, size_bytes=max(1, len(content)))
    video.file.name = default_storage.save(f"{video.folder}/{name}", ContentFile(content))
    video.save()
    return video


def register(tmp_path: Path, name: str, seed: int) -> ModelVersion:
    path = tmp_path / f"{name}.safetensors"
    sha256 = save_tiny(path, name=name, seed=seed)
    info = read_info(path)
    return registry.register_model(
        file=path, name=name, sha256=sha256, config=info.config.to_dict(), metrics={}, threshold=info.threshold,
        temperature=info.temperature, experimental=True, training_data_sha256="", activate=True,
    )  # fmt: skip


def analyse(video: Video) -> Analysis:
    """Both stages, as the two messages would have them done."""
    analysis = analyses.queue_analysis(video=video)
    tasks.extract_faces(str(analysis.id))
    tasks.classify_video(str(analysis.id))
    return Analysis.objects.get(id=analysis.id)


def test_a_video_becomes_faces_and_a_verdict_and_a_new_model_is_taken_up_without_a_restart(tmp_path: Path) -> None:
    first = register(tmp_path, "first", seed=1)
    video = upload((CLIPS / "two-people.mp4").read_bytes())
    analysis = analyse(video)
    assert analysis.state == State.SUCCEEDED, analysis.last_error
    verdict = Verdict.objects.get()
    assert verdict.model_version == first
    faces = list(video.faces.all())
    assert [(face.track, face.position) for face in faces] == [(t, i) for t in (0, 1) for i in range(10)]
    named = [frame["face"] for person in verdict.people for frame in person["frames"]]
    assert named == [str(face.id) for face in faces]
    crop = cv2.imread(faces[0].crop.path)
    assert crop is not None
    assert crop.shape == (224, 224, 3)
    video.refresh_from_db()
    assert cv2.imread(video.thumbnail.path) is not None
    assert str(video.clip.name).endswith(".mp4")
    assert (video.tracks, video.codec) == (2, "h264")

    second = register(tmp_path, "second", seed=2)
    again = analyses.queue_analysis(video=video)
    tasks.classify_video(str(again.id))
    newest = Verdict.objects.get(model_version=second)
    assert newest.fake_probability != verdict.fake_probability
    assert list(video.faces.all()) == faces


def test_what_the_commit_sets_off_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket deletes a file in some 50 ms, and a long video has had hundreds of faces before."""
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(watchdog, "_may_be_killed", True)
    monkeypatch.setattr(watchdog, "GRACE_S", 0.2)
    monkeypatch.setattr(watchdog, "LOOK_S", 0.05)
    monkeypatch.setattr("worker.stages.watchdog.os.kill", lambda pid, number: killed.append((pid, number)))
    monkeypatch.setattr(runtime, "abort_stuck", lambda *_: None)  # it would wait for this test's transaction
    monkeypatch.setattr(LeaseHeartbeat, "lost_for_s", lambda self: 100.0 if ended else 0.0)
    ended: list[Analysis] = []
    finish = analyses.finish_no_face

    def slow(**given: Any) -> None:
        finish(**given)
        ended.append(Analysis.objects.get())
        time.sleep(0.5)  # ten looks of the watchdog's

    monkeypatch.setattr(analyses, "finish_no_face", slow)
    video = upload((CLIPS / "no-face.mp4").read_bytes())
    tasks.extract_faces(str(analyses.queue_analysis(video=video).id))
    assert [analysis.state for analysis in ended] == [State.NO_FACE]
    assert killed == []


def test_a_still_picture_is_stored_as_one_told_and_decides_nothing_while_somebody_alive_is_there(
    tmp_path: Path,
) -> None:
    register(tmp_path, "m", seed=1)
    video = upload(beside_a_poster(tmp_path / "poster.mp4").read_bytes())
    analysis = analyse(video)
    assert analysis.state == State.SUCCEEDED, analysis.last_error
    talks, poster = sorted((0, 1), key=lambda track: video.faces.filter(track=track)[0].x1)
    assert set(video.faces.values_list("track", "still")) == {(talks, False), (poster, True)}
    verdict = Verdict.objects.get()
    told = {person["track"]: person for person in verdict.people}
    assert {track: person.get("still", False) for track, person in told.items()} == {talks: False, poster: True}
    assert (verdict.track, verdict.fake_probability) == (talks, told[talks]["fake_probability"])


def test_stored_crops_are_the_very_pixels_that_are_scored(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    name = default_storage.save("crop.png", ContentFile(images.encode(".png", image)))
    assert np.array_equal(images.read_crop(name), image)


def test_a_video_without_a_face_keeps_frames_for_a_person(tmp_path: Path) -> None:
    path = tmp_path / "short.mp4"
    write_clip(path, frames=6)
    analysis = analyse(upload(path.read_bytes()))
    assert analysis.state == State.NO_FACE, analysis.last_error
    frames = analysis.video.sampled_frames.all()
    assert len(frames) >= 1
    assert all(cv2.imread(frame.image.path) is not None for frame in frames)


def test_bytes_that_are_no_video_fail_with_a_code_at_the_first_attempt() -> None:
    analysis = analyse(upload(b"hello" * 100))
    assert (analysis.state, analysis.error_code, analysis.attempts) == (State.FAILED, "not_a_video", 1)


def test_a_file_that_storage_has_lost_is_not_called_a_bad_video() -> None:
    video = upload(b"x")
    default_storage.delete(str(video.file.name))
    analysis = analyse(video)
    assert (analysis.state, analysis.attempts) == (State.QUEUED, 1)
    assert "storage has no" in analysis.last_error


def test_weights_that_cannot_be_loaded_are_not_the_videos_fault(tmp_path: Path) -> None:
    model = register(tmp_path, "broken", seed=1)
    video = upload((CLIPS / "one-person.mp4").read_bytes())
    default_storage.delete(str(model.file.name))
    analysis = analyse(video)
    assert (analysis.state, analysis.stage, analysis.attempts) == (State.QUEUED, Stage.CLASSIFY, 1)
    assert "The model 'broken' cannot be loaded" in analysis.last_error


def test_no_model_at_all_lets_the_task_wait_without_an_attempt(tmp_path: Path) -> None:
    register(tmp_path, "short-lived", seed=1)
    analysis = analyses.queue_analysis(video=upload((CLIPS / "one-person.mp4").read_bytes()))
    tasks.extract_faces(str(analysis.id))
    ModelVersion.objects.update(active=False)
    tasks.classify_video(str(analysis.id))
    analysis.refresh_from_db()
    assert (analysis.state, analysis.stage, analysis.attempts) == (State.QUEUED, Stage.AWAITING_MODEL, 0)


def test_too_little_memory_is_met_once_with_smaller_batches() -> None:
    asked: list[int] = []

    class Tight:
        def score(self, crops: object, *, batch_frames: int = 64) -> list[TrackScore]:
            asked.append(batch_frames)
            if batch_frames > 8:
                raise MemoryError
            return [TrackScore(0.5, (0.5,))]

    tight: Any = Tight()
    assert runtime._score(tight, []) == [TrackScore(0.5, (0.5,))]
    assert asked == [64, runtime.SMALL_BATCH]


class RemoteStorage(Storage):
    """As S3's: files can be opened, but have no path."""

    def __init__(self) -> None:
        self._disk = FileSystemStorage()

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        return self._disk.open(name, mode)

    def _save(self, name: str, content: File[bytes]) -> str:
        return self._disk.save(name, content)

    def delete(self, name: str) -> None:
        self._disk.delete(name)

    def exists(self, name: str) -> bool:
        return self._disk.exists(name)

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        return self._disk.listdir(path)

    def size(self, name: str) -> int:
        return self._disk.size(name)


def test_it_works_on_a_storage_that_has_no_local_paths(tmp_path: Path, settings: Any) -> None:
    settings.STORAGES = settings.STORAGES | {"default": {"BACKEND": f"{__name__}.RemoteStorage"}}
    register(tmp_path, "m", seed=1)
    analysis = analyse(upload((CLIPS / "one-person.mp4").read_bytes()))
    assert analysis.state == State.SUCCEEDED, analysis.last_error
    with pytest.raises(NotImplementedError):
        default_storage.path("anything")
    assert list((tmp_path / "var" / "work").iterdir()) == []


def test_the_model_is_loaded_once_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = register(tmp_path, "m", seed=1)
    assert runtime.load_classifier(model) is runtime.load_classifier(model)
    assert isinstance(runtime.load_classifier(model), Classifier)
    assert runtime.load_classifier(model).onnx is not None, "in ONNX Runtime"
