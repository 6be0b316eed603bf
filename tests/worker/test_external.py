"""A detector of others goes the whole way: registered, calibrated, gated, promoted, rescored, rolled back."""

from __future__ import annotations

import json
import warnings
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from django.core.management import CommandError, call_command
from torch import nn

from detection.models import ModelVersion, Promotion, Verdict, Video
from detection.services.learning import registry
from ml.model.heatmap import face_heatmaps
from ml.model.inference import Classifier
from ml.model.preprocessing import resize_crop
from tests.learning import dataset, register_blind
from tests.ml.packs import drawn_face
from worker.process import runtime
from worker.stages.images import read_crop
from worker.training.reports import NotEnough
from worker.training.run import RunOptions, _start

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_state", "silent_broker")]
SIZE = 32


def run(*arguments: object) -> str:
    out = StringIO()
    call_command(*map(str, arguments), stdout=out)
    return out.getvalue()


def lesson() -> tuple[torch.Tensor, torch.Tensor]:
    """Faces that no video of the test has, (N, 3, S, S) from -1 to 1; those of fakes are blue, label 1."""
    faces, labels = [], []
    for seed in range(90_000, 90_040):
        for label in (0, 1):
            crop = drawn_face(seed)
            crop[:, :, 2] = 255 * label
            faces.append(resize_crop(crop, SIZE))
            labels.append(float(label))
    pixels = torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return pixels, torch.tensor(labels)


def fit(layer: nn.Linear, features: torch.Tensor, labels: torch.Tensor, fake: int) -> None:
    """The last layer by least squares: FAKE's output is high for fakes, every other output for reals."""
    table = torch.cat([features.double(), torch.ones(len(features), 1, dtype=torch.float64)], dim=1)
    weights = torch.linalg.lstsq(table, (labels.double() * 2 - 1)[:, None], driver="gelsd").solution[:, 0]
    sign = torch.tensor([1.0 if k == fake else -1.0 for k in range(layer.out_features)])
    with torch.no_grad():
        layer.weight.copy_(4 * sign[:, None] * weights[:-1])
        layer.bias.copy_(4 * sign * weights[-1])


def export(network: nn.Module, path: Path, shape: tuple[int, ...] = (1, 3, SIZE, SIZE)) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (torch.zeros(shape),), str(path), input_names=["pixels"], output_names=["answer"],
            dynamic_axes={"pixels": {0: "n"}}, opset_version=17, dynamo=False,
        )  # fmt: skip
    return path


@torch.no_grad()
def efficientnet(path: Path) -> Path:
    """Two logits, FAKE first."""
    torch.manual_seed(0)
    network: Any = timm.create_model("test_efficientnet", num_classes=2).eval()
    pixels, labels = lesson()
    features = network.forward_head(network.forward_features(pixels), pre_logits=True)
    fit(network.classifier, features, labels, fake=0)
    return export(network, path)


@torch.no_grad()
def resnet(path: Path) -> Path:
    """One probability, of REAL."""
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=1).eval()
    pixels, labels = lesson()
    last, network.fc = network.fc, nn.Identity()
    fit(last, network(pixels), 1 - labels, fake=0)
    network.fc = last
    return export(nn.Sequential(network, nn.Sigmoid()).eval(), path)


def manifest(path: Path, **says: Any) -> Path:
    said = {
        "name": path.stem, "license": "Apache-2.0", "source": "https://example.org/a-detector", "input": "pixels",
        "size": SIZE, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "output": "answer", "fake": 0,
    }  # fmt: skip
    path.write_text(json.dumps({**said, **says}))
    return path


@pytest.mark.slow
def test_two_detectors_of_others_go_the_whole_way_and_a_wrong_polarity_is_caught(tmp_path: Path) -> None:
    blind = register_blind(tmp_path)
    model = efficientnet(tmp_path / "efficientnet.onnx")
    upside_down = manifest(tmp_path / "upside-down.json", fake=1)
    assert "Not calibrated" in run("register_model", model, "--manifest", upside_down)
    dataset(60)
    with pytest.raises(CommandError, match=r"worse than chance.* Is FAKE the other output\?"):
        run("promote", "upside-down")
    with pytest.raises(CommandError, match=r"Is FAKE the other output\? .*\(worse_than_chance\)"):
        run("register_model", model, "--manifest", upside_down, "--name", "again")
    assert ModelVersion.objects.count() == 2

    right = manifest(tmp_path / "efficientnet.json")
    assert "Calibrated on" in run("register_model", model, "--manifest", right)
    first = ModelVersion.objects.get(name="efficientnet")
    assert (first.kind, first.license, first.source) == ("onnx_face", "Apache-2.0", "https://example.org/a-detector")
    assert first.experimental
    assert str(first.file).endswith(f"{first.sha256}.onnx")
    assert "Passed" in run("promote", "efficientnet")
    assert "120 verdicts" in run("rescore")
    fakes = Video.objects.filter(dataset_video__label="fake")
    assert set(fakes.values_list("verdict_label", flat=True)) == {"fake"}
    assert set(Video.objects.exclude(pk__in=fakes).values_list("verdict_label", flat=True)) == {"real"}
    assert "AUC" in run("evaluate", "active", "--bootstrap", "50", "--out", tmp_path / "report")

    classifier = runtime.load_classifier(first)
    (shown,) = face_heatmaps(classifier, [drawn_face(1)])
    assert shown.shape == (48, 48)
    video = fakes[0]
    crops = [np.asarray(read_crop(str(face.crop.name))) for face in video.faces.order_by("position")]
    again = Classifier.load(registry.local_weights(model=first), device="cpu").score([crops])[0]
    stored = Verdict.objects.get(video=video, model_version=first)
    assert again.fake_probability == pytest.approx(stored.fake_probability, abs=1e-9)

    said = run(
        "register_model", resnet(tmp_path / "resnet.onnx"), "--manifest",
        manifest(tmp_path / "resnet.json", fake="low", output_kind="probabilities"),
    )  # fmt: skip
    assert "Calibrated on" in said
    with pytest.raises(CommandError, match="must be better"):
        run("promote", "resnet")  # both tell all of them
    run("promote", "resnet", "--force", "--reason", "to see the other one")
    assert "120 verdicts" in run("rescore")
    assert set(fakes.values_list("verdict_label", flat=True)) == {"fake"}
    run("rollback")
    assert ModelVersion.objects.get(active=True) == first
    assert "120 verdicts" in run("rescore")
    assert [entry.kind for entry in Promotion.objects.order_by("created_at")] == ["first", "gate", "forced", "rollback"]
    assert Promotion.objects.order_by("created_at")[1].previous == blind

    assert "Calibrated on" in run("register_model", "--mean", "efficientnet", "resnet", "--name", "both")
    both = ModelVersion.objects.get(name="both")
    assert (both.kind, both.license) == ("ensemble", "Apache-2.0")
    assert [one["name"] for one in both.config["of"]] == ["efficientnet", "resnet"]
    with pytest.raises(CommandError, match="must be better"):
        run("promote", "both")
    run("promote", "both", "--force", "--reason", "to see the mean of them")
    assert "120 verdicts" in run("rescore")
    assert set(fakes.values_list("verdict_label", flat=True)) == {"fake"}
    for wrong in (("both", "resnet"), ("resnet", "resnet"), ("resnet",)):
        with pytest.raises(CommandError, match=r"2 to 8 different members, none an ensemble. \(invalid_ensemble\)"):
            run("register_model", "--mean", *wrong)
    for version in (first, both):
        with pytest.raises(NotEnough, match="only answers and cannot learn"):
            _start(RunOptions(), version, print)


def test_what_cannot_be_registered_is_refused_in_a_sentence_with_its_code_and_nothing_is_kept(tmp_path: Path) -> None:
    model = efficientnet(tmp_path / "m.onnx")
    good = manifest(tmp_path / "m.json")
    for arguments, said in (
        ((model,), "needs --manifest"),
        ((model, "--manifest", tmp_path / "missing.json"), r"\(invalid_manifest\)"),
        (
            (model, "--manifest", manifest(tmp_path / "input.json", input="image")),
            r"no input 'image'.*\(missing_input\)",
        ),
        ((good, "--manifest", good), r"no ONNX model.*\(unreadable\)"),
    ):
        with pytest.raises(CommandError, match=said):
            run("register_model", *arguments)
    with (tmp_path / "large.onnx").open("wb") as sparse:
        sparse.truncate(3 * 1024**3)
    with pytest.raises(CommandError, match=r"3,072 MB.*\(too_large\)"):
        run("register_model", tmp_path / "large.onnx", "--manifest", good)
    assert not ModelVersion.objects.exists()
