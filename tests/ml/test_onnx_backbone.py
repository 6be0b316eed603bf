"""On a processor the backbone computes in ONNX Runtime: the same scores as torch, or torch itself and a sentence."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage import data

from ml.config import ModelConfig
from ml.model import onnx_backbone as module
from ml.model.inference import Classifier
from ml.model.network import FaceSequenceClassifier, model_config
from ml.model.onnx_backbone import EXPORT_VERSION
from ml.model.weights import BASELINE, WeightsInfo, file_sha256, save_weights
from tests.weights import TINY


def faces(count: int = 4, side: int = 96) -> list[NDArray[np.uint8]]:
    """The astronaut's face, seen through a window that moves."""
    return [np.ascontiguousarray(data.astronaut()[60 + k :, 170 + k :][:side, :side]) for k in range(count)]


def write(path: Path, config: ModelConfig = TINY, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    save_weights(FaceSequenceClassifier(config), WeightsInfo("test", config), path)
    return path


def export_of(weights: Path, folder: Path) -> Path:
    return folder / f"{file_sha256(weights)}.v{EXPORT_VERSION}.onnx"


@pytest.mark.parametrize("backbone", ["shipped", "tf_efficientnet_lite0", "resnext50_32x4d"])
def test_scores_are_those_of_torch(tmp_path: Path, backbone: str) -> None:
    path = BASELINE
    if backbone != "shipped":
        path = write(tmp_path / "w.safetensors", model_config(backbone, input_size=64, mirror=True))
    quick = Classifier.load(path, device="cpu", onnx_folder=tmp_path / "cache")
    plain = Classifier.load(path, device="cpu")
    assert quick.onnx is not None
    assert plain.onnx is None
    people = [faces(3), faces(1)]
    for mine, torchs in zip(quick.score(people), plain.score(people), strict=True):
        assert mine.fake_probability == pytest.approx(torchs.fake_probability, abs=1e-4)
        assert mine.frame_probabilities == pytest.approx(torchs.frame_probabilities, abs=1e-4)


def test_features_are_the_same_bit_for_bit_whatever_the_batch_the_threads_and_the_process_made(tmp_path: Path) -> None:
    path = write(tmp_path / "w.safetensors")
    frames = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    before = torch.get_num_threads()
    answers = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            classifier = Classifier.load(path, device="cpu", onnx_folder=tmp_path / "cache")
            answers += [classifier.features_of(frames), torch.cat([classifier.features_of(f[None]) for f in frames])]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(answer, answers[0]) for answer in answers)


def test_the_export_is_made_once_and_again_when_it_is_missing_damaged_or_of_other_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, weights = tmp_path / "cache", write(tmp_path / "w.safetensors")
    made: list[Path] = []
    real = module._export

    def note(model: FaceSequenceClassifier, path: Path) -> None:
        made.append(path)
        real(model, path)

    monkeypatch.setattr(module, "_export", note)
    expected = Classifier.load(weights, device="cpu").score([faces()])[0].fake_probability

    def score() -> float:
        classifier = Classifier.load(weights, device="cpu", onnx_folder=cache)
        assert classifier.onnx is not None
        return classifier.score([faces()])[0].fake_probability

    first = score()
    export = export_of(weights, cache)
    assert made == [export]
    assert score() == first == pytest.approx(expected, abs=1e-4)
    assert len(made) == 1, "kept"
    sound = export.read_bytes()
    other = write(tmp_path / "other.safetensors", seed=1)
    Classifier.load(other, device="cpu", onnx_folder=cache)
    foreign = export_of(other, cache).read_bytes()
    for damage in (b"", b"no model", sound[: len(sound) // 2], foreign):
        export.write_bytes(damage)
        assert score() == first
        assert export.read_bytes() == sound
    export.unlink()
    assert score() == first
    assert sorted(path.name for path in cache.iterdir()) == sorted({export.name, export_of(other, cache).name})


@pytest.mark.parametrize("trouble", ["folder", "exporter", "numbers"])
def test_what_cannot_be_had_in_onnx_runtime_is_computed_in_torch_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    cache, weights = tmp_path / "cache", write(tmp_path / "w.safetensors")
    if trouble == "folder":
        cache.write_text("a file where the folder should be")
    elif trouble == "exporter":

        def fails(model: FaceSequenceClassifier, path: Path) -> None:
            raise RuntimeError("no such operator")

        monkeypatch.setattr(module, "_export", fails)
    else:
        monkeypatch.setattr(module.OnnxBackbone, "__call__", lambda self, frames: torch.ones(len(frames), 96))
    with caplog.at_level(logging.WARNING):
        classifier = Classifier.load(weights, device="cpu", onnx_folder=cache)
    assert classifier.onnx is None
    assert classifier.score([faces()]) == Classifier.load(weights, device="cpu").score([faces()])
    said = caplog.records[-1].getMessage()
    assert said.startswith("The network computes in torch, at half of the speed, not in ONNX Runtime: ")
    assert {"folder": "FileExists", "exporter": "no such operator", "numbers": "other numbers"}[trouble] in said
