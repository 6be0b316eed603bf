"""`evaluate`: a registered version on the frozen holdout, or any weights on any folder, with a report on disk."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from detection.models import DatasetVideo, IdentitySide, Video
from ml.data.crop_pack import Pack
from ml.model.network import FaceSequenceClassifier, model_config
from ml.model.weights import WeightsError
from tests.learning import dataset, register_blind
from tests.ml.packs import small_pack
from tests.weights import save_tiny
from worker.management.commands import evaluate
from worker.training import run as training
from worker.training.reports import NotEnough
from worker.training.run import RunOptions

CLIPS = Path(__file__).resolve().parents[2] / "demo" / "clips"

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_state", "silent_broker")]


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_the_holdout_is_evaluated_and_whoever_the_model_has_seen_is_not_in_it(tmp_path: Path) -> None:
    dataset(40)
    register_blind(tmp_path)
    said = run("evaluate", "active", "--out", str(tmp_path / "out"), "--bootstrap", "50")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    held = IdentitySide.objects.filter(side="holdout", name__startswith="lab").count()
    assert report["summary"]["n"] == 2 * held
    assert report["summary"]["auc"]["value"] == 0.5  # this model has no opinion
    assert report["headline"] in said
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    with pytest.raises(CommandError, match="No model is called"):
        run("evaluate", "nobody")


@pytest.mark.slow
def test_a_folder_of_videos_is_evaluated_without_leaving_a_row(tmp_path: Path) -> None:
    for label, name in (("real", "one-person.mp4"), ("fake", "blended-fake.mp4"), ("real", "no-face.mp4")):
        (tmp_path / "set" / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(CLIPS / name, tmp_path / "set" / label / name)
    weights = tmp_path / "w.safetensors"
    save_tiny(weights)
    said = run(
        "evaluate", str(weights), "--on", str(tmp_path / "set"), "--out", str(tmp_path / "out"), "--workers", "1"
    )
    assert "3 videos" in said
    assert "no-face.mp4: no face" in said
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["summary"]["n_real"], report["summary"]["n_fake"]) == (1, 1)
    assert not Video.objects.exists()
    assert not DatasetVideo.objects.exists()
    assert not list((tmp_path / "var").rglob("*.pack"))


@pytest.mark.parametrize("kept", [True, False])
def test_however_it_ends_nobodys_faces_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool) -> None:
    """A report that could not be written was a traceback, and the pack of other people's faces lay there for ever."""
    made: list[Path] = []

    def folder(*_: Any) -> Pack:
        pack = small_pack(tmp_path / "faces.pack")
        pack.rows = [replace(row, split="holdout" if kept else "train") for row in pack.rows]
        made.append(pack.path)
        return pack

    monkeypatch.setattr(evaluate.Command, "_folder", folder)
    weights, occupied = tmp_path / "w.safetensors", tmp_path / "file"
    save_tiny(weights)
    occupied.touch()
    with pytest.raises(CommandError, match=r"cannot be written to .*file/out: " if kept else "no labelled video"):
        run("evaluate", str(weights), "--on", str(tmp_path), "--out", str(occupied / "out"), "--bootstrap", "20")
    assert made
    assert not made[0].exists()


def test_a_training_goes_on_from_the_active_model_else_starts_at_imagenet_else_from_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(backbone: str, path: str | None) -> Any:
        raise OSError("no way out.")

    monkeypatch.setattr(training, "imagenet_state", nowhere)
    said: list[str] = []
    active = register_blind(tmp_path)
    small = RunOptions(full=True, backbone="resnet18", input_size=32)
    assert training._start(RunOptions(full=True), active, said.append)[1] == "active"
    assert training._start(replace(small, start="scratch"), active, said.append)[1] == "scratch"
    assert training._start(small, None, said.append)[1] == "scratch"
    assert any("cannot be had" in line for line in said)
    with pytest.raises(NotEnough, match="register_model"):
        training._start(RunOptions(), None, said.append)
    with pytest.raises(WeightsError, match="--imagenet"):
        training._start(replace(small, start="imagenet"), active, said.append)
    seen: list[tuple[str, str | None]] = []

    def local(backbone: str, path: str | None) -> Any:
        seen.append((backbone, path))
        return FaceSequenceClassifier(model_config("resnet18", input_size=32)).backbone.state_dict(), "a file"

    monkeypatch.setattr(training, "imagenet_state", local)
    chosen = replace(small, imagenet="w.pth")
    assert training._start(chosen, None, said.append)[1] == "imagenet"
    assert seen == [("resnet18", "w.pth")]
