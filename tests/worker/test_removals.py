"""What a training has kept of a video goes with the video: packs, features of its faces, reports that show it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.utils import timezone

from detection.models import AuditAction, AuditEntry, CacheHolder, Removal, RunState, TrainingRun, Video
from detection.services.uploads.uploads import delete_video
from ml.data.erasure import owner_folder, videos_in
from tests.learning import dataset, register_blind
from worker.process import heartbeat
from worker.stages import erasure
from worker.training import snapshot_pack

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_state", "silent_broker")]
Capture = Callable[..., Any]


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


def test_every_machine_with_caches_erases_its_own_before_a_removal_is_over(
    trained: TrainingRun, settings: Any, tmp_path: Path, django_capture_on_commit_callbacks: Capture
) -> None:
    here, elsewhere = settings.VAR_DIR, tmp_path / "trainer"
    shutil.copytree(here, elsewhere)
    (elsewhere / "training" / erasure.HOLDER).unlink()
    settings.VAR_DIR = elsewhere
    kept = {path.relative_to(here): path.read_bytes() for path in here.glob("training/packs/*")}
    erasure.register()  # an unknown folder begins with nothing ...
    assert packs() == []
    for name, content in kept.items():  # ... and has trained since
        (elsewhere / name).parent.mkdir(parents=True, exist_ok=True)
        (elsewhere / name).write_bytes(content)
    shutil.copytree(here / "training" / "features", elsewhere / "training" / "features")
    video = Video.objects.earliest("id")
    assert features(video)

    settings.VAR_DIR = here
    with django_capture_on_commit_callbacks(execute=True):
        delete_video(video=video)
    Removal.objects.update(created_at=timezone.now() - timedelta(hours=1))
    assert erasure.sweep() == 0  # the other machine has not said that it is done
    assert features(video) == []
    assert Removal.objects.exists()

    settings.VAR_DIR = elsewhere
    assert features(video)
    assert erasure.is_waiting_here()
    call_command("erase_caches", stdout=StringIO())
    assert features(video) == []
    assert not any(str(video.pk) in videos_in(pack) for pack in packs())
    assert not erasure.is_waiting_here()

    settings.VAR_DIR = here
    assert erasure.sweep() == 1
    assert not Removal.objects.exists()


def test_a_machine_that_was_away_for_long_is_not_waited_for_and_empties_its_caches_when_it_is_back(
    settings: Any, tmp_path: Path
) -> None:
    erasure.register()
    pack = snapshot_pack.root() / "packs" / "old.safetensors"
    pack.parent.mkdir(parents=True)
    pack.write_bytes(b"faces")
    Removal.objects.create(video_id=uuid4(), packs=True)
    Removal.objects.update(created_at=timezone.now() - timedelta(hours=1))
    CacheHolder.objects.update(seen_at=timezone.now() - timedelta(days=8))
    settings.VAR_DIR = tmp_path / "sweeper"
    assert erasure.sweep() == 1
    settings.VAR_DIR = tmp_path / "var"
    assert erasure.erase_here() == 0
    assert not pack.exists()


def test_a_trainers_heartbeat_begins_the_erasure_in_a_process_of_its_own(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    begun: list[list[str]] = []
    monkeypatch.setattr(subprocess, "Popen", begun.append)
    monkeypatch.setattr(heartbeat, "_facts", {"queues": "train"})
    monkeypatch.setattr(heartbeat, "_eraser", None)
    erasure.register()
    heartbeat._erase_caches()
    assert begun == []
    Removal.objects.create(video_id=uuid4(), packs=True)
    Removal.objects.update(created_at=timezone.now() - timedelta(hours=1))
    heartbeat._erase_caches()
    assert [command[-1] for command in begun] == ["erase_caches"]
