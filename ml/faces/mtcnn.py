"""MTCNN's cascade (Zhang et al. 2016) over many small pictures at once.

The same boxes as facenet-pytorch's `detect_face`, in a half to a quarter of the time: areas are averaged over integral
images instead of one candidate after another, and nothing that a step needs is made twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.faces.mtcnn_networks import (
    PNET_CELL_PX,
    Floats,
    Indices,
    Networks,
    apply_regression,
    decode_proposals,
    nms,
    nms_min,
    to_square,
)
from ml.faces.tracking import Box

Image = NDArray[np.uint8]
Sums = NDArray[Any]
Found = list[tuple[Box, float]]
PYRAMID_FACTOR = 0.709
MOST_AT_ONCE = 128
"""Candidates in one pass through the second and third network: more do not stay in a processor's cache."""
MOST_PIXELS = 2**18
"""Of the pictures that are looked at together: one of 640 x 360, or many small ones.  More are no faster on a
processor, and take memory: 30 MB for four."""


class Cascade:
    """The three networks, loaded at the first use.  `thresholds` are those of the three stages; see `Networks`."""

    def __init__(self, device: str = "cpu", thresholds: Sequence[float] = (0.6, 0.7, 0.7)) -> None:
        self.device = device
        self.thresholds = tuple(thresholds)

    @cached_property
    def _networks(self) -> Networks:
        return Networks(self.device)

    def detect(self, images: Sequence[Image], *, min_face: int) -> list[Found]:
        """Per RGB picture (all of one size) its boxes in pixels with their probabilities, the most probable first."""
        if not images:
            return []
        height, width = images[0].shape[:2]
        if min(height, width) < min_face:
            return [[] for _ in images]  # the pyramid would have no level
        at_once = max(1, MOST_PIXELS // (height * width))
        parts = [images[start : start + at_once] for start in range(0, len(images), at_once)]
        return [found for part in parts for found in self._detect(part, height, width, min_face)]

    def _detect(self, images: Sequence[Image], height: int, width: int, min_face: int) -> list[Found]:
        sums = _integrals(images)
        boxes, image_index = self._propose(sums, height, width, min_face)
        if len(boxes):
            boxes, image_index = self._refine(sums, boxes, image_index)
        if len(boxes):
            boxes, image_index = self._decide(sums, boxes, image_index)
        found: list[Found] = [[] for _ in images]
        for (x1, y1, x2, y2, probability), index in zip(boxes.tolist(), image_index.tolist(), strict=True):
            if x2 > x1 and y2 > y1:
                found[index].append(((x1, y1, x2, y2), min(1.0, probability)))
        return [sorted(each, key=lambda item: -item[1]) for each in found]

    # --- the three stages --------------------------------------------------------------------------------------------

    def _propose(self, sums: Sums, height: int, width: int, min_face: int) -> tuple[Floats, Indices]:
        scale, boxes, image_index = PNET_CELL_PX / min_face, [], []
        while min(height, width) * scale >= PNET_CELL_PX:
            picture = _resized(sums, int(height * scale + 1), int(width * scale + 1))
            regression, scores = self._networks.pnet(picture)
            some, whose = decode_proposals(regression, scores, scale, self.thresholds[0])
            kept = nms(some, whose, 0.5)
            boxes.append(some[kept])
            image_index.append(whose[kept])
            scale *= PYRAMID_FACTOR
        all_boxes, all_index = np.concatenate(boxes), np.concatenate(image_index)
        kept = nms(all_boxes, all_index, 0.7)
        all_boxes, all_index = all_boxes[kept], all_index[kept]
        size = np.tile(all_boxes[:, 2:4] - all_boxes[:, :2], (1, 2))
        moved = all_boxes[:, :4] + all_boxes[:, 5:9] * size
        return to_square(np.concatenate([moved, all_boxes[:, 4:5]], axis=1)), all_index

    def _refine(self, sums: Sums, boxes: Floats, image_index: Indices) -> tuple[Floats, Indices]:
        boxes, image_index, regression = self._passed(
            self._networks.rnet, sums, boxes, image_index, 24, self.thresholds[1]
        )
        kept = nms(boxes, image_index, 0.7)
        return to_square(apply_regression(boxes[kept], regression[kept])), image_index[kept]

    def _decide(self, sums: Sums, boxes: Floats, image_index: Indices) -> tuple[Floats, Indices]:
        boxes, image_index, regression = self._passed(
            self._networks.onet, sums, boxes, image_index, 48, self.thresholds[2]
        )
        boxes = apply_regression(boxes, regression)
        kept = nms_min(boxes, image_index, 0.7)
        return boxes[kept], image_index[kept]

    def _passed(
        self,
        network: Callable[[Floats], tuple[Floats, Floats]],
        sums: Sums,
        boxes: Floats,
        image_index: Indices,
        side: int,
        threshold: float,
    ) -> tuple[Floats, Indices, Floats]:
        """The boxes that the network takes for faces, with its probabilities; their owners and shifts."""
        found = []
        for start in range(0, len(boxes), MOST_AT_ONCE):
            part = slice(start, start + MOST_AT_ONCE)
            crops, some, whose = _crops(sums, boxes[part], image_index[part], side)
            regression, scores = network(crops)
            passed = scores > threshold
            found.append(
                (np.concatenate([some[passed, :4], scores[passed, None]], axis=1), whose[passed], regression[passed])
            )
        passed_boxes, passed_owners, passed_shifts = zip(*found, strict=True)
        return np.concatenate(passed_boxes), np.concatenate(passed_owners), np.concatenate(passed_shifts)


def _integrals(images: Sequence[Image]) -> Sums:
    """(B, H + 1, W + 1, 3): sums of all pixels above and left of each corner, exact."""
    height, width = images[0].shape[:2]
    depth = cv2.CV_32S if height * width * 255 < 2**31 else cv2.CV_64F
    return np.stack([cv2.integral(image, sdepth=depth) for image in images])


def _bins(size: Indices | int, parts: int) -> tuple[Indices, Indices]:
    """Where each of `parts` begins and ends among `size` pixels, as adaptive average pooling has it."""
    steps = np.arange(parts)
    return steps * size // parts, ((steps + 1) * size + parts - 1) // parts


def _means(sums: Sums, area: Indices) -> Floats:
    return np.divide(sums, area[..., None], dtype=np.float32)


def _resized(sums: Sums, height: int, width: int) -> Floats:
    """(B, H + 1, W + 1, 3) sums -> (B, height, width, 3) mean pixels."""
    top, bottom = _bins(sums.shape[1] - 1, height)
    left, right = _bins(sums.shape[2] - 1, width)
    rows = sums.take(bottom, axis=1) - sums.take(top, axis=1)
    cells = rows.take(right, axis=2) - rows.take(left, axis=2)
    return _means(cells, (bottom - top)[:, None] * (right - left))


def _crops(sums: Sums, boxes: Floats, image_index: Indices, side: int) -> tuple[Floats, Floats, Indices]:
    """(N', side, side, 3) mean pixels of the boxes that have any inside their picture, with these boxes and owners."""
    height, width = sums.shape[1] - 1, sums.shape[2] - 1
    corners = np.trunc(boxes[:, :4]).astype(np.int64)
    x1, y1 = np.maximum(corners[:, 0], 1) - 1, np.maximum(corners[:, 1], 1) - 1
    x2, y2 = np.minimum(corners[:, 2], width), np.minimum(corners[:, 3], height)
    some = (x2 > x1) & (y2 > y1)
    boxes, image_index, x1, y1, x2, y2 = (each[some] for each in (boxes, image_index, x1, y1, x2, y2))
    left, right = (x1[:, None] + part for part in _bins((x2 - x1)[:, None], side))  # (N', side)
    top, bottom = (y1[:, None] + part for part in _bins((y2 - y1)[:, None], side))
    flat = sums.reshape(-1, 3)
    base = image_index * (sums.shape[1] * sums.shape[2])

    def at(y: Indices, x: Indices) -> Sums:
        return flat.take(base[:, None, None] + y[:, :, None] * sums.shape[2] + x[:, None, :], axis=0)

    cells = at(bottom, right) - at(top, right) - at(bottom, left) + at(top, left)
    return _means(cells, (bottom - top)[:, :, None] * (right - left)[:, None, :]), boxes, image_index
