"""The recipe of the shipped weights goes its whole way on clips that are made here, and survives a kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage import data

from ml.config import Alignment
from ml.data.crop_pack import CropRow, Pack, PackWriter
from ml.data.recordings import COPIES
from ml.data.self_blend import self_blend
from ml.faces.landmarks import face_landmarks
from ml.model.inference import Classifier
from ml.model.weights import load_weights
from ml.training.frame_stage import load_checkpoint
from ml.training.recipes import BASELINE, BLENDED, RECIPES

ROOT = Path(__file__).parents[2]
SIDE = 128


def portrait(rng: np.random.Generator) -> NDArray[np.uint8]:
    """One person: the portrait in colours, proportions and a framing of their own."""
    face = data.astronaut()[30:190, 145:305]
    wide, high = rng.uniform(0.9, 1.1, 2)
    turn = cv2.getRotationMatrix2D((80.0, 80.0), float(rng.uniform(-8, 8)), 1.0)
    turn[0] *= wide
    turn[1] *= high
    turned = cv2.warpAffine(face, turn, (160, 160), borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    coloured = turned * rng.uniform(0.7, 1.2, 3) + rng.uniform(-15, 15, 3)
    small = cv2.resize(np.clip(coloured, 0, 255).astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


def clip_pack(path: Path, *, people: int = 24, frames: int = 6) -> Pack:
    """A real clip and a forged one of each person; the forgery pastes a changed face, alike in every frame."""
    writer = PackWriter()
    for person in range(people):
        rng = np.random.default_rng([7, person])
        still = portrait(rng)
        points = face_landmarks([still])[0]
        split = ("train", "train", "val", "holdout")[person % 4]
        for label in (0, 1):
            for frame in range(frames):
                picture = still
                if label:
                    picture, _ = self_blend(still, points, np.random.default_rng([9, person]), strength=1.6)
                noise = np.random.default_rng([person, label, frame]).normal(0, 2, still.shape)
                moved = np.roll(np.clip(picture + noise, 0, 255).astype(np.uint8), frame - 3, axis=1)
                name = f"{person}-{label}"
                writer.add_crop(
                    moved,
                    CropRow(
                        label, f"person {person}", "film", method="paste" if label else "", split=split,
                        sequence=name, order=frame, origin=f"clip {person}", video=name,
                    ),
                )  # fmt: skip
    writer.find_landmarks()
    return Pack(writer.write(path))


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """Clips of eight people, where it is not their faces that count."""
    return clip_pack(tmp_path_factory.mktemp("few") / "clips.pack", people=8)


def train(pack: Pack, out: Path, *extra: str, recipe: str = "baseline") -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ml.train", str(pack.path), "--out", str(out), "--recipe", recipe, "--smoke"]
    return subprocess.Popen(
        [*command, "--workers", "0", *extra], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def history(run: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((run / "history.json").read_text())["history"]
    return found


@pytest.mark.slow
def test_the_recipe_in_small_learns_to_tell_forged_clips_of_people_it_has_not_seen(tmp_path: Path) -> None:
    pack = clip_pack(tmp_path / "clips.pack")
    process = train(pack, tmp_path / "run", "--device", "cpu", "--crops", "768")
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert "ImageNet weights from the package" in said
    info = Classifier.load(tmp_path / "run" / "weights.safetensors", device="cpu").info
    assert info.config.backbone == BLENDED.backbone
    assert info.config.members == len(BASELINE) == 2
    assert info.config.alignment == Alignment.LANDMARKS_68
    assert info.config.frame_hidden == 128
    assert info.metrics["videos"]["n"] == 12
    assert info.metrics["summary"]["auc"]["value"] > 0.8
    held = {f"person {k}" for k in range(24) if k % 4 == 3}
    assert not held & set(info.trained_on)
    (head,) = (entry for entry in history(tmp_path / "run") if entry["stage"] == "head")
    assert head["crops"] == 528
    assert head["recordings"] == 48 * COPIES
    change = head["change_by_recording"]
    assert change["after"] < change["before"]

    weights = str(tmp_path / "run" / "weights.safetensors")
    short = ["--stage", "refit", "--refit-crops", "132", "--refit-recordings", "8"]
    again = train(pack, tmp_path / "again", "--device", "cpu", *short, "--weights", weights)
    said, _ = again.communicate(timeout=600)
    assert again.returncode == 0, said
    assert [entry["stage"] for entry in history(tmp_path / "again")] == ["head"]
    ours, theirs = (load_weights(tmp_path / name / "weights.safetensors")[0] for name in ("run", "again"))
    assert all(map(torch.equal, ours.backbone.state_dict().values(), theirs.backbone.state_dict().values()))
    assert not torch.equal(ours.frame_head.weight, theirs.frame_head.weight)


@pytest.mark.slow
def test_a_training_killed_in_the_middle_and_resumed_gives_the_same_weights(few: Pack, tmp_path: Path) -> None:
    short = ["--stage", "frames", "--crops", "64", "--batch-size", "8", "--size", "64", "--steps-per-epoch", "2"]
    whole = train(few, tmp_path / "whole", *short, recipe="forged")
    assert whole.communicate(timeout=300)[0]
    assert whole.returncode == 0
    cut = train(few, tmp_path / "cut", *short, recipe="forged")
    checkpoint = tmp_path / "cut" / "frames.ckpt"
    deadline = time.monotonic() + 300
    while not checkpoint.exists():
        assert time.monotonic() < deadline
        assert cut.poll() is None
        time.sleep(0.02)
    cut.send_signal(signal.SIGKILL)
    cut.wait()
    resumed = train(few, tmp_path / "cut", *short, "--resume", recipe="forged")
    said, _ = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, said
    assert "resumed at step" in said
    one, two = load_checkpoint(tmp_path / "whole" / "frames.ckpt"), load_checkpoint(checkpoint)
    assert one["step"] == two["step"] == 8
    for part in ("network", "average"):
        assert all(torch.equal(value, two[part][name]) for name, value in one[part].items())


@pytest.mark.slow
def test_two_processes_train_one_network_and_only_the_first_writes(few: Pack, tmp_path: Path) -> None:
    short = ["--stage", "frames", "--crops", "48", "--batch-size", "8", "--size", "64", "--steps-per-epoch", "3"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run = tmp_path / "run"
    command = [*launcher, "-m", "ml.train", str(few.path), "--out", str(run), "--recipe", "forged", "--smoke", *short]
    done = subprocess.run([*command, "--workers", "0"], cwd=ROOT, text=True, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    state = load_checkpoint(run / "frames.ckpt")
    assert state["step"] == 6
    assert [entry["epoch"] for entry in state["history"]] == [1, 2]
    assert all(bool(value.isfinite().all()) for value in state["network"].values())
    assert [path.name for path in run.iterdir()] == ["frames.ckpt"]


def test_every_recipe_names_shares_that_add_up_and_has_a_larger_form_for_a_gpu() -> None:
    for recipe in RECIPES.values():
        assert sum(share for _, share in recipe.source_weights) == pytest.approx(1.0, abs=0.02)
        large = recipe.for_cuda()
        assert (large.size, large.crops, large.batch_size) > (recipe.size, recipe.crops, recipe.batch_size)
        assert large.source_weights == recipe.source_weights
        assert recipe.for_smoke().backbone == recipe.backbone
