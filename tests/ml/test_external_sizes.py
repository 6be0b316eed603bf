"""How much memory a model of others takes follows from the shape of its input, not from what a picture shows."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from ml.model.external.rules import MAX_OPSET, REFUSED_OPERATORS, Refusal, check
from ml.model.external.sizes import SIZES
from tests.ml.test_external import MANIFEST

INDICES = {
    "CumSum": {1}, "Gather": {1}, "GatherElements": {1}, "GatherND": {1}, "MaxUnpool": {1}, "ReverseSequence": {1},
    "NegativeLogLikelihoodLoss": {1}, "RoiAlign": {2}, "RotaryEmbedding": {3}, "Scatter": {1}, "ScatterElements": {1},
    "GRU": {4}, "LSTM": {4}, "RNN": {4}, "ScatterND": {1}, "SoftmaxCrossEntropyLoss": {1}, "Trilu": {1},
}  # fmt: skip
"""Whole numbers that no shape follows from."""


def refused(steps: str, tmp_path: Path) -> tuple[str, str] | None:
    """Check a model whose logits are the mean red and the mean green, with further operators that nobody reads.

    They may use the whole numbers `n` (of no dimension) and `size` (of one): 1 for very bright pictures, else 0.
    """
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 18]>
        by_hand (float[n, 3, 16, 16] pixels) => (float[n, 2] logits) {{
            zero = Constant <value_ints = [0]> ()
            one = Constant <value_ints = [1]> ()
            two = Constant <value_ints = [2]> ()
            four = Constant <value_ints = [4]> ()
            minus = Constant <value_ints = [-1]> ()
            scalar = Constant <value_int = 1> ()
            both = Constant <value_floats = [0.0, 1.0]> ()
            bright = Constant <value_float = 100.0> ()
            top = ReduceMax <keepdims = 0> (pixels)
            far = Greater (top, bright)
            n = Cast <to = 7> (far)
            size = Reshape (n, one)
            flat = Reshape (pixels, minus)
            {steps}
            pooled = GlobalAveragePool (pixels)
            means = Flatten (pooled)
            logits = Slice (means, zero, two, one)
        }}
    """)
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    try:
        check(path, json.loads(MANIFEST.to_json()))
    except Refusal as refusal:
        return refusal.args[0], refusal.args[1]
    return None


@pytest.mark.parametrize(
    ("operator", "steps"),
    [
        ("ConstantOfShape", "large = ConstantOfShape (size)"),
        ("ConstantOfShape", "m = Mul (size, four) k = Concat <axis = 0> (one, m) large = ConstantOfShape (k)"),
        ("ConstantOfShape", "large = ConstantOfShape (k) k = Identity (size)"),  # in no order
        ("Range", "large = Range (scalar, n, scalar)"),
        ("Expand", "k = Add (size, one) large = Expand (one, k)"),
        ("Tile", "large = Tile (both, size)"),
        ("Pad", "pads = Concat <axis = 0> (zero, size) large = Pad (both, pads)"),
        ("Resize", "k = Add (size, one) f = Cast <to = 1> (k) s = Concat <axis = 0> (f, f, f, f)"
                   " large = Resize (pixels, , s)"),
        ("RoiAlign", "f = Cast <to = 1> (size) s = Concat <axis = 0> (f, f, f, f) box = Unsqueeze (s, zero)"
                     " part = RoiAlign (pixels, box, zero)"),
        ("OneHot", "depth = Add (n, scalar) large = OneHot (one, depth, both)"),
        ("HannWindow", "k = Add (n, scalar) large = HannWindow (k)"),
        ("Slice", "part = Slice (flat, zero, size)"),
        ("Reshape", "k = Sub (zero, one) s = Add (k, size) part = Reshape (flat, s) large = Shape (part)"),
        ("TopK", "best, at = TopK (flat, size)"),
        ("SequenceAt", "pair = SequenceConstruct (one, two) part = SequenceAt (pair, n)"),
        ("ReduceSum", "part = ReduceSum (pixels, size)"),
    ],
)  # fmt: skip
def test_no_size_may_come_from_what_the_picture_shows(tmp_path: Path, operator: str, steps: str) -> None:
    found = refused(steps, tmp_path)
    assert found is not None
    code, sentence = found
    assert code == "refused_operator"
    assert f"gives {operator} a size that it computes from what the picture shows;" in sentence


@pytest.mark.parametrize(
    "steps",
    [
        "k = Shape (pixels) large = ConstantOfShape (k) wide = Expand (bright, k) same = Reshape (flat, k)",
        "k = Size (top) list = Range (n0, k, scalar) n0 = Constant <value_int = 0> ()",
        "k = Shape <start = 2> (pixels) m = Mul (k, two) h = Shape <end = 2> (pixels) s = Concat <axis = 0> (h, m)"
        " large = Resize (pixels, , , s)",
        "k = Shape (flat) best, at = TopK (flat, one) part = Slice (flat, zero, k) t = Tile (flat, one)",
        "pads = Constant <value_ints = [1, 1]> () more = Pad (flat, pads, top)",
        "at = ArgMax <axis = 0> (flat) hot = OneHot (at, four, both) part = Gather (flat, at)",
        "i = EyeLike (means2) means2 = Flatten (pixels) k = Cast <to = 7> (i) m = ReduceMax <keepdims = 0> (k)"
        " w = HannWindow (m)",
        "pair = SequenceConstruct (flat, top) k = SequenceLength (pair) list = Range (k, k, scalar)",
    ],
)
def test_sizes_that_follow_from_shapes_and_content_that_is_no_size_are_run(tmp_path: Path, steps: str) -> None:
    assert refused(steps, tmp_path) is None


def test_a_length_between_the_least_and_the_greatest_that_takes_more_is_found(tmp_path: Path) -> None:
    """It makes a table of no entries, except where it is shown four faces."""
    text = """
        <ir_version: 8, opset_import: ["": 18]>
        by_hand (float[1, t, 3, 16, 16] pixels) => (float[1, 2] logits) {
            zero = Constant <value_ints = [0]> ()
            two = Constant <value_ints = [2]> ()
            four = Constant <value_ints = [4]> ()
            large = Constant <value_ints = [LARGE]> ()
            axes = Constant <value_ints = [1, 3, 4]> ()
            length = Shape <start = 1, end = 2> (pixels)
            same = Equal (length, four)
            count = Where (same, large, zero)
            table = ConstantOfShape (count)
            sum = ReduceSum (table)
            means = ReduceMean <keepdims = 0> (pixels, axes)
            some = Slice (means, zero, two, one)
            one = Constant <value_ints = [1]> ()
            logits = Add (some, sum)
        }
    """
    path = tmp_path / "m.onnx"
    said = {**json.loads(MANIFEST.to_json()), "looks_at": "sequence", "shape": "BTCHW", "pictures": None}
    path.write_bytes(onnx.parser.parse_model(text.replace("LARGE", "1000")).SerializeToString())
    check(path, said)
    path.write_bytes(onnx.parser.parse_model(text.replace("LARGE", str(2**55))).SerializeToString())
    with pytest.raises(MemoryError):
        check(path, said)


def test_every_whole_number_that_an_operator_of_the_standard_takes_is_known_as_a_size_or_none() -> None:
    unknown = {
        f"{schema.name} {place} ({port.name}) of opset {schema.since_version}"
        for schema in onnx.defs.get_all_schemas_with_history()
        if schema.domain == "" and schema.since_version <= MAX_OPSET and schema.name not in REFUSED_OPERATORS
        for place, port in enumerate(schema.inputs)
        if {"tensor(int64)"} <= set(port.types) <= {"tensor(int64)", "tensor(int32)"}
        and place not in {*SIZES.get(schema.name, ()), *INDICES.get(schema.name, ())}
    }
    assert unknown == set()
