"""An error that may come after the COMMIT removes no file that a row names; one before it leaves none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage
from django.db import OperationalError, connection

from detection import dispatch
from detection.errors import Refused
from detection.models import FaceFrame, FolderCheck, ModelVersion, ResumableUpload, Snapshot, Video
from detection.services.jobs import analyses, orphan_files
from detection.services.learning import registry, snapshots
from detection.services.uploads import resumable, uploads
from ml.data.splits import assign_splits
from tests.detection.conftest import claimed, extraction

pytestmark = pytest.mark.django_db(transaction=True)
CLIP = (Path(__file__).resolve().parents[2] / "demo" / "clips" / "one-person.mp4").read_bytes()


@pytest.fixture
def cut_after_commit(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A COMMIT, the next unless told which, is carried out by the database, but its answer gets lost."""
    real = connection._commit  # type: ignore[attr-defined]
    left = 0

    def commit() -> None:
        nonlocal left
        real()
        left -= 1
        if left == 0:
            raise OperationalError("server closed the connection unexpectedly")

    def arm(nth: int = 1) -> None:
        nonlocal left
        left = nth

    monkeypatch.setattr(connection, "_commit", commit)
    return arm


@pytest.fixture
def client(db: None) -> User:
    return User.objects.create_user("client")


def submit(owner: User) -> uploads.Submission:
    return uploads.submit_video(owner=owner, upload=File(BytesIO(CLIP), name="clip.mp4"))


def files() -> set[str]:
    root = Path(default_storage.path(""))
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_an_upload_whose_commit_is_not_answered_keeps_its_file_and_the_retry_finds_it(
    client: User, cut_after_commit: Callable[..., None]
) -> None:
    cut_after_commit()
    with pytest.raises(OperationalError):
        submit(client)
    video = Video.objects.get()
    assert default_storage.exists(str(video.file.name))
    again = submit(client)
    assert (again.video, again.created) == (video, False)
    assert not FolderCheck.objects.exists()


def test_an_upload_that_fails_before_its_commit_leaves_no_file(client: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(uploads, "queue_analysis", broken)
    with pytest.raises(SystemExit):
        submit(client)
    assert not Video.objects.exists()
    assert files() == set()


def test_a_shutdown_in_a_hook_after_the_commit_keeps_the_file(client: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def shut_down(**_: Any) -> bool:
        raise SystemExit

    monkeypatch.setattr(dispatch, "wake", shut_down)
    with pytest.raises(SystemExit):
        submit(client)
    assert default_storage.exists(str(Video.objects.get().file.name))


def test_a_piece_whose_commit_is_not_answered_stays(client: User, cut_after_commit: Callable[..., None]) -> None:
    half, offsets = len(CLIP) // 2, []
    for nth in (1, 2, 3, 4):  # the bytes' count, the hold, the piece and its end are commits of their own
        owner = User.objects.create_user(f"client {nth}")
        created = resumable.create(owner=owner, length=len(CLIP), name="clip.mp4")
        cut_after_commit(nth)
        try:
            resumable.append(upload=created, offset=0, stream=BytesIO(CLIP[:half]))
        except OperationalError:
            offsets.append(resumable.offset_of(ResumableUpload.objects.get(pk=created.pk)))
        cut_after_commit(0)
        upload = ResumableUpload.objects.get(pk=created.pk)
        offset = resumable.offset_of(upload)
        done = resumable.append(upload=upload, offset=offset, stream=BytesIO(CLIP[offset:]))
        assert done.video_id is not None
        video = Video.objects.get(pk=done.video_id)
        with default_storage.open(str(video.file.name)) as stored:
            assert stored.read() == CLIP
    assert set(offsets) == {0, half}, "before the piece's own commit nothing has come, after it the piece is there"


def test_faces_whose_commit_is_not_answered_stay(
    video: Video, tmp_path: Path, cut_after_commit: Callable[..., None]
) -> None:
    claim = claimed(analyses.queue_analysis(video=video))
    cut_after_commit()
    with pytest.raises(OperationalError):
        analyses.finish_extraction(claim=claim, result=extraction(tmp_path))
    crops = list(FaceFrame.objects.values_list("crop", flat=True))
    assert len(crops) == 3
    assert all(default_storage.exists(name) for name in crops)


def deal(components: Sequence[str], strata: Sequence[Hashable], fixed: Mapping[str, str]) -> list[str]:
    return assign_splits(components, strata, fixed=fixed)


def register(path: Path, **options: Any) -> ModelVersion:
    path.write_bytes(b"weights")
    return registry.register_model(
        file=path, name="m", sha256=hashlib.sha256(b"weights").hexdigest(), config={}, metrics={}, threshold=0.5,
        temperature=1.0, experimental=True, training_data_sha256="", activate=False, **options,
    )  # fmt: skip


def test_weights_whose_commit_is_not_answered_stay_and_those_without_a_row_go(
    db: None, tmp_path: Path, cut_after_commit: Callable[..., None]
) -> None:
    def fail() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        register(tmp_path / "a", fence=fail)
    assert files() == set()
    assert not ModelVersion.objects.exists()
    cut_after_commit()
    with pytest.raises(OperationalError):
        register(tmp_path / "a")
    model = ModelVersion.objects.get()
    assert register(tmp_path / "a") == model
    assert model.file.read() == b"weights"


def test_a_snapshot_that_cannot_be_written_down_leaves_no_manifest(
    db: None, monkeypatch: pytest.MonkeyPatch, cut_after_commit: Callable[..., None]
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(snapshots, "_summary", broken)
        with pytest.raises(RuntimeError):
            snapshots.freeze_snapshot(assign=deal)
    assert files() == set()
    cut_after_commit()
    with pytest.raises(OperationalError):
        snapshots.freeze_snapshot(assign=deal)
    snapshot = Snapshot.objects.get()
    assert snapshots.freeze_snapshot(assign=deal) == snapshot
    assert files() == {str(snapshot.manifest.name)}


def test_what_a_commit_in_doubt_has_left_goes_a_day_later_unless_a_row_names_it(db: None, tmp_path: Path) -> None:
    named = register(tmp_path / "a")
    left = orphan_files.watch_folder(below="models")
    default_storage.save(f"{left.path}/x.safetensors", ContentFile(b"x"))
    FolderCheck.objects.create(video_id=uuid4(), path=str(Path(str(named.file.name)).parent))
    assert orphan_files.sweep() == 0
    FolderCheck.objects.update(created_at="2026-01-01T00:00Z")
    assert orphan_files.sweep() == 2
    assert files() == {str(named.file.name)}


def test_an_upload_that_the_sweep_took_for_abandoned_is_refused_and_not_half_there(
    client: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = default_storage.save

    def slow(name: str, content: Any, **options: Any) -> str:
        stored = real(name, content, **options)
        FolderCheck.objects.update(created_at="2026-01-01T00:00Z")
        assert orphan_files.sweep() == 1
        return stored

    monkeypatch.setattr(default_storage, "save", slow)
    with pytest.raises(Refused) as refused:
        submit(client)
    assert (refused.value.code, refused.value.status) == ("storage_late", 503)
    assert not Video.objects.exists()
