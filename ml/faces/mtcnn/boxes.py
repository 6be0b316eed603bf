"""Arithmetic of MTCNN's boxes, after facenet-pytorch's `detect_face`.

Boxes are float32 rows (N, 5): x1, y1, x2, y2 in pixels and the probability of a face.  `image_index` (N,) says to which
picture of the batch each belongs.
"""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
PNET_STRIDE_PX = 2
PNET_CELL_PX = 12
"""Field of view of the first network."""


def decode_proposals(regression: Floats, scores: Floats, scale: float, threshold: float) -> tuple[Floats, Indices]:
    """Turn the first network's maps into boxes.

    `regression` is (B, 4, h, w), `scores` (B, h, w), `scale` that of the pyramid level.  Returns (K, 9): box in pixels
    of the full picture, probability, regression; and `image_index` (K,).
    """
    image_index, y, x = np.nonzero(scores >= threshold)
    corner = np.stack([x, y], axis=1).astype(np.float32) * PNET_STRIDE_PX
    low, high = (np.floor((corner + side) / np.float32(scale)) for side in (1, PNET_CELL_PX))
    boxes = np.concatenate([low, high, scores[image_index, y, x][:, None], regression[image_index, :, y, x]], axis=1)
    return boxes, image_index


def to_square(boxes: Floats) -> Floats:
    """Extend each box (N, 5) to a square about its centre, the side being the longer one."""
    size = boxes[:, 2:4] - boxes[:, :2]
    side = size.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + size * np.float32(0.5) - side * np.float32(0.5)
    return np.concatenate([corner, corner + side, boxes[:, 4:5]], axis=1)


def apply_regression(boxes: Floats, regression: Floats) -> Floats:
    """Move the edges of (N, 5) boxes by `regression` (N, 4), given in box sizes (both edges counted)."""
    size = np.tile(boxes[:, 2:4] - boxes[:, :2] + 1, (1, 2))
    return np.concatenate([boxes[:, :4] + regression * size, boxes[:, 4:5]], axis=1)


def place_landmarks(boxes: Floats, landmarks: Floats) -> Floats:
    """Convert the third network's `landmarks` (N, 10: five x, five y, in box sizes) to pixels (N, 5, 2).

    `boxes` are those that the network was shown, before its own regression.
    """
    size = boxes[:, 2:4] - boxes[:, :2] + 1  # (N, 2)
    points = landmarks.reshape(-1, 2, 5).transpose(0, 2, 1)  # (N, 5, 2)
    return np.asarray(points * size[:, None] + boxes[:, None, :2] - 1, dtype=np.float32)


def nms(boxes: Floats, image_index: Indices, threshold: float) -> Indices:
    """Non-maximum suppression within each picture by IoU; returns the kept rows, the most probable first."""
    corners = boxes[:, :4].astype(np.float64)
    apart = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    if len(corners):
        apart[:, 0] += image_index * (2 * np.abs(corners).max() + 1)  # pictures beside each other
    # Arrays do, and no other type is in OpenCV's own annotations.
    kept = cv2.dnn.NMSBoxes(cast(Any, apart), cast(Any, boxes[:, 4]), 0.0, threshold)
    return np.asarray(kept, dtype=np.int64).reshape(-1)


def nms_min(boxes: Floats, image_index: Indices, threshold: float) -> Indices:
    """Suppress by overlap measured against the smaller box (facenet-pytorch's `method="Min"`): drops nested boxes."""
    area = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    left, kept = np.argsort(boxes[:, 4])[::-1], []
    while left.size:
        first, rest = left[0], left[1:]
        kept.append(first)
        low, high = np.maximum(boxes[first, :2], boxes[rest, :2]), np.minimum(boxes[first, 2:4], boxes[rest, 2:4])
        common = np.maximum(0, high - low + 1).prod(axis=1) / np.minimum(area[first], area[rest])
        left = rest[(common <= threshold) | (image_index[rest] != image_index[first])]
    return np.asarray(kept, dtype=np.int64)
