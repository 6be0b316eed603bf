"""Writes MTCNN's three networks as ONNX from facenet-pytorch's weights: `python -m tests.ml.mtcnn_export`.

To be run again only when the package's weights or the form below change.  Needs the extra `dev` (onnx).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ml.faces.mtcnn.networks import FOLDER

OPSET, IR_VERSION = 17, 8
"""Old enough for every ONNX Runtime since 2022."""


class _Graph:
    """Nodes one after another; each call's input is what the last one made, unless told otherwise."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.last = "pixels"

    def add(
        self, operator: str, *constants: NDArray[np.float32], to: str = "", source: str = "", **options: Any
    ) -> str:
        output = to or f"x{len(self.nodes)}"
        names = [f"{output}.{index}" for index in range(len(constants))]
        self.constants += [
            numpy_helper.from_array(np.ascontiguousarray(value), name)
            for value, name in zip(constants, names, strict=True)
        ]
        self.nodes.append(helper.make_node(operator, [source or self.last, *names], [output], **options))
        self.last = output
        return output

    def model(self, size: Sequence[str | int], place: Sequence[str | int], extra: Mapping[str, int]) -> onnx.ModelProto:
        """`size` is h, w of a picture, `place` what follows (N, channels) in the outputs, `extra` more outputs."""

        def value(name: str, shape: Sequence[str | int]) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape])

        outputs = [value(name, [channels]) for name, channels in extra.items()]
        graph = helper.make_graph(
            self.nodes,
            self.name,
            [value("pixels", [*size, 3])],
            [value("regression", [4, *place]), value("scores", [1, *place]), *outputs],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return model


def network(
    name: str, *, side: int | None, pools: Sequence[int], dense: int | None, landmarks: bool = False
) -> onnx.ModelProto:
    """(N, h, w, 3) RGB of 0 to 255 -> `regression` (N, 4, ...) and `scores` (N, 1, ...), the probability of a face.

    A convolution and its PReLU for each of `pools`, each with max-pooling over so many pixels (0: none); then the dense
    layer of that number, or none.  With `landmarks` also those (N, 10): five x, then five y, in box sizes.
    """
    weights = package_weights(name)
    graph = _Graph(name)
    graph.add("Transpose", perm=[0, 3, 1, 2])
    graph.add("Sub", np.array([127.5], np.float32))
    graph.add("Mul", np.array([0.0078125], np.float32))
    for number, pool in enumerate(pools, 1):
        graph.add("Conv", weights[f"conv{number}.weight"], weights[f"conv{number}.bias"])
        graph.add("PRelu", weights[f"prelu{number}.weight"][:, None, None])
        if pool:
            graph.add("MaxPool", kernel_shape=[pool, pool], strides=[2, 2], ceil_mode=1)
    if dense is not None:
        graph.add("Transpose", perm=[0, 3, 2, 1])  # the weights expect columns before rows, and channels last
        graph.add("Flatten")
        graph.add("Gemm", weights[f"dense{dense}.weight"], weights[f"dense{dense}.bias"], transB=1)
        graph.add("PRelu", weights[f"prelu{dense}.weight"])
    last = f"conv{len(pools) + 1}" if dense is None else f"dense{dense + 1}"
    operator = "Conv" if dense is None else "Gemm"
    options: dict[str, Any] = {} if dense is None else {"transB": 1}
    seen = graph.last
    graph.add(operator, weights[f"{last}_2.weight"], weights[f"{last}_2.bias"], to="regression", source=seen, **options)
    # Of two classes, so that the softmax is the sigmoid of their difference.
    face, bias = (np.diff(weights[f"{last}_1.{kind}"], axis=0) for kind in ("weight", "bias"))
    graph.add(operator, face, bias, source=seen, **options)
    graph.add("Sigmoid", to="scores")
    extra = {}
    if landmarks:
        weight, bias = weights[f"{last}_3.weight"], weights[f"{last}_3.bias"]
        graph.add(operator, weight, bias, to="landmarks", source=seen, **options)
        extra = {"landmarks": len(bias)}
    return graph.model(["h", "w"], ["y", "x"], extra) if side is None else graph.model([side, side], [], extra)


def package_weights(name: str) -> dict[str, NDArray[np.float32]]:
    """As facenet-pytorch brings them; without importing the package, which imports torchvision."""
    package = find_spec("facenet_pytorch")
    assert package is not None
    assert package.origin is not None
    state = torch.load(Path(package.origin).parent / "data" / f"{name}.pt", weights_only=True)
    return {key: value.numpy() for key, value in state.items()}


def networks() -> dict[str, onnx.ModelProto]:
    """All three, by name."""
    return {
        "pnet": network("pnet", side=None, pools=[2, 0, 0], dense=None),
        "rnet": network("rnet", side=24, pools=[3, 3, 0], dense=4),
        "onet": network("onet", side=48, pools=[3, 3, 2, 0], dense=5, landmarks=True),
    }


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, model in networks().items():
        onnx.save(model, FOLDER / f"{name}.onnx")
        print(f"{FOLDER.name}/{name}.onnx: {(FOLDER / f'{name}.onnx').stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
