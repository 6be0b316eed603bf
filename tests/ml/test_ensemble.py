"""An ensemble's score is the mean of how far its members' log-odds lie from their thresholds, however they look."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ml.config import Alignment, ModelConfig
from ml.model.ensemble import HEAD, EnsembleNetwork, write_ensemble
from ml.model.external.check import write_with_manifest
from ml.model.heatmap import face_heatmaps
from ml.model.inference import Classifier
from ml.model.network import FaceSequenceClassifier, model_config
from ml.model.weights import WeightsError, WeightsInfo, file_sha256, load_weights, save_weights, save_with_info
from tests.ml.test_external import MANIFEST, by_hand

Members = list[tuple[Path, str, str]]


def crops(count: int, seed: int) -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(seed).integers(0, 255, (count, 224, 224, 3), dtype=np.uint8))


@pytest.fixture
def members(tmp_path: Path) -> Members:
    """A network with its mirror images, one over a sequence, and a detector of others: three ways to look."""
    found = []
    base = replace(model_config("test_resnet", input_size=32), alignment=Alignment.NONE)
    for k, config in enumerate((replace(base, mirror=True), replace(base, input_size=64, frame_mean=False))):
        torch.manual_seed(k)
        path = tmp_path / f"{k}.safetensors"
        info = WeightsInfo(f"m{k}", config, threshold=0.3 + 0.3 * k, temperature=0.5 + k, shift=0.2 * k)
        found.append((path, f"m{k}", save_weights(FaceSequenceClassifier(config), info, path)))
    (tmp_path / "m.onnx").write_bytes(by_hand())
    path = tmp_path / "2.onnx"
    write_with_manifest(tmp_path / "m.onnx", replace(MANIFEST, threshold=0.4, colour="BGR"), path)
    return [*found, (path, "m2", file_sha256(path))]


def odds(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


def test_its_score_is_the_mean_of_the_members_distances(tmp_path: Path, members: Members) -> None:
    info = WeightsInfo("mean", ModelConfig(), threshold=0.45, temperature=1.5, shift=0.1, license="MIT")
    write_ensemble(members, info, tmp_path / "e.zip")
    both = Classifier.load(tmp_path / "e.zip", device="cpu", onnx_folder=tmp_path)
    singles = [Classifier.load(path, device="cpu") for path, _, _ in members]
    people = [crops(3, 1), crops(1, 2)]
    answers = [single.score(people) for single in singles]
    for k, score in enumerate(both.score(people)):

        def mean(probabilities: list[float | None]) -> float:
            each = [odds(p or 0.0) - odds(s.info.threshold) for p, s in zip(probabilities, singles, strict=True)]
            return 1 / (1 + np.exp(-(float(np.mean(each)) / 1.5 + 0.1)))

        assert score.fake_probability == pytest.approx(mean([a[k].fake_probability for a in answers]), abs=1e-5)
        for face, probability in enumerate(score.frame_probabilities):
            expected = mean([a[k].frame_probabilities[face] for a in answers])
            assert probability == pytest.approx(expected, abs=1e-5)
    assert (both.info.name, both.info.threshold, both.info.license) == ("mean", 0.45, "MIT")
    assert both.score(people) == both.score(people)
    assert isinstance(both.model, EnsembleNetwork)
    assert sorted(both.model.quick) == [0, 1], "the networks of our own compute in ONNX Runtime"
    (shown,) = face_heatmaps(both, crops(1, 3))
    assert shown.shape == (224, 224)


def test_it_is_written_alike_each_time_and_recalibrated_without_its_members_changing(
    tmp_path: Path, members: Members
) -> None:
    info = WeightsInfo("mean", ModelConfig())
    for name in ("a", "b"):
        write_ensemble(members, info, tmp_path / f"{name}.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    _, read = load_weights(tmp_path / "a.zip")
    changed = replace(read, name="again", temperature=3.0, shift=-0.2, threshold=0.7)
    sha256 = save_with_info(tmp_path / "a.zip", changed, tmp_path / "c.zip")
    assert load_weights(tmp_path / "c.zip", sha256=sha256)[1] == changed
    with zipfile.ZipFile(tmp_path / "a.zip") as before, zipfile.ZipFile(tmp_path / "c.zip") as after:
        assert before.namelist() == after.namelist()
        assert all(before.read(name) == after.read(name) for name in before.namelist() if name != HEAD)


def test_an_archive_that_is_no_ensemble_is_refused(tmp_path: Path, members: Members) -> None:
    good = tmp_path / "good.zip"
    write_ensemble(members, WeightsInfo("mean", ModelConfig()), good)
    path = tmp_path / "bad.zip"

    def refused() -> None:
        with pytest.raises(WeightsError):
            load_weights(path)

    path.write_bytes(b"no archive")
    refused()
    path.write_bytes(good.read_bytes()[:5000])
    refused()
    head = json.loads(zipfile.ZipFile(good).read(HEAD))
    changes: list[dict[str, Any]] = [
        {"members": []},
        {"members": [{**entry, "file": f"../{entry['file']}"} for entry in head["members"]]},
        {"members": [{**entry, "sha256": "0" * 64} for entry in head["members"]]},
        {"threshold": 2},
        {"unknown": 1},
    ]
    for change in changes:
        with zipfile.ZipFile(good) as source, zipfile.ZipFile(path, "w") as target:
            for name in source.namelist():
                target.writestr(name, source.read(name) if name != HEAD else json.dumps({**head, **change}))
        refused()
