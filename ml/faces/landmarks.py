"""68 facial landmarks of a crop: the network that levels faces before the classifier sees them.

The network is face-api's `face_landmark_68_model` (MIT): four densely connected blocks of depthwise separable
convolutions and one linear layer, 82,000 weights.  `tests/ml/landmarks_export.py` converted them from the npm
package `@vladmandic/face-api`.  Points are in iBUG order: jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, mouth 48-67.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

Crop = NDArray[np.uint8]
Points = NDArray[np.float32]
WEIGHTS = Path(__file__).parents[1] / "pretrained" / "landmarks68.safetensors"
INPUT_SIZE = 112
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


@cache
def landmark_network() -> LandmarkNetwork:
    """The network with its weights, loaded once a process; on the CPU."""
    with torch.device("meta"):  # random weights would draw from the generator that a training has seeded
        network = LandmarkNetwork()
    network.load_state_dict({name: tensor.float() for name, tensor in load_file(WEIGHTS).items()}, assign=True)
    return network.eval().to(memory_format=torch.channels_last)


@torch.inference_mode()
def face_landmarks(crops: Sequence[Crop], *, batch: int = 1) -> Points:
    """Find 68 points on each (H, W, 3) uint8 RGB crop: (N, 68, 2) float32, in pixels of that crop.

    One crop at a time unless told otherwise: the sums of a larger batch are rounded otherwise, and no score may depend
    on what else is scored.  Packing a data set takes `batch` crops at once, which is half again as fast.
    """
    found = [np.zeros((0, 68, 2), np.float32)]
    for start in range(0, len(crops), batch):
        some = crops[start : start + batch]
        small = np.stack([cv2.resize(crop, (INPUT_SIZE, INPUT_SIZE), interpolation=cv2.INTER_AREA) for crop in some])
        shares = landmark_network()(torch.from_numpy(small).permute(0, 3, 1, 2).float()).numpy()
        sides = np.array([[crop.shape[1], crop.shape[0]] for crop in some], np.float32)
        found.append(shares * sides[:, None])
    return np.concatenate(found)
