"""The commands, as a person or a script calls them."""

from __future__ import annotations

import io
import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone
from knox.models import AuthToken
from rest_framework.test import APIClient

from detection.models import ModelVersion
from detection.services.jobs import analyses
from tests.detection.conftest import MakeVideo
from tests.weights import TINY, save_tiny

CLIPS = Path(__file__).resolve().parents[2] / "demo" / "clips"


def run(*arguments: str, **options: Any) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out, **options)
    return out.getvalue()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_tiny(path)
    return path


# --- create_token --------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_create_token_prints_the_token_alone_and_it_opens_the_api() -> None:
    token = run("create_token", "client").strip()
    assert len(token.split()) == 1
    client = APIClient(HTTP_AUTHORIZATION=f"Token {token}")
    assert client.get("/api/v1/videos/").status_code == 200
    assert APIClient(HTTP_AUTHORIZATION=f"Token {token}x").get("/api/v1/videos/").status_code == 401
    assert token not in AuthToken.objects.get().digest


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("role", "staff", "superuser"), [("uploader", False, False), ("reviewer", True, False), ("admin", True, True)]
)
def test_a_role_opens_what_it_should(role: str, staff: bool, superuser: bool) -> None:
    run("create_token", "someone", "--role", role)
    user = User.objects.get(username="someone")
    assert (user.is_staff, user.is_superuser) == (staff, superuser)
    assert user.has_perm("detection.view_video") == staff
    assert not user.has_usable_password()


@pytest.mark.django_db
def test_a_second_token_leaves_the_user_and_the_first_token_as_they_are() -> None:
    run("create_token", "someone", "--role", "reviewer")
    run("create_token", "someone", "--days", "7")
    user = User.objects.get(username="someone")
    assert list(user.groups.values_list("name", flat=True)) == ["reviewer"]
    assert sorted(token.expiry is None for token in AuthToken.objects.all()) == [False, True]


@pytest.mark.django_db
@pytest.mark.parametrize("days", ["0", "-1", "99999999", "9" * 12])
def test_a_life_that_no_calendar_has_is_refused(days: str) -> None:
    with pytest.raises(CommandError, match="--days must be at least 1 and at most 36500"):
        run("create_token", "someone", f"--days={days}")
    assert not User.objects.exists()


@pytest.mark.django_db
def test_a_new_token_sweeps_away_its_users_expired_ones_and_no_others() -> None:
    for name in ("someone", "another"):
        run("create_token", name, "--days", "1")
    AuthToken.objects.update(expiry=timezone.now() - timedelta(hours=1))
    run("create_token", "someone", "--days", "1")
    assert sorted(token.user.username for token in AuthToken.objects.filter(expiry__lt=timezone.now())) == ["another"]
    assert AuthToken.objects.filter(user__username="someone").count() == 1


@pytest.mark.django_db
def test_a_random_password_is_printed_apart_from_the_token_and_logs_in() -> None:
    errors = io.StringIO()
    token = run("create_token", "boss", "--role", "admin", "--random-password", stderr=errors).strip()
    password = errors.getvalue().split()[-1]
    assert token not in errors.getvalue()
    assert User.objects.get(username="boss").check_password(password)


@pytest.mark.django_db
def test_a_weak_password_is_refused_and_no_user_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("12345\n"))
    with pytest.raises(CommandError, match="too short"):
        run("create_token", "boss", "--password-stdin")
    assert not User.objects.exists()


# --- models --------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_register_model_takes_name_and_facts_from_the_file(tiny: Path) -> None:
    out = run("register_model", str(tiny))
    model = ModelVersion.objects.get()
    assert (model.name, model.active, model.experimental) == ("tiny", False, True)
    assert model.config["backbone"] == TINY.backbone
    assert "not active" in out
    assert "tiny" in run("promote", model.sha256[:8])
    model.refresh_from_db()
    assert model.active


@pytest.mark.django_db
def test_register_model_if_none_leaves_the_active_one(tiny: Path, tmp_path: Path) -> None:
    run("register_model", str(tiny), "--activate", "--if-none", "--name", "first")
    other = tmp_path / "other.safetensors"
    save_tiny(other, name="other", seed=1)
    assert "active already" in run("register_model", str(other), "--activate", "--if-none")
    assert [model.name for model in ModelVersion.objects.all()] == ["first"]


@pytest.mark.django_db
def test_a_file_that_is_no_weights_is_refused_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"\x80\x04pickle?")
    with pytest.raises(CommandError, match="cannot be read as safetensors"):
        run("register_model", str(path))
    with pytest.raises(CommandError, match="no file"):
        run("register_model", str(tmp_path / "missing"))
    with pytest.raises(CommandError, match="No model is called"):
        run("promote", "missing")
    assert not ModelVersion.objects.exists()


# --- sweep ---------------------------------------------------------------------------------------------------------


def test_sweep_says_what_it_did(make_video: MakeVideo) -> None:
    analyses.queue_analysis(video=make_video())
    assert run("sweep") == "given back: 0, given up: 0, a model found for: 0, published: 0\n"


# --- analyze -------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_analyze_prints_one_json_object_a_line_and_a_bad_file_is_an_answer(tiny: Path, tmp_path: Path) -> None:
    shutil.copy(CLIPS / "two-people.mp4", tmp_path / "b.mp4")
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / ".hidden").write_text("not looked at")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "notes.txt").write_text("no video")
    lines = [json.loads(line) for line in run("analyze", str(tmp_path), "--json", "--weights", str(tiny)).splitlines()]
    empty, people, notes = lines
    for line in lines:
        assert set(line) == {
            *("path", "state", "verdict", "error", "faces", "timings"),
            *("people_left_out", "frames_read", "frames_claimed", "truncated", "segments", "coverage"),
        }
    assert (empty["state"], empty["error"]["code"], empty["verdict"]) == ("failed", "empty_file", None)
    assert (notes["state"], notes["error"]["code"]) == ("failed", "not_a_video")
    assert (people["state"], people["error"]) == ("succeeded", None)
    assert people["verdict"]["label"] in ("real", "fake")
    assert "experimental_model" in people["verdict"]["review_reasons"]
    assert {face["track"] for face in people["faces"]} == {0, 1}
    assert people["verdict"]["fake_probability"] == max(p["fake_probability"] for p in people["verdict"]["people"])
    assert people["timings"]["total"] > 0
    assert (people["frames_read"], people["frames_claimed"], people["truncated"]) == (150, 150, False)


@pytest.mark.django_db
def test_analyze_uses_the_active_model(tiny: Path, tmp_path: Path, settings: Any) -> None:
    settings.VAR_DIR = tmp_path / "var"
    run("register_model", str(tiny), "--activate", "--name", "chosen")
    shutil.copy(tiny, tmp_path / "x.bin")
    out = run("analyze", str(tmp_path / "x.bin"))
    assert "model: tiny" in out
    assert "not_a_video" in out


@pytest.mark.django_db
def test_analyze_names_a_path_that_does_not_exist(tiny: Path) -> None:
    with pytest.raises(CommandError, match="There is no file /nowhere"):
        run("analyze", "/nowhere", "--weights", str(tiny))
