"""Writes the landmark network as ONNX from face-api's weights: `python -m tests.ml.landmarks_export MODEL_FOLDER`.

MODEL_FOLDER is `package/model` of the unpacked npm package `@vladmandic/face-api` (1.7.15).  To be run again only when
that or the form below changes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from ml.faces.landmarks import INPUT_SIZE, WEIGHTS

NAME = "face_landmark_68_model"
OPSET = 17
MEAN = (122.782, 117.001, 104.298)
"""Subtracted from RGB of 0 to 255."""
CHANNELS = (32, 64, 128, 256)


class SeparableConv(nn.Module):
    """A depthwise 3 x 3 and a pointwise convolution, padded as TensorFlow's SAME pads."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.depthwise = nn.Conv2d(channels_in, channels_in, 3, stride=stride, groups=channels_in, bias=False)
        self.pointwise = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels_in, S, S) to (N, channels_out, S / stride, S / stride), rounded up."""
        return self.pointwise(self.depthwise(pad_same(x, self.stride)))


def pad_same(x: Tensor, stride: int) -> Tensor:
    """Pad (N, C, S, S) as TensorFlow's SAME does for a 3 x 3 kernel: the odd pixel goes right and below."""
    need = max((-(-x.shape[-1] // stride) - 1) * stride + 3 - x.shape[-1], 0)
    return F.pad(x, (need // 2, need - need // 2, need // 2, need - need // 2))


class DenseBlock(nn.Module):
    """Four convolutions; each sees the sum of what the ones before it gave.  Halves the picture's side."""

    def __init__(self, channels_in: int, channels_out: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.conv0: nn.Module = (
            nn.Conv2d(channels_in, channels_out, 3, stride=2) if first else SeparableConv(channels_in, channels_out, 2)
        )
        self.conv1 = SeparableConv(channels_out, channels_out, 1)
        self.conv2 = SeparableConv(channels_out, channels_out, 1)
        self.conv3 = SeparableConv(channels_out, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, S, S) -> (N, C', S/2, S/2)."""
        a = F.relu(self.conv0(pad_same(x, 2) if self.first else x))
        b = self.conv1(a)
        c = self.conv2(F.relu(a + b))
        d = self.conv3(F.relu(a + b + c))
        return F.relu(a + b + c + d)


class LandmarkNetwork(nn.Module):
    """(N, 3, 112, 112) float32 RGB of 0 to 255 -> (N, 68, 2) points as shares of the picture's sides."""

    def __init__(self) -> None:
        super().__init__()
        before = (3, *CHANNELS[:-1])
        self.blocks = nn.Sequential(
            *(DenseBlock(i, o, first=k == 0) for k, (i, o) in enumerate(zip(before, CHANNELS, strict=True)))
        )
        self.fc = nn.Linear(CHANNELS[-1], 136)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels (N, 3, 112, 112), 0 to 255, to landmarks (N, 68, 2), shares of the sides."""
        mean = torch.tensor(MEAN, device=pixels.device)[:, None, None]
        x = self.blocks((pixels - mean) / 255)  # (N, 256, 7, 7)
        return self.fc(x.mean((2, 3))).view(-1, 68, 2)


def read_quantised(folder: Path) -> dict[str, Tensor]:
    """Name -> float32 tensor in TensorFlow's layout; stored as uint8, of which value * scale + min is meant."""
    entries = json.loads((folder / f"{NAME}-weights_manifest.json").read_text())[0]["weights"]
    blob = np.frombuffer((folder / f"{NAME}.bin").read_bytes(), np.uint8)
    found: dict[str, Tensor] = {}
    at = 0
    for entry in entries:
        size, how = int(np.prod(entry["shape"])), entry["quantization"]
        values = blob[at : at + size].astype(np.float32) * how["scale"] + how["min"]
        found[entry["name"]] = torch.from_numpy(values.reshape(entry["shape"]))
        at += size
    assert at == len(blob)
    return found


def convert(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename and transpose to the state of LandmarkNetwork."""
    state = {"fc.weight": given["fc/weights"].T, "fc.bias": given["fc/bias"]}
    for name, tensor in given.items():
        if name.startswith("fc/"):
            continue
        block, layer, part = name.split("/")
        prefix = f"blocks.{block.removeprefix('dense')}.{layer}"
        if part == "filters":
            state[f"{prefix}.weight"] = tensor.permute(3, 2, 0, 1)
        elif part == "depthwise_filter":
            state[f"{prefix}.depthwise.weight"] = tensor.permute(2, 3, 0, 1)
        elif part == "pointwise_filter":
            state[f"{prefix}.pointwise.weight"] = tensor.permute(3, 2, 0, 1)
        else:
            separable = f"{block}/{layer}/depthwise_filter" in given
            state[f"{prefix}.pointwise.bias" if separable else f"{prefix}.bias"] = tensor
    return {name: tensor.half().float().contiguous() for name, tensor in state.items()}


def write(network: LandmarkNetwork, path: Path) -> None:
    """Write the network for any number of faces, its weights as float16: ONNX Runtime makes them float32 on loading."""
    torch.onnx.export(
        network.eval(),
        (torch.zeros(1, 3, INPUT_SIZE, INPUT_SIZE),),
        str(path),
        input_names=["pixels"],
        output_names=["landmarks"],
        dynamic_axes={"pixels": {0: "n"}, "landmarks": {0: "n"}},
        opset_version=OPSET,
        dynamo=False,
    )
    model = onnx.load(str(path))
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
            casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for node in model.graph.node:
        node.ClearField("doc_string")  # where the exporter saw it
        del node.metadata_props[:]
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


if __name__ == "__main__":
    landmark_network = LandmarkNetwork()
    landmark_network.load_state_dict(convert(read_quantised(Path(sys.argv[1]))))
    write(landmark_network, WEIGHTS)
    print(f"{WEIGHTS.name}: {WEIGHTS.stat().st_size:,} bytes")
