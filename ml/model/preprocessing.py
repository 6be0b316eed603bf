"""From stored crops to network input.  One function, used by training, inference and re-scoring alike."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml.config import ModelConfig


def to_input_array(crop: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """One RGB crop (H, W, 3) uint8 -> (size, size, 3) uint8.  Area averaging when it shrinks, so nothing aliases."""
    if crop.ndim != 3 or crop.shape[2] != 3:
        raise ValueError(f"a crop is (H, W, 3) RGB, not {crop.shape}")
    if crop.shape[:2] == (size, size):
        return crop
    shrinking = crop.shape[0] >= size
    resized = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC)
    return np.asarray(resized, dtype=np.uint8)


def normalise(batch: Tensor, config: ModelConfig) -> Tensor:
    """(N, S, S, 3) uint8 RGB -> (N, 3, S, S) float32, channels_last in memory, ImageNet mean and deviation."""
    mean = torch.tensor(config.mean, device=batch.device)
    std = torch.tensor(config.std, device=batch.device)
    scaled = (batch.to(torch.float32) / 255.0 - mean) / std
    # permuting NHWC is channels_last already: no copy
    return scaled.permute(0, 3, 1, 2)


def crops_to_tensor(crops: Sequence[NDArray[np.uint8]], config: ModelConfig) -> Tensor:
    """RGB crops of any size -> (N, 3, S, S) float32."""
    arrays = np.stack([to_input_array(crop, config.input_size) for crop in crops])
    return normalise(torch.from_numpy(arrays), config)
