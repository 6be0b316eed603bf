"""From stored crops to network input: one path for training, inference, rescoring and evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml.config import Alignment, ModelConfig
from ml.faces.alignment import Jitter, Matrix, Points, align_face, alignment_matrix, whole_crop_matrix
from ml.faces.landmarks import face_landmarks

Crop = NDArray[np.uint8]


def input_matrix(crop: Crop, points: Points | None, config: ModelConfig, jitter: Jitter | None = None) -> Matrix:
    """Return the (2, 3) transformation from pixels of a crop (H, W, 3) to those of the network's input.

    `points` are its 68 landmarks (68, 2), which only levelled crops need; `jitter` changes the framing while training.
    """
    size = config.input_size
    if config.alignment == Alignment.LANDMARKS_68:
        assert points is not None
        return alignment_matrix(points, crop_side=max(crop.shape[:2]), size=size, jitter=jitter)
    return whole_crop_matrix(crop.shape[1], crop.shape[0], size=size, jitter=jitter)


def input_matrices(crops: Sequence[Crop], config: ModelConfig) -> list[Matrix]:
    """Return `input_matrix` of each crop, its landmarks found where the model wants levelled crops."""
    for crop in crops:
        if crop.ndim != 3 or crop.shape[2] != 3:
            raise ValueError(f"a crop is (H, W, 3) RGB, not {crop.shape}")
    if config.alignment == Alignment.NONE:
        return [input_matrix(crop, None, config) for crop in crops]
    found = face_landmarks(crops, threads=torch.get_num_threads())
    return [input_matrix(crop, points, config) for crop, points in zip(crops, found, strict=True)]


def to_input_arrays(
    crops: Sequence[Crop], config: ModelConfig, matrices: Sequence[Matrix] | None = None
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB crops of any size -> (N, S, S, 3) uint8, levelled where the model was trained so.

    `matrices` are those of `input_matrices`, where the caller has them.
    """
    size = config.input_size
    matrices = input_matrices(crops, config) if matrices is None else matrices
    if config.alignment == Alignment.NONE:
        return np.stack([resize_crop(crop, size) for crop in crops])
    return np.stack([align_face(crop, matrix, size) for crop, matrix in zip(crops, matrices, strict=True)])


def resize_crop(crop: Crop, size: int) -> Crop:
    """(H, W, 3) uint8 -> (size, size, 3) uint8.  Area averaging when it shrinks, so nothing aliases."""
    if crop.shape[:2] == (size, size):
        return crop
    interpolation = cv2.INTER_AREA if crop.shape[0] >= size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(crop, (size, size), interpolation=interpolation), dtype=np.uint8)


def normalise(batch: Tensor, config: ModelConfig) -> Tensor:
    """(N, S, S, 3) uint8 RGB -> (N, 3, S, S) float32, channels_last in memory, the backbone's mean and deviation."""
    mean = torch.tensor(config.mean, device=batch.device)
    std = torch.tensor(config.std, device=batch.device)
    scaled = (batch.to(torch.float32) / 255.0 - mean) / std
    # permuting NHWC is channels_last already: no copy
    return scaled.permute(0, 3, 1, 2)


def crops_to_tensor(crops: Sequence[Crop], config: ModelConfig, matrices: Sequence[Matrix] | None = None) -> Tensor:
    """RGB crops of any size -> (N, 3, S, S) float32; see `to_input_arrays`."""
    return normalise(torch.from_numpy(to_input_arrays(crops, config, matrices)), config)
