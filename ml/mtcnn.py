"""MTCNN's three networks (Zhang et al. 2016) with the weights that facenet-pytorch brings, and its arithmetic of boxes.

Written out here because importing the package imports torchvision: that costs each worker that only looks for faces
170 MB and a second, for three networks of some hundred thousand weights and a suppression of overlaps.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv2d, linear, max_pool2d, prelu

STRIDE = 2
CELL = 12
"""The first network's field of view, in pixels."""
SKIPPED = ("dense6_3.",)
"""The five landmarks of a face: nobody needs them here."""


class Networks:
    """Proposals, refinement, decision: each (N, 3, h, w) -> (shifts, probabilities of a face)."""

    def __init__(self, device: torch.device) -> None:
        self._weights = {name: _weights(name, device) for name in ("pnet", "rnet", "onet")}

    def propose(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Any size -> (N, 4, h', w'), (N, h', w')."""
        w = self._weights["pnet"]
        x = max_pool2d(_layer(x, w, 1), 2, 2, ceil_mode=True)
        x = _layer(_layer(x, w, 2), w, 3)
        scores = conv2d(x, w["conv4_1.weight"], w["conv4_1.bias"]).softmax(dim=1)
        return conv2d(x, w["conv4_2.weight"], w["conv4_2.bias"]), scores[:, 1]

    def refine(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """24 x 24 pixels -> (N, 4), (N,)."""
        w = self._weights["rnet"]
        x = max_pool2d(_layer(x, w, 1), 3, 2, ceil_mode=True)
        x = max_pool2d(_layer(x, w, 2), 3, 2, ceil_mode=True)
        return _decided(_layer(x, w, 3), w, 4)

    def decide(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """48 x 48 pixels -> (N, 4), (N,)."""
        w = self._weights["onet"]
        x = max_pool2d(_layer(x, w, 1), 3, 2, ceil_mode=True)
        x = max_pool2d(_layer(x, w, 2), 3, 2, ceil_mode=True)
        x = max_pool2d(_layer(x, w, 3), 2, 2, ceil_mode=True)
        return _decided(_layer(x, w, 4), w, 5)


def _layer(x: Tensor, weights: dict[str, Tensor], number: int) -> Tensor:
    return prelu(
        conv2d(x, weights[f"conv{number}.weight"], weights[f"conv{number}.bias"]), weights[f"prelu{number}.weight"]
    )


def _decided(x: Tensor, weights: dict[str, Tensor], number: int) -> tuple[Tensor, Tensor]:
    """The two dense layers; the weights expect columns before rows, and channels last."""
    flat = x.permute(0, 3, 2, 1).reshape(x.shape[0], -1)
    first, last = f"dense{number}", f"dense{number + 1}"
    flat = prelu(linear(flat, weights[f"{first}.weight"], weights[f"{first}.bias"]), weights[f"prelu{number}.weight"])
    scores = linear(flat, weights[f"{last}_1.weight"], weights[f"{last}_1.bias"]).softmax(dim=1)
    return linear(flat, weights[f"{last}_2.weight"], weights[f"{last}_2.bias"]), scores[:, 1]


def _weights(name: str, device: torch.device) -> dict[str, Tensor]:
    package = find_spec("facenet_pytorch")
    assert package is not None
    assert package.origin is not None
    state = torch.load(Path(package.origin).parent / "data" / f"{name}.pt", weights_only=True, map_location=device)
    return {
        key: value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value
        for key, value in state.items()
        if not key.startswith(SKIPPED)
    }


# --- boxes: x1, y1, x2, y2, probability ---------------------------------------------------------------------------


def proposals(shifts: Tensor, scores: Tensor, scale: float, threshold: float) -> tuple[Tensor, Tensor]:
    """(K, 9): the boxes in full pixels with their probability and shifts; and of which picture each is."""
    places = (scores >= threshold).nonzero()
    owners, y, x = places.unbind(1)
    corner = torch.stack([x, y], dim=1) * float(STRIDE)
    low, high = ((corner + 1) / scale).floor(), ((corner + CELL) / scale).floor()
    return torch.cat([low, high, scores[owners, y, x][:, None], shifts[owners, :, y, x]], dim=1), owners


def squared(boxes: Tensor) -> Tensor:
    """Each as a square about the same centre, its side the longer one's."""
    size = boxes[:, 2:4] - boxes[:, :2]
    side = size.amax(dim=1, keepdim=True)
    corner = boxes[:, :2] + size * 0.5 - side * 0.5
    return torch.cat([corner, corner + side, boxes[:, 4:5]], dim=1)


def shifted(boxes: Tensor, shifts: Tensor) -> Tensor:
    """Moved by shifts, which are in parts of the box's size (both edges counted)."""
    size = (boxes[:, 2:4] - boxes[:, :2] + 1).repeat(1, 2)
    return torch.cat([boxes[:, :4] + shifts * size, boxes[:, 4:5]], dim=1)


def best(boxes: Tensor, owners: Tensor, threshold: float) -> Tensor:
    """Which of the boxes remain, the most probable first: none overlaps (IoU) a better one of its picture by more."""
    corners = boxes[:, :4].double().cpu().numpy()
    apart = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    if len(corners):
        apart[:, 0] += owners.cpu().numpy() * (2 * np.abs(corners).max() + 1)  # pictures beside each other
    # Arrays do, and no other type is in OpenCV's own annotations.
    kept = cv2.dnn.NMSBoxes(cast(Any, apart), cast(Any, boxes[:, 4].cpu().numpy()), 0.0, threshold)
    return torch.as_tensor(np.asarray(kept, dtype=np.int64).reshape(-1), device=boxes.device)


def best_of_nested(boxes: Tensor, owners: Tensor, threshold: float) -> Tensor:
    """As `best`, by the share of the smaller of two boxes that they have in common: of two in each other one stays."""
    rows: NDArray[np.float32] = boxes[:, :4].cpu().numpy()
    whose = owners.cpu().numpy()
    area = (rows[:, 2] - rows[:, 0] + 1) * (rows[:, 3] - rows[:, 1] + 1)
    left, kept = np.argsort(boxes[:, 4].cpu().numpy())[::-1], []
    while left.size:
        first, rest = left[0], left[1:]
        kept.append(first)
        low, high = np.maximum(rows[first, :2], rows[rest, :2]), np.minimum(rows[first, 2:], rows[rest, 2:])
        common = np.maximum(0, high - low + 1).prod(axis=1) / np.minimum(area[first], area[rest])
        left = rest[(common <= threshold) | (whose[rest] != whose[first])]
    return torch.as_tensor(np.asarray(kept, dtype=np.int64), device=boxes.device)
