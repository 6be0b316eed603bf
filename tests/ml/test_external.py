"""Detectors of others: what their manifest may say, what of an ONNX file is refused, and how an answer is read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from ml.model import external
from ml.model.external import check as checking
from ml.model.external.check import check_model, write_with_manifest
from ml.model.external.manifest import Manifest, ModelRefused, parse_manifest, read_manifest
from ml.model.external.network import as_shown, margin
from ml.model.external.rules import Refusal, check
from ml.model.inference import Classifier
from ml.model.weights import WeightsError, load_weights, save_with_info

SAID: dict[str, Any] = {
    "name": "by hand", "license": "MIT", "source": "this test", "input": "pixels", "size": 16, "output": "logits",
    "fake": 1,
}  # fmt: skip
MANIFEST = parse_manifest(json.dumps(SAID))


def by_hand(change: Callable[[onnx.ModelProto], None] = lambda model: None) -> bytes:
    """A model whose logits are the mean red and the mean blue: (N, 3, 16, 16) -> (N, 2)."""
    pick = np.array([[1, 0], [0, 0], [0, 1]], np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["pixels"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["means"]),
            helper.make_node("MatMul", ["means", "pick"], ["logits"]),
        ],
        "by hand",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(pick, "pick")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    change(model)
    return bytes(model.SerializeToString())


def far(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/passwd")


def claims(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer.add(name="large", data_type=TensorProto.FLOAT)
    tensor.dims.extend([3, 1024, 1024, 256])


def swells(model: onnx.ModelProto) -> None:
    """Needs 5 GB to answer, in a file of a few hundred bytes."""
    del model.graph.node[:]
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 100, 64, 64], np.int64), "many"))
    model.graph.node.extend(
        [
            helper.make_node("Tile", ["pixels", "many"], ["tiled"]),
            helper.make_node("Concat", ["tiled"] * 4, ["joined"], axis=1),
            helper.make_node("GlobalAveragePool", ["joined"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["logits"]),
        ]
    )


def inner(model: onnx.ModelProto) -> None:
    """External data in the branch of an If that is never taken."""
    tensor = numpy_helper.from_array(np.zeros(2, np.float32), "t")
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value="/dev/zero")
    branch = helper.make_graph([helper.make_node("Constant", [], ["b"], value=tensor)], "branch", [], [])
    model.graph.node.append(helper.make_node("Identity", ["pick"], ["again"]))
    model.graph.node[-1].attribute.append(helper.make_attribute("then_branch", branch))


def node(name: str, domain: str = "", inputs: tuple[str, ...] = ("logits",)) -> Callable[[onnx.ModelProto], None]:
    def add(model: onnx.ModelProto) -> None:
        model.graph.node.append(helper.make_node(name, list(inputs), ["extra"], domain=domain))
        if domain:
            model.opset_import.append(helper.make_opsetid(domain, 1))

    return add


def function(model: onnx.ModelProto) -> None:
    made = helper.make_node("Relu", ["x"], ["y"])
    model.functions.append(helper.make_function("mine", "F", ["x"], ["y"], [made], [helper.make_opsetid("", 17)]))


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("who", TensorProto.FLOAT, [1]))


def nan(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((3, 2), np.nan, np.float32), "pick"))


def opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 99


def marked(model: onnx.ModelProto) -> None:
    model.metadata_props.add(key="dfd_manifest", value="{}")


@pytest.mark.parametrize(
    ("change", "says", "code"),
    [
        (far, {}, "external_data"),
        (inner, {}, "external_data"),
        (claims, {}, "too_large"),
        (node("Sesame", "evil"), {}, "custom_operators"),
        (node("FusedConv", "com.microsoft"), {}, "custom_operators"),
        (node("Sesame"), {}, "custom_operators"),
        (function, {}, "custom_operators"),
        (node("NonZero"), {}, "refused_operator"),
        (node("RandomNormalLike"), {}, "refused_operator"),
        (node("NonMaxSuppression"), {}, "refused_operator"),
        (node("StringSplit"), {}, "refused_operator"),
        (opset, {}, "unsupported_opset"),
        (marked, {}, "manifest_inside"),
        (second_input, {}, "too_many_inputs"),
        (nan, {}, "not_finite"),
        (lambda model: None, {"input": "image"}, "missing_input"),
        (lambda model: None, {"output": "scores"}, "missing_output"),
        (lambda model: None, {"size": 32}, "wrong_input"),
        (lambda model: None, {"fake": 2}, "wrong_output"),
        (lambda model: None, {"fake": "high"}, "wrong_output"),
        (lambda model: None, {"output_kind": "probabilities"}, "wrong_output"),
        (lambda model: model.graph.ClearField("node"), {}, "unreadable"),
        (node("MatMul", inputs=("pixels", "pick")), {"output": "logits"}, "cannot_run"),
    ],
)
def test_what_is_refused_and_why(
    tmp_path: Path, change: Callable[[onnx.ModelProto], None], says: dict[str, Any], code: str
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(by_hand(change))
    with pytest.raises(Refusal) as refused:
        check(path, {**json.loads(MANIFEST.to_json()), **says})
    assert refused.value.args[0] == code
    assert refused.value.args[1].endswith(".")


def test_a_process_of_its_own_checks_and_hostile_files_harm_only_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"

    def refused(content: bytes) -> str:
        path.write_bytes(content)
        with pytest.raises(ModelRefused) as found:
            check_model(path, MANIFEST)
        return found.value.code

    sound = by_hand()
    path.write_bytes(sound)
    check_model(path, MANIFEST)
    assert refused(by_hand(far)) == "external_data"
    assert refused(by_hand(swells)) == "too_much_memory"
    assert refused(by_hand(node("MatMul", inputs=("pixels", "pick")))) == "cannot_run", "though it prints"
    assert refused(by_hand().replace(b"GlobalAveragePool", b"GlobalAverage\xff\xfe\xff\xff")) == "unreadable"
    assert refused(b"\x3a" + b"\xff\xff\xff\xff\x0b" + b"x" * 100) == "unreadable", "3 GB claimed, 100 bytes there"
    monkeypatch.setattr(checking, "MAX_FILE_BYTES", len(sound) - 1)
    assert refused(sound) == "too_large"


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ({"size": 10**9}, "`size`"),
        ({"size": True}, "`size`"),
        ({"std": [0, 1, 1]}, "`std`"),
        ({"mean": [float("nan"), 0, 0]}, "`mean`"),
        ({"mean": 3}, "`mean`"),
        ({"fake": -1}, "`fake`"),
        ({"fake": None}, "`fake`"),
        ({"colour": "HSV"}, "`colour`"),
        ({"crop": "whatever"}, "`crop`"),
        ({"threshold": 1}, "`threshold`"),
        ({"license": ""}, "`license`"),
        ({"code": "import os"}, "nothing is known"),
        ({"metrics": {"auc": 1}}, "not yours"),
        ({"format": 2}, "`format`"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused_with_the_key_at_fault(
    tmp_path: Path, says: dict[str, Any], words: str
) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps({**SAID, **says}))
    with pytest.raises(ModelRefused, match=words) as refused:
        read_manifest(path)
    assert refused.value.code == "invalid_manifest"


def clip_model(many: int | str, *, order: str = "BTCHW", classes: int = 2) -> bytes:
    """A model whose logits are the mean red and the mean blue of a sequence."""
    at = {"B": "b", "T": many, "C": 3, "H": 16, "W": 16}
    pick = np.array([[1, 0, 0], [0, 0, 0], [0, 1, 1]], np.float32)[:, :classes]
    axes = [k for k, letter in enumerate(order) if letter in "THW"]
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["pixels"], ["means"], axes=axes, keepdims=0),
            helper.make_node("MatMul", ["means", "pick"], ["logits"]),
        ],
        "clip",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [at[letter] for letter in order])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", classes])],
        [numpy_helper.from_array(pick, "pick")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


SEQUENCE = {"looks_at": "sequence", "shape": "BTCHW"}


@pytest.mark.parametrize(
    ("model", "says", "code", "words"),
    [
        (by_hand(), SEQUENCE, "wrong_input", "is ? x 3 x 16 x 16; the manifest says B x T x 3 x 16 x 16"),
        (clip_model(8), {**SEQUENCE, "pictures": 16}, "wrong_input", "Are its `pictures` 8?"),
        (clip_model(8), SEQUENCE, "wrong_input", "Are its `pictures` 8?"),
        (
            clip_model(8),
            {"looks_at": "sequence", "shape": "BCTHW", "pictures": 8},
            "wrong_input",
            "B x 3 x 8 x 16 x 16",
        ),
        (clip_model("t"), {}, "wrong_input", "N x 3 x 16 x 16"),
        (clip_model("t"), {"looks_at": "frames"}, "wrong_input", "N x 3 x 16 x 16"),
        (clip_model("t"), {**SEQUENCE, "input": "faces"}, "missing_input", "'faces'"),
        (clip_model("t"), {**SEQUENCE, "fake": "high"}, "wrong_output", "2 classes"),
        (clip_model("t", classes=1), {**SEQUENCE, "fake": 1}, "wrong_output", "no class 1"),
        (clip_model("t"), {**SEQUENCE, "pictures": 64, "size": 1024}, "wrong_input", "64 x 3 x 1024 x 1024"),
    ],
)
def test_a_model_that_does_not_fit_what_it_is_said_to_look_at_is_refused(
    tmp_path: Path, model: bytes, says: dict[str, Any], code: str, words: str
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model)
    with pytest.raises(Refusal) as refused:
        check(path, json.loads(parse_manifest(json.dumps({**SAID, **says})).to_json()))
    assert refused.value.args[0] == code
    assert words in refused.value.args[1]


def test_sound_models_of_each_kind_pass(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    for model, says in (
        (clip_model("t"), SEQUENCE),
        (clip_model(8), {**SEQUENCE, "pictures": 8}),
        (clip_model(4, order="BCTHW"), {"looks_at": "sequence", "shape": "BCTHW", "pictures": 4, "fewer": "last"}),
        (by_hand(), {"looks_at": "frames", "crop": "native", "pictures": 3}),
        (clip_model(10), {"looks_at": "frames", "shape": "BTCHW"}),
    ):
        path.write_bytes(model)
        check(path, json.loads(parse_manifest(json.dumps({**SAID, **says})).to_json()))


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ({"looks_at": "sequence"}, "`shape` must be BTCHW or BCTHW for a model that looks at a person's faces"),
        ({"looks_at": "sequence", "shape": "NCHW"}, "`shape`"),
        ({"shape": "BTCHW"}, "`shape` must be NCHW"),
        ({"looks_at": "frames", "shape": "THWBC"}, "`shape`"),
        ({"looks_at": "frames", "shape": 5}, "`shape`"),
        ({"looks_at": "frames", "crop": "landmarks68"}, "`crop` must be centre or native"),
        ({**SEQUENCE, "crop": "centre"}, "`crop` must be none"),
        ({**SEQUENCE, "pictures": 0}, "`pictures` must be a whole number from 1 to 64"),
        ({**SEQUENCE, "pictures": -3}, "`pictures`"),
        ({**SEQUENCE, "pictures": 10**9}, "`pictures`"),
        ({**SEQUENCE, "pictures": 2.5}, "`pictures`"),
        ({**SEQUENCE, "pictures": True}, "`pictures`"),
        ({**SEQUENCE, "pictures": "10"}, "`pictures`"),
        ({"pictures": 10}, "one face at a time"),
        ({**SEQUENCE, "fewer": "zeros"}, "`fewer` must be spread or last"),
    ],
)
def test_a_manifest_whose_parts_do_not_fit_together_is_refused(says: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelRefused, match=re.escape(words)) as refused:
        parse_manifest(json.dumps({**SAID, **says}))
    assert refused.value.code == "invalid_manifest"


@pytest.mark.parametrize(
    ("have", "want", "fewer", "seen"),
    [
        (3, None, "spread", [0, 1, 2]),
        (10, 4, "spread", [0, 3, 6, 9]),
        (10, 1, "spread", [4]),
        (3, 7, "spread", [0, 0, 0, 1, 1, 2, 2]),
        (3, 5, "last", [0, 1, 2, 2, 2]),
        (1, 3, "last", [0, 0, 0]),
    ],
)
def test_a_sequence_is_shown_as_many_faces_as_the_manifest_says(
    have: int, want: int | None, fewer: str, seen: list[int]
) -> None:
    said = parse_manifest(json.dumps({**SAID, **SEQUENCE, "pictures": want, "fewer": fewer}))
    faces = np.broadcast_to(np.arange(have, dtype=np.float32)[:, None, None, None], (have, 3, 16, 16))
    shown = as_shown(faces, said)
    assert shown.shape == (1, len(seen), 3, 16, 16)
    assert shown[0, :, 0, 0, 0].tolist() == seen
    turned = as_shown(faces, replace(said, shape="BCTHW"))
    assert np.array_equal(turned.swapaxes(1, 2), shown)


def test_the_faces_of_a_sequence_have_one_score_together_and_persons_do_not_mix(tmp_path: Path) -> None:
    said = parse_manifest(json.dumps({**SAID, **SEQUENCE, "mirror": True}))
    (tmp_path / "m.onnx").write_bytes(clip_model("t"))
    write_with_manifest(tmp_path / "m.onnx", said, tmp_path / "made.onnx")
    classifier = Classifier.load(tmp_path / "made.onnx", device="cpu", onnx_folder=tmp_path)
    red, blue = (np.full((20, 20, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))
    scores = classifier.score([[red, blue, blue, blue], [red], [blue, blue]])
    margins = np.array([0.5, -1.0, 1.0])  # blue less red
    assert [s.fake_probability for s in scores] == pytest.approx(1 / (1 + np.exp(-margins)), abs=1e-5)
    assert [s.frame_probabilities for s in scores] == [(None,) * 4, (None,), (None,) * 2]
    assert classifier.score([[red]])[0] == scores[1]


def test_a_manifest_that_is_none_or_lacks_something_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    for text in (
        "",
        "[]",
        "[" * 30_000,
        '"x"',
        json.dumps({"name": "x"}),
        " " * 70_000,
        "\ud800".encode("utf-8", "surrogatepass"),
    ):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ModelRefused):
            read_manifest(path)
    path.write_text(json.dumps({**SAID, "looks_at": "frame"}))
    with pytest.raises(ModelRefused) as refused:
        read_manifest(path)
    assert refused.value.code == "not_supported"


def test_an_answer_is_read_as_the_manifest_says() -> None:
    three = np.array([0.2, 1.5, -0.3])
    shares = np.exp(three) / np.exp(three).sum()
    expected = np.log(shares[1] / (1 - shares[1]))
    assert margin(three, MANIFEST) == pytest.approx(expected)
    assert margin(shares, replace(MANIFEST, output_kind="probabilities")) == pytest.approx(expected)
    one = np.array([1.3])
    assert margin(one, replace(MANIFEST, fake="high")) == 1.3
    assert margin(one, replace(MANIFEST, fake="low")) == -1.3
    low = replace(MANIFEST, fake="low", output_kind="probabilities")
    assert margin(np.array([0.8]), low) == pytest.approx(np.log(0.2 / 0.8))
    assert np.isfinite(margin(np.array([0.0, 1.0]), replace(MANIFEST, output_kind="probabilities")))


@pytest.mark.parametrize("colour", ["RGB", "BGR"])
@pytest.mark.parametrize("pixel_max", [1, 255])
def test_it_is_shown_the_pixels_that_the_manifest_asks_for(tmp_path: Path, colour: str, pixel_max: int) -> None:
    scale = pixel_max
    manifest = replace(
        MANIFEST, colour=colour, pixel_max=pixel_max, mean=(0.1 * scale, 0.2 * scale, 0.3 * scale),
        std=(0.5 * scale, 0.4 * scale, 0.2 * scale), threshold=0.4, temperature=2.0,
    )  # fmt: skip
    (tmp_path / "m.onnx").write_bytes(by_hand())
    write_with_manifest(tmp_path / "m.onnx", manifest, tmp_path / "made.onnx")
    classifier = Classifier.load(tmp_path / "made.onnx", device="cpu", onnx_folder=tmp_path)
    face = np.full((40, 40, 3), (200, 120, 40), np.uint8)
    shown = np.array([200, 120, 40]) / 255
    first, _, last = (shown if colour == "RGB" else shown[::-1]) - (0.1, 0.2, 0.3)
    wanted = 1 / (1 + np.exp(-(last / 0.2 - first / 0.5) / 2.0))
    (score,) = classifier.score([[face, face]])
    assert score.fake_probability == pytest.approx(wanted, abs=1e-5)
    assert score.frame_probabilities == pytest.approx([wanted, wanted], abs=1e-5)
    assert (classifier.info.threshold, classifier.info.license, classifier.onnx) == (0.4, "MIT", None)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert classifier.score([[face, face]]) == [score]
    finally:
        torch.set_num_threads(before)


def test_a_file_without_its_manifest_or_damaged_is_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(by_hand())
    with pytest.raises(WeightsError, match="has no manifest"):
        load_weights(path)
    path.write_bytes(by_hand()[:-40])
    with pytest.raises(WeightsError, match="cannot load"):
        load_weights(path)
    with pytest.raises(WeightsError, match="was registered"):
        load_weights(path, sha256="0" * 64)
    assert Manifest.__module__.startswith(external.__name__)


def test_a_recalibrated_version_is_the_same_model_under_another_manifest(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(by_hand())
    write_with_manifest(tmp_path / "m.onnx", MANIFEST, tmp_path / "first.onnx")
    _, info = load_weights(tmp_path / "first.onnx")
    changed = replace(info, name="again", threshold=0.3, temperature=2.0, shift=-0.5, metrics={"auc": 0.9})
    sha256 = save_with_info(tmp_path / "first.onnx", changed, tmp_path / "second.onnx")
    _, read = load_weights(tmp_path / "second.onnx", sha256=sha256)
    assert read == changed
    sound = by_hand()
    assert (tmp_path / "second.onnx").read_bytes().startswith(sound)
    assert (tmp_path / "second.onnx").read_bytes().count(b"dfd_manifest") == 1
    face = np.full((20, 20, 3), (30, 90, 200), np.uint8)
    before, after = (
        Classifier.load(tmp_path / f"{name}.onnx", device="cpu").score([[face]])[0].fake_probability
        for name in ("first", "second")
    )
    odds = np.log(before / (1 - before))
    assert after == pytest.approx(1 / (1 + np.exp(-(odds / 2.0 - 0.5))), abs=1e-6)
