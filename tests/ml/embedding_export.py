"""Writes the embedding network as ONNX from face-api's weights: `python -m tests.ml.embedding_export MODEL_FOLDER`.

MODEL_FOLDER is `package/model` of the unpacked npm package `@vladmandic/face-api` (1.7.15).  To be run again only when
that or the form below changes.  Needs the extra `dev` (onnx).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ml.faces.recognition.embedding import DIMENSIONS, INPUT_SIZE, WEIGHTS
from tests.ml.mtcnn_export import IR_VERSION, OPSET

NAME = "face_recognition_model"
MEAN = (122.782, 117.001, 104.298)
"""Subtracted from RGB of 0 to 255."""


class _Graph:
    """Nodes in order.  Weights stay uint8, of which value * scale + min is meant: ONNX Runtime unfolds them at load."""

    def __init__(self, folder: Path) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.blob = np.frombuffer((folder / f"{NAME}.bin").read_bytes(), np.uint8)
        self.entries: dict[str, tuple[int, dict[str, Any]]] = {}
        at = 0
        for entry in json.loads((folder / f"{NAME}-weights_manifest.json").read_text())[0]["weights"]:
            self.entries[entry["name"]] = at, entry
            at += int(np.prod(entry["shape"])) * (1 if "quantization" in entry else 4)
        assert at == len(self.blob)

    def add(self, operator: str, *inputs: str, **options: Any) -> str:
        output = f"x{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **options))
        return output

    def constant(self, value: NDArray[Any]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def floats(self, *values: float) -> str:
        return self.constant(np.array(values, np.float32))

    def weight(self, name: str, axes: tuple[int, ...] = (0,)) -> str:
        """A weight as float32, its axes (TensorFlow's: rows, columns, in, out) in the order of `axes`."""
        at, entry = self.entries[name]
        size, how = int(np.prod(entry["shape"])), entry.get("quantization")
        if how is None:
            values = self.blob[at : at + 4 * size].view(np.float32)
            return self.constant(values.reshape(entry["shape"]).transpose(axes))
        stored = self.constant(self.blob[at : at + size].reshape(entry["shape"]).transpose(axes))
        scaled = self.add("Mul", self.add("Cast", stored, to=TensorProto.FLOAT), self.floats(how["scale"]))
        return self.add("Add", scaled, self.floats(how["min"]))

    def per_channel(self, name: str) -> str:
        """A weight (C,) as (C, 1, 1)."""
        return self.add("Unsqueeze", self.weight(name), self.constant(np.array([1, 2], np.int64)))

    def convolution(self, x: str, name: str, *, stride: int, padding: int, relu: bool) -> str:
        """A convolution, and the scale and shift of each channel that batch normalisation has become."""
        kernel, bias = self.weight(f"{name}/conv/filters", (3, 2, 0, 1)), self.weight(f"{name}/conv/bias")
        x = self.add("Conv", x, kernel, bias, strides=[stride] * 2, pads=[padding] * 4)
        x = self.add("Mul", x, self.per_channel(f"{name}/scale/weights"))
        x = self.add("Add", x, self.per_channel(f"{name}/scale/biases"))
        return self.add("Relu", x) if relu else x

    def block(self, x: str, name: str, channels: tuple[int, int], side: int) -> tuple[str, int]:
        """A residual block of two convolutions over `side` pixels; one called `down` halves the side.

        Where it halves, the short cut is an average over 2 x 2 pixels, and both ways are filled up with zeros to the
        longer side, the short cut to the channels of the other way, too.
        """
        down = "down" in name
        main = self.convolution(x, f"{name}/conv1", stride=2 if down else 1, padding=0 if down else 1, relu=True)
        main = self.convolution(main, f"{name}/conv2", stride=1, padding=1, relu=False)
        if down:
            after, pooled = (side - 3) // 2 + 1, side // 2
            side = max(after, pooled)
            x = self.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
            x = self._filled(x, channels[1] - channels[0], side - pooled)
            main = self._filled(main, 0, side - after)
        return self.add("Relu", self.add("Add", main, x)), side

    def _filled(self, x: str, channels: int, pixels: int) -> str:
        pads = np.array([0, 0, 0, 0, 0, channels, pixels, pixels], np.int64)
        return self.add("Pad", x, self.constant(pads)) if pads.any() else x


def network(folder: Path) -> onnx.ModelProto:
    """`pixels` (N, 150, 150, 3) float32 RGB of 0 to 255 -> `embedding` (N, 128)."""
    graph = _Graph(folder)
    x = graph.add("Transpose", "pixels", perm=[0, 3, 1, 2])
    x = graph.add("Sub", x, graph.constant(np.array(MEAN, np.float32)[:, None, None]))
    x = graph.add("Mul", x, graph.floats(1 / 256))
    x = graph.convolution(x, "conv32_down", stride=2, padding=0, relu=True)
    x = graph.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
    side = ((INPUT_SIZE - 7) // 2 + 1 - 3) // 2 + 1
    blocks = list(dict.fromkeys(name.split("/")[0] for name in graph.entries))[1:-1]
    channels = 32
    for name in blocks:
        given, channels = channels, graph.entries[f"{name}/conv1/conv/filters"][1]["shape"][3]
        x, side = graph.block(x, name, (given, channels), side)
    x = graph.add("Flatten", graph.add("GlobalAveragePool", x))
    graph.nodes.append(helper.make_node("MatMul", [x, graph.weight("fc", (0, 1))], ["embedding"]))
    float32 = TensorProto.FLOAT
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            NAME,
            [helper.make_tensor_value_info("pixels", float32, ["n", INPUT_SIZE, INPUT_SIZE, 3])],
            [helper.make_tensor_value_info("embedding", float32, ["n", DIMENSIONS])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    onnx.save(network(Path(sys.argv[1])), WEIGHTS)
    print(f"{WEIGHTS.name}: {WEIGHTS.stat().st_size:,} bytes")
