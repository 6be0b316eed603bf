"""Heat maps and previews by the real tasks: a tiny model's file, real clips, and the ways in which they can end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core.files.storage import default_storage

from detection.models import EvidenceJob, EvidenceKind, ModelVersion, State, Video
from detection.services.jobs import evidence as evidence_jobs
from detection.services.jobs.leases import LeaseLost
from ml.model import heatmap
from ml.video.decode import decode
from tests.ml.clips import quadrants, write_clip
from tests.worker.test_runtime import CLIPS, analyse, register, upload
from worker import tasks
from worker.process import runtime
from worker.stages import evidence, images

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_state", "silent_broker")]


@pytest.fixture
def maria(db: None) -> User:
    return User.objects.create_user("maria")


@pytest.fixture
def model(tmp_path: Path) -> ModelVersion:
    return register(tmp_path, "first", seed=1)


def ask(video: Video, kind: EvidenceKind, by: User) -> EvidenceJob:
    """Asked for, and done by the task that the message would name."""
    job = evidence_jobs.request(video=Video.objects.get(pk=video.pk), kind=kind, by=by)
    (tasks.make_heatmaps if kind == EvidenceKind.HEATMAPS else tasks.make_preview)(str(job.id))
    job.refresh_from_db()
    return job


def evidence_files(video: Video) -> list[Path]:
    root = Path(default_storage.path(video.folder))
    return [path for kind in ("heatmaps", "preview") for path in (root / kind).rglob("*") if path.is_file()]


def test_every_face_of_every_person_gets_a_picture_of_the_size_of_its_crop(maria: User, model: ModelVersion) -> None:
    video = upload((CLIPS / "two-people.mp4").read_bytes())
    assert analyse(video).state == State.SUCCEEDED
    job = ask(video, EvidenceKind.HEATMAPS, maria)
    assert (job.state, job.last_error) == (State.SUCCEEDED, "")
    assert job.result["model"] == model.sha256
    names = evidence_jobs.heatmap_names(Video.objects.get(pk=video.pk))
    assert set(names) == {str(face.id) for face in video.faces.all()}
    assert len(names) == 20
    for name in names.values():
        picture = cv2.imread(default_storage.path(name))
        assert picture is not None
        assert picture.shape == (224, 224, 3)
    face = video.faces.earliest("track", "position")
    shown = images.read_crop(names[str(face.id)])
    assert 0 < np.abs(shown.astype(int) - images.read_crop(str(face.crop.name))).mean() < 80  # the face, coloured


def test_the_maps_are_of_the_verdicts_model_and_the_active_one_stays_loaded(
    tmp_path: Path, maria: User, model: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = upload((CLIPS / "one-person.mp4").read_bytes())
    analyse(video)
    active = register(tmp_path, "second", seed=2)
    loaded = runtime.load_classifier(active)
    used: list[str] = []
    real = heatmap.face_heatmaps

    def note(classifier: Any, crops: Any) -> Any:
        used.append(classifier.info.name)
        return real(classifier, crops)

    monkeypatch.setattr(heatmap, "face_heatmaps", note)
    job = ask(video, EvidenceKind.HEATMAPS, maria)
    assert (job.result["model"], used) == (model.sha256, ["first"])
    assert runtime.load_classifier(active) is loaded


def test_weights_that_cannot_be_loaded_are_tried_again_and_then_given_up(maria: User, model: ModelVersion) -> None:
    video = upload((CLIPS / "one-person.mp4").read_bytes())
    analyse(video)
    runtime._loaded = None
    default_storage.delete(str(model.file.name))
    for cached in (Path(default_storage.path("")).parent / "var" / "cache").iterdir():
        cached.unlink()
    assert [ask(video, EvidenceKind.HEATMAPS, maria).state for _ in range(3)] == ["queued", "queued", "failed"]
    job = EvidenceJob.objects.get()
    assert job.error_detail.startswith("Given up after 3 attempts. The model 'first' cannot be loaded")
    assert evidence_files(video) == []


def test_a_video_that_lost_its_verdict_meanwhile_fails_with_a_sentence(maria: User, model: ModelVersion) -> None:
    video = upload((CLIPS / "one-person.mp4").read_bytes())
    analyse(video)
    job = evidence_jobs.request(video=Video.objects.get(pk=video.pk), kind=EvidenceKind.HEATMAPS, by=maria)
    Video.objects.update(current_verdict=None)
    tasks.make_heatmaps(str(job.id))
    job.refresh_from_db()
    assert (job.state, job.attempts) == (State.FAILED, 1)
    assert job.error_detail == "No model has judged faces of this video any more."


def test_a_clip_that_browsers_refuse_becomes_one_that_they_play(tmp_path: Path, maria: User) -> None:
    path = write_clip(tmp_path / "part2.mp4", codec="mpeg4", frames=160)
    video = upload(path.read_bytes())
    job = ask(video, EvidenceKind.PREVIEW, maria)
    assert job.state == State.SUCCEEDED, job.last_error
    video.refresh_from_db()
    frames = list(decode(Path(video.preview.path)))
    assert len(frames) == 150
    assert np.abs(frames[7].rgb().astype(int) - quadrants(7)).mean() < 8
    assert list((tmp_path / "var" / "work").iterdir()) == []


def test_a_file_that_is_no_video_fails_once_with_a_sentence(maria: User) -> None:
    video = upload(b"\x00\x00\x00\x20ftypisom" + b"nonsense" * 50)
    job = ask(video, EvidenceKind.PREVIEW, maria)
    assert (job.state, job.attempts, job.last_error) == (State.FAILED, 1, "corrupt_video")
    assert job.error_detail.endswith(".")
    assert evidence_files(video) == []


def test_work_whose_lease_is_lost_leaves_no_file_and_no_preview(
    tmp_path: Path, maria: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = upload(write_clip(tmp_path / "part2.mp4", codec="mpeg4").read_bytes())
    job = evidence_jobs.request(video=video, kind=EvidenceKind.PREVIEW, by=maria)
    finish = evidence_jobs.finish_preview
    seen: list[BaseException] = []

    def robbed(*, claim: evidence_jobs.EvidenceClaim, path: Path) -> None:
        EvidenceJob.objects.update(token="00000000-0000-4000-8000-000000000000")  # another has it by now
        try:
            finish(claim=claim, path=path)
        except LeaseLost as lost:
            seen.append(lost)
            raise

    monkeypatch.setattr(evidence_jobs, "finish_preview", robbed)
    tasks.make_preview(str(job.id))
    job.refresh_from_db()
    assert (len(seen), job.state) == (1, State.RUNNING)
    assert evidence_files(video) == []
    assert not Video.objects.get().preview


def test_a_worker_that_is_stopped_gives_the_work_back_uncounted(
    maria: User, model: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = upload((CLIPS / "one-person.mp4").read_bytes())
    analyse(video)

    def stopped(classifier: Any, crops: Any) -> Any:
        raise SystemExit(1)

    monkeypatch.setattr(heatmap, "face_heatmaps", stopped)
    job = evidence_jobs.request(video=Video.objects.get(), kind=EvidenceKind.HEATMAPS, by=maria)
    with pytest.raises(SystemExit):
        evidence.run(str(job.id), evidence.make_heatmaps)
    job.refresh_from_db()
    assert (job.state, job.attempts) == (State.QUEUED, 0)
