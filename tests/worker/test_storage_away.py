"""A storage that does not answer is no file's fault: nothing is given up for it, and it is said."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.utils import timezone

from detection import dispatch
from detection.models import Analysis, AuditAction, FaceFrame, ModelVersion, Stage, State, Video
from detection.services.jobs import analyses, training_runs
from detection.services.jobs.analyses import AnalysisClaim
from detection.services.learning import rescoring
from detection.services.learning.snapshots import SnapshotItem
from detection.services.ops import audit
from dfdsite import s3
from ml.video.ranged_file import FetchError
from tests.api.conftest import Caller, mp4
from tests.learning import stored_video
from worker.process import runtime
from worker.process.lease_heartbeat import LeaseHeartbeat
from worker.stages import attempt
from worker.stages.attempt import NotNow
from worker.training import run as runs
from worker.training import snapshot_pack

pytestmark = pytest.mark.django_db
MORE_THAN_ATTEMPTS = 5


@pytest.fixture
def analysis(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Analysis:
    settings.MEDIA_ROOT = str(tmp_path / "media")
    settings.VAR_DIR = tmp_path / "var"
    monkeypatch.setattr(dispatch, "_publish", lambda task, args: True)
    owner = User.objects.create_user("owner")
    name = default_storage.save("videos/1/original.mp4", ContentFile(b"no video, but there"))
    video = Video.objects.create(owner=owner, original_name="a.mp4", sha256="a" * 64, size_bytes=1, file=name)
    return analyses.queue_analysis(video=video)


def tried(analysis: Analysis, work: Callable[[AnalysisClaim, LeaseHeartbeat], None]) -> Analysis:
    Analysis.objects.update(not_before=timezone.now())
    attempt.run(str(analysis.id), Stage.EXTRACT, work)
    return Analysis.objects.get(id=analysis.id)


def caused(error: Exception, by: Exception) -> Exception:
    error.__cause__ = by
    return error


def refused(status: int, code: str) -> Exception:
    exceptions = pytest.importorskip("botocore.exceptions")
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error: Exception = exceptions.ClientError(answer, "GetObject")
    return error


def unreachable() -> Exception:
    exceptions = pytest.importorskip("botocore.exceptions")
    error: Exception = exceptions.EndpointConnectionError(endpoint_url="http://bucket.example.org")
    return error


AWAY: dict[str, Callable[[], Exception]] = {
    "nobody answers": unreachable,
    "it is too busy": lambda: refused(503, "SlowDown"),
    "the key has run out": lambda: refused(403, "ExpiredToken"),
    "the bucket is gone": lambda: refused(404, "NoSuchBucket"),
    "in the middle of a video": lambda: caused(FetchError("ReadTimeoutError"), unreachable()),
    "a network disk has gone": lambda: OSError(errno.ESTALE, "Stale file handle"),
    "the weights lie there, too": lambda: caused(NotNow("The model 'm' cannot be loaded."), unreachable()),
}
OF_THE_FILE: dict[str, Callable[[], Exception]] = {
    "it is gone from the bucket": lambda: refused(404, "NoSuchKey"),
    "it is in an archive": lambda: refused(403, "InvalidObjectState"),
    "it is gone from the disk": lambda: FileNotFoundError("storage has no videos/2/original.mp4"),
}


@pytest.mark.parametrize("error", AWAY.values(), ids=AWAY)
def test_an_outage_ends_no_task_however_often_it_is_tried(analysis: Analysis, error: Callable[[], Exception]) -> None:
    def work(claim: AnalysisClaim, heart: LeaseHeartbeat) -> None:
        raise error()

    for _ in range(MORE_THAN_ATTEMPTS):
        row = tried(analysis, work)
        assert (row.state, row.attempts) == (State.QUEUED, 0)
        assert row.not_before > timezone.now() + timedelta(seconds=30)  # no loop
        assert type(error()).__name__ in row.last_error


@pytest.mark.parametrize("error", OF_THE_FILE.values(), ids=OF_THE_FILE)
def test_what_is_the_trouble_of_one_file_counts(analysis: Analysis, error: Callable[[], Exception]) -> None:
    def work(claim: AnalysisClaim, heart: LeaseHeartbeat) -> None:
        raise error()

    assert tried(analysis, work).attempts == 1


def test_videos_wait_until_the_disk_is_mounted(analysis: Analysis, tmp_path: Path) -> None:
    (tmp_path / "media").rename(tmp_path / "elsewhere")
    (tmp_path / "media").mkdir()  # the mount point
    for _ in range(MORE_THAN_ATTEMPTS):
        assert tried(analysis, runtime.extract).state == State.QUEUED
    (tmp_path / "media").rmdir()
    (tmp_path / "elsewhere").rename(tmp_path / "media")
    row = tried(analysis, runtime.extract)
    assert (row.state, row.error_code) == (State.FAILED, "not_a_video"), row.last_error


def test_an_upload_is_put_off_and_nothing_of_it_stays(monkeypatch: pytest.MonkeyPatch, analysis: Analysis) -> None:
    def away(*args: Any) -> str:
        raise unreachable()

    monkeypatch.setattr(default_storage, "save", away)
    answer = Caller(User.objects.get()).upload(mp4())
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
    assert int(answer["Retry-After"]) > 0
    assert Video.objects.count() == 1


def test_doctor_names_it(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, embedded: Path) -> None:
    pytest.importorskip("storages")
    client = pytest.importorskip("botocore.client")

    def away(*args: Any, **kwargs: Any) -> Any:
        raise unreachable()

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setattr(client.BaseClient, "_make_api_call", away)
    settings.STORAGES = settings.STORAGES | {"default": s3.storage(bucket="videos")}
    ModelVersion.objects.create(name="m", sha256="a" * 64, file="models/m.safetensors", threshold=0.5, active=True)
    out = io.StringIO()
    with pytest.raises(CommandError):
        call_command("doctor", stdout=out)
    assert out.getvalue().count("Storage does not answer") == 2, "for the weights and for the videos"
    assert "DFD_S3_ENDPOINT" in out.getvalue()


COMMANDS: dict[str, Callable[[Path], list[str]]] = {
    "rescore": lambda folder: ["rescore"],
    "promote": lambda folder: ["promote", "other"],
    "evaluate": lambda folder: ["evaluate", "active"],
    "verify_audit": lambda folder: ["verify_audit"],
    "archive_audit": lambda folder: ["archive_audit", "--older-than", "1"],
    "import_dataset": lambda folder: ["import_dataset", str(folder), "--format", "folder", "--workers", "0"],
}


@pytest.fixture
def stored(own_state: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.VAR_DIR.mkdir(exist_ok=True)
    monkeypatch.setattr(dispatch, "_publish", lambda task, args: True)
    monkeypatch.setattr(runtime, "_loaded", None)
    stored_video(1, fake=True)
    for name in ("active", "other"):
        ModelVersion.objects.create(name=name, sha256=name, file="models/m", threshold=0.5, active=name == "active")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_so_in_a_sentence(
    stored: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def away(*args: Any, **kwargs: Any) -> Any:
        raise unreachable()

    later = timezone.now() + timedelta(days=9)
    if command.endswith("_audit"):
        for _ in range(2):
            audit.record(AuditAction.EXPORTED)
        monkeypatch.setattr(timezone, "now", lambda: later)
    if command == "verify_audit":
        call_command("archive_audit", "--older-than", "1", stdout=io.StringIO())
    for kind in ("real", "fake"):
        (tmp_path / "set" / kind).mkdir(parents=True)
        (tmp_path / "set" / kind / "1.mp4").write_bytes(mp4(seed=len(kind)))
    for method in ("open", "save"):
        monkeypatch.setattr(default_storage, method, away)
    with pytest.raises(CommandError, match=r"Storage does not answer .*bucket\.example\.org.* again\."):
        call_command(*COMMANDS[command](tmp_path / "set"), stdout=io.StringIO())


def test_a_full_storage_ends_an_import_at_the_first_file(
    stored: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file was refused by itself, and in the end the command had succeeded."""
    tried = []

    def full(*args: Any, **kwargs: Any) -> str:
        tried.append(args)
        raise OSError(errno.ENOSPC, "No space left on device")

    for number in range(3):
        for kind in ("real", "fake"):
            (tmp_path / "set" / kind).mkdir(parents=True, exist_ok=True)
            (tmp_path / "set" / kind / f"{number}.mp4").write_bytes(mp4(seed=number))
    monkeypatch.setattr(default_storage, "save", full)
    with pytest.raises(CommandError, match="could not be stored: There is no room for the file"):
        call_command("import_dataset", str(tmp_path / "set"), "--workers", "0", stdout=io.StringIO())
    assert len(tried) == 1


def test_no_video_is_to_be_deleted_because_a_disk_is_not_mounted(
    stored: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, run = ModelVersion.objects.get(name="active"), training_runs.request_run(options={}, publish=False)
    row = stored_video(2, fake=False)
    media = Path(settings.MEDIA_ROOT)
    batch = rescoring.next_batch(model=model, size=5)
    item = SnapshotItem(
        str(row.id), row.sha256, "real", "train", "a", "a", "", "uploads", "a.mp4", "", "", 1, (),
        tuple(((str(face.crop.name), 9.0),) for face in FaceFrame.objects.filter(video=row)),
    )  # fmt: skip
    media.rename(media.with_name("elsewhere"))
    media.mkdir()
    with pytest.raises(FileNotFoundError):
        snapshot_pack.pack_of([item])
    with pytest.raises(FileNotFoundError):
        runtime._looks_at_faces(cast(Any, None), batch)
    # and a training waits, as an analysis does
    monkeypatch.setattr(runs, "_train", lambda claim, progress: snapshot_pack.pack_of([item]))
    assert runs.run(str(run.id))
    run.refresh_from_db()
    assert (run.state, run.attempts, run.message) == ("queued", 0, "")
