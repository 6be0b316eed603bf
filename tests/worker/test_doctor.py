"""`doctor`: what must be fixed is named, with the next step, and decides the exit code."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from detection.evidence_report import signing
from detection.models import ModelVersion
from detection.services.learning import registry
from tests.weights import save_tiny
from worker.process import doctor as checks
from worker.process import embedded_broker

pytestmark = pytest.mark.django_db


def doctor() -> str:
    out = io.StringIO()
    try:
        call_command("doctor", stdout=out)
    except CommandError as error:
        out.write(f"exit code 1: {error}")
    return out.getvalue()


@pytest.fixture
def model(tmp_path: Path, settings: Any) -> ModelVersion:
    settings.VAR_DIR = tmp_path
    settings.MEDIA_ROOT = str(tmp_path / "media")
    path = tmp_path / "tiny.safetensors"
    sha256 = save_tiny(path)
    return registry.register_model(
        file=path, name="tiny", sha256=sha256, config={}, metrics={}, threshold=0.5, temperature=1.0,
        experimental=True, training_data_sha256="", activate=True,
    )  # fmt: skip


def test_a_sound_installation_needs_nothing(embedded: Path, model: ModelVersion) -> None:
    embedded_broker.ensure()
    said = doctor()
    assert "Nothing must be fixed." in said
    assert "decodes h264, hevc, vp8, vp9, av1" in said
    assert "The broker (the embedded broker" in said
    assert "The active model is tiny" in said
    assert "every verdict it gives needs a review" in said
    assert "No worker answers." in said


def test_a_misspelt_setting_is_named_with_the_one_that_was_meant(
    embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DFD_KEEP_CROPS_DAY", "3")
    monkeypatch.setenv("DFD_PUBLISH", "8080:8000")  # of docker-compose.yml
    said = doctor()
    assert "DFD_KEEP_CROPS_DAY is set, but is no setting." in said
    assert "Write DFD_KEEP_CROPS_DAYS" in said
    assert said.count("is no setting") == 1


def test_without_an_active_model_it_names_the_command(embedded: Path) -> None:
    said = doctor()
    assert "No model is active" in said
    assert "register_model --activate" in said
    assert said.endswith("exit code 1: One thing must be fixed.")


def test_a_damaged_model_file_is_found(embedded: Path, model: ModelVersion) -> None:
    Path(model.file.path).write_bytes(b"damaged")
    said = doctor()
    assert "cannot be had" in said
    assert "exit code 1" in said


def test_a_configured_broker_that_is_away_is_a_problem(settings: Any, model: ModelVersion) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert "The broker at REDIS_URL does not answer" in doctor()


def test_a_codec_that_is_missing_is_a_problem(
    embedded: Path, model: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "CODECS", ("h264", "no_such_codec"))
    said = doctor()
    assert "cannot decode no_such_codec." in said
    assert "exit code 1" in said


def test_a_full_disk_is_a_problem(embedded: Path, model: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "LITTLE_DISK_BYTES", 2**80)
    assert "Make room" in doctor()


def test_tasks_that_wait_are_counted(embedded: Path, model: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.contrib.auth.models import User

    from detection import dispatch
    from detection.models import Analysis, Video
    from detection.services.jobs import analyses

    monkeypatch.setattr(dispatch, "_publish", lambda task, args: True)
    owner = User.objects.create_user("owner")
    video = Video.objects.create(owner=owner, original_name="a", sha256="0" * 64, size_bytes=1, file="a")
    analyses.queue_analysis(video=video)
    Analysis.objects.update(created_at=timezone.now() - 2 * checks.LONG_WAIT)
    said = doctor()
    assert "1 tasks are queued (finding faces), the oldest for 20 minutes." in said
    assert "Some tasks have waited long." in said


def test_a_signing_key_that_cannot_be_read_or_is_one_machines_alone_is_said(
    embedded: Path, model: ModelVersion, settings: Any
) -> None:
    assert "is made at the first one." in doctor()
    (settings.VAR_DIR / "signing_key").write_text("nonsense")
    assert "cannot be read from" in doctor()
    (settings.VAR_DIR / "signing_key").unlink()
    own = signing.current_key().fingerprint[:16]
    assert f"Evidence reports are signed with the key {own}….\n" in doctor()
    settings.S3_BUCKET = "videos"
    said = doctor()
    assert f"{own}…, which is this machine's alone." in said
    assert "Set DFD_SIGNING_KEY on all machines." in said
