"""What a process that is killed in mid-writing leaves in storage is found and removed, and nothing else is."""

from __future__ import annotations

from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage
from django.utils import timezone

from detection import dispatch
from detection.models import Analysis, FaceFrame, FolderCheck, Stage, Video
from detection.services.jobs import analyses, attempt_files, orphan_files, sweeper
from detection.services.jobs.attempt_files import attempt_folder
from detection.services.uploads import uploads
from tests.detection.conftest import claimed, extraction

pytestmark = pytest.mark.django_db
CLIP = Path(__file__).resolve().parents[2] / "demo" / "clips" / "one-person.mp4"


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.MEDIA_ROOT = str(tmp_path / "media")
    monkeypatch.setattr(dispatch, "_publish", lambda task, args: True)


def submit() -> Video:
    owner, _ = User.objects.get_or_create(username="client")
    return uploads.submit_video(owner=owner, upload=File(BytesIO(CLIP.read_bytes()), name="clip.mp4")).video


def passed(**by: float) -> None:
    FolderCheck.objects.update(created_at=timezone.now() - timedelta(**by))


def test_an_upload_that_ends_well_leaves_nothing_to_look_through() -> None:
    submit()
    assert not FolderCheck.objects.exists()


def test_the_file_of_an_upload_that_was_killed_before_its_rows_goes_after_a_day(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uploads, "remove_tree", lambda folder: None)  # killed: nobody tidies up
    monkeypatch.setattr(uploads, "queue_analysis", lambda video: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        submit()
    (check,) = FolderCheck.objects.all()
    folder = Video(id=check.video_id).folder
    assert default_storage.exists(f"{folder}/original.mp4")
    passed(hours=23)
    assert orphan_files.sweep() == 0  # it may still be on its way into a slow storage
    passed(hours=25)
    assert orphan_files.sweep() == 1
    assert not default_storage.exists(folder)
    assert not FolderCheck.objects.exists()


def test_of_a_video_that_is_there_only_what_no_row_names_goes() -> None:
    video = submit()
    left, current = (attempt_folder(video.pk, uuid4()) for _ in range(2))
    for folder in (left, current):
        default_storage.save(f"{folder}/thumbnail.jpg", ContentFile(b"x"))
    Video.objects.filter(pk=video.pk).update(thumbnail=f"{current}/thumbnail.jpg")
    orphan_files.watch(video_id=video.pk)
    assert orphan_files.sweep() == 0  # an attempt may still be writing
    passed(hours=2)
    assert orphan_files.sweep() == 1
    assert default_storage.listdir(video.folder)[0] == [current.rsplit("/", 1)[-1]]
    assert default_storage.exists(str(video.file.name))


def test_a_storage_that_does_not_answer_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    orphan_files.watch(video_id=uuid4())
    passed(hours=25)

    def away(folder: str) -> None:
        raise ConnectionError("storage is away")

    with monkeypatch.context() as patch:
        patch.setattr(orphan_files, "remove_tree", away)
        assert orphan_files.sweep() == 0
    assert orphan_files.sweep() == 1


def test_the_attempt_that_is_storing_right_now_keeps_its_files(
    video: Video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysis = analyses.queue_analysis(video=video)
    dead = analyses.claim(analysis_id=analysis.id, stage=Stage.EXTRACT, worker="dead")
    assert dead is not None
    default_storage.save(f"{attempt_folder(video.pk, dead.token)}/thumbnail.jpg", ContentFile(b"x"))
    Analysis.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    sweeper.sweep()
    Analysis.objects.update(not_before=timezone.now())
    real = attempt_files.store

    def store(*arguments: Any) -> Any:
        stored = real(*arguments)
        passed(hours=2)
        assert orphan_files.sweep() == 1
        return stored

    monkeypatch.setattr(attempt_files, "store", store)
    claim = claimed(analysis)
    analyses.finish_extraction(claim=claim, result=extraction(tmp_path))
    names = [*FaceFrame.objects.values_list("crop", flat=True), str(Video.objects.get().thumbnail.name)]
    assert len(names) == 4
    assert all(default_storage.exists(name) for name in names)
    assert default_storage.listdir(video.folder)[0] == [claim.token.hex]


def test_an_attempt_that_commits_while_the_folder_is_looked_through_keeps_its_files(
    video: Video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysis = analyses.queue_analysis(video=video)
    claim = claimed(analysis)
    real = attempt_files._list

    def listed(folder: str) -> tuple[list[str], list[str]]:
        if folder == video.folder and not FaceFrame.objects.exists():
            analyses.finish_extraction(claim=claim, result=extraction(tmp_path))
        return real(folder)

    monkeypatch.setattr(attempt_files, "_list", listed)
    attempt_files.prune(video.pk)
    assert FaceFrame.objects.count() == 3
    assert all(default_storage.exists(name) for name in FaceFrame.objects.values_list("crop", flat=True))
