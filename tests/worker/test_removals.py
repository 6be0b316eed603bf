"""What a training has kept of a video goes with the video: packs, features of its faces, reports that show it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.utils import timezone

from detection import dispatch
from detection.models import AuditAction, AuditEntry, Removal, RunState, TrainingRun, Video
from detection.services.uploads.uploads import delete_video
from ml.data.erasure import owner_folder, videos_in
from tests.learning import dataset, register_blind
from worker.process import runtime
from worker.stages import erasure
from worker.training import snapshot_pack

pytestmark = pytest.mark.django_db
Capture = Callable[..., Any]


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.VAR_DIR = tmp_path / "var"
    settings.MEDIA_ROOT = str(tmp_path / "media")
    monkeypatch.setattr(dispatch, "_publish", lambda task, args: True)
    monkeypatch.setattr(runtime, "_loaded", None)


@pytest.fixture
def trained(tmp_path: Path) -> TrainingRun:
    """A training of today: its packs, features and report lie there."""
    dataset(16)
    register_blind(tmp_path)
    call_command("retrain", "--epochs", "1", "--no-promote", stdout=StringIO())
    return TrainingRun.objects.get()


def packs() -> list[Path]:
    return sorted((snapshot_pack.root() / "packs").glob("*.safetensors"))


def features(video: Video) -> list[Path]:
    return list(snapshot_pack.feature_folder().glob(f"*/{owner_folder(str(video.pk))}/*/*.npy"))


def show(run: TrainingRun, video: Video) -> None:
    """As if it was among the worst mistakes: drawn faces are too easy for any."""
    name = str(run.report).replace(".html", ".json")
    report = json.loads(default_storage.open(name).read())
    default_storage.delete(name)
    report["mistakes"].append({"key": str(video.pk)})
    assert default_storage.save(name, ContentFile(json.dumps(report).encode())) == name


def test_after_a_deletion_no_pack_and_no_feature_is_left_of_it(
    trained: TrainingRun, django_capture_on_commit_callbacks: Capture
) -> None:
    video, other = Video.objects.order_by("id")[:2]
    assert features(video)
    assert any(str(video.pk) in videos_in(pack) for pack in packs())
    without = [pack for pack in packs() if str(video.pk) not in videos_in(pack)]
    with django_capture_on_commit_callbacks(execute=True):
        delete_video(video=video)
    assert erasure.sweep() == 0  # not before any worker can have ended what it was at
    Removal.objects.update(created_at=timezone.now() - timedelta(hours=1))

    # a training that began before the deletion may still be packing
    busy = TrainingRun.objects.create(state=RunState.RUNNING, started_at=timezone.now() - timedelta(hours=2))
    assert erasure.sweep() == 0
    busy.delete()

    assert erasure.sweep() == 1
    assert packs() == without
    assert features(video) == []
    assert features(other)
    assert not Removal.objects.exists()
    assert erasure.sweep() == 0


def test_a_machine_that_no_sweeper_sees_drops_such_packs_before_it_makes_one(
    trained: TrainingRun, django_capture_on_commit_callbacks: Capture
) -> None:
    before = packs()
    snapshot_pack.drop_outdated_packs()
    assert packs() == before
    video = Video.objects.get(pk=sorted(videos_in(before[0]))[0])
    with django_capture_on_commit_callbacks(execute=True):
        delete_video(video=video)
    snapshot_pack.drop_outdated_packs()
    assert not any(str(video.pk) in videos_in(pack) for pack in packs())


def test_forget_takes_reports_too_that_show_a_face_of_it(trained: TrainingRun) -> None:
    seen, unseen = Video.objects.order_by("id")[:2]
    show(trained, seen)
    evaluation = snapshot_pack.root() / "evaluations" / "x"
    evaluation.mkdir(parents=True)
    (evaluation / "report.html").write_text("faces")
    (evaluation / "report.json").write_text(json.dumps({"mistakes": [{"key": str(seen.pk)}]}))
    html = str(trained.report)
    out = StringIO()

    call_command("forget", str(unseen.pk), "--yes", stdout=out)
    assert "Removed 1 videos" in out.getvalue()
    assert "0 reports" in out.getvalue()
    assert default_storage.exists(html)

    call_command("forget", str(seen.pk), "--yes", stdout=out)
    assert "2 reports" in out.getvalue()
    trained.refresh_from_db()
    assert trained.report.name == ""
    assert trained.metrics  # the figures stay
    assert not default_storage.exists(html)
    assert not evaluation.exists()
    assert not Video.objects.filter(pk=str(seen.pk)).exists()
    assert not any(str(seen.pk) in videos_in(pack) for pack in packs())
    entry = AuditEntry.objects.filter(action=AuditAction.FORGOTTEN).latest("number")
    assert entry.subject == f"video:{seen.pk}"
    assert entry.facts["was_here"] is True

    call_command("forget", str(seen.pk), "--yes", stdout=out)  # again: it was deleted before
    assert "Removed 0 videos" in out.getvalue()


def test_forget_asks_first(trained: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> None:
    video = Video.objects.earliest("id")
    monkeypatch.setattr("builtins.input", lambda question: "no")
    with pytest.raises(CommandError, match="Nothing was removed"):
        call_command("forget", str(video.pk))
    assert Video.objects.filter(pk=video.pk).exists()
