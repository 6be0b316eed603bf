"""Writes the landmark network's weights from face-api's: `python -m tests.ml.landmarks_export MODEL_FOLDER`.

MODEL_FOLDER is `package/model` of the unpacked npm package `@vladmandic/face-api` (1.7.15).  To be run again only when
that or the form below changes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from ml.faces.landmarks import WEIGHTS

NAME = "face_landmark_68_model"


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
    """Rename and transpose to the state of ml.faces.landmarks.LandmarkNetwork."""
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
    return {name: tensor.half().contiguous() for name, tensor in state.items()}


if __name__ == "__main__":
    save_file(convert(read_quantised(Path(sys.argv[1]))), str(WEIGHTS))
    print(f"{WEIGHTS.name}: {WEIGHTS.stat().st_size:,} bytes")
