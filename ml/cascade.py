"""MTCNN's cascade (Zhang et al. 2016) over many small pictures at once.

The same boxes as facenet-pytorch's `detect_face`, for a third of the work: areas are averaged over integral images
instead of one candidate after another, and the networks run channels-last, where pooling over few channels is not slow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml.mtcnn import CELL, Networks, best, best_of_nested, proposals, shifted, squared
from ml.tracks import Box

Image = NDArray[np.uint8]
Found = list[tuple[Box, float]]
FACTOR = 0.709
MOST_AT_ONCE = {"cpu": 128, "cuda": 512}
"""Candidates in one pass through the second and third network.  What a processor computes for more does not stay in its
cache: 415 of them took the second network 57 ms, and in parts of 128 it takes 35."""
MOST_PIXELS = 2**18
"""Of the pictures that are looked at together: one of 640 x 360, or many small ones.  More are no faster on a
processor, and take memory: 30 MB for four."""


class Cascade:
    """The three networks, loaded at the first use.  `thresholds` are those of the three stages."""

    def __init__(self, device: str = "cpu", thresholds: Sequence[float] = (0.6, 0.7, 0.7)) -> None:
        self.device = torch.device(device)
        self.thresholds = tuple(thresholds)

    @cached_property
    def _networks(self) -> Networks:
        return Networks(self.device)

    @torch.inference_mode()
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
        sums = self._integrals(images)
        boxes, owners = self._propose(sums, height, width, min_face)
        if len(boxes):
            boxes, owners = self._refine(sums, boxes, owners)
        if len(boxes):
            boxes, owners = self._decide(sums, boxes, owners)
        found: list[Found] = [[] for _ in images]
        for (x1, y1, x2, y2, probability), owner in zip(boxes.cpu().tolist(), owners.cpu().tolist(), strict=True):
            if x2 > x1 and y2 > y1:
                found[owner].append(((x1, y1, x2, y2), min(1.0, probability)))
        return [sorted(each, key=lambda item: -item[1]) for each in found]

    # --- the three stages --------------------------------------------------------------------------------------------

    def _propose(self, sums: Tensor, height: int, width: int, min_face: int) -> tuple[Tensor, Tensor]:
        scale, boxes, owners = CELL / min_face, [], []
        while min(height, width) * scale >= CELL:
            picture = _resized(sums, int(height * scale + 1), int(width * scale + 1))
            shifts, scores = self._networks.propose(_normalised(picture))
            some, whose = proposals(shifts, scores, scale, self.thresholds[0])
            kept = best(some, whose, 0.5)
            boxes.append(some[kept])
            owners.append(whose[kept])
            scale *= FACTOR
        all_boxes, all_owners = torch.cat(boxes), torch.cat(owners)
        kept = best(all_boxes, all_owners, 0.7)
        all_boxes, all_owners = all_boxes[kept], all_owners[kept]
        size = (all_boxes[:, 2:4] - all_boxes[:, :2]).repeat(1, 2)
        moved = all_boxes[:, :4] + all_boxes[:, 5:9] * size
        return squared(torch.cat([moved, all_boxes[:, 4:5]], dim=1)), all_owners

    def _refine(self, sums: Tensor, boxes: Tensor, owners: Tensor) -> tuple[Tensor, Tensor]:
        boxes, owners, shifts = self._passed(self._networks.refine, sums, boxes, owners, 24, self.thresholds[1])
        kept = best(boxes, owners, 0.7)
        return squared(shifted(boxes[kept], shifts[kept])), owners[kept]

    def _decide(self, sums: Tensor, boxes: Tensor, owners: Tensor) -> tuple[Tensor, Tensor]:
        boxes, owners, shifts = self._passed(self._networks.decide, sums, boxes, owners, 48, self.thresholds[2])
        boxes = shifted(boxes, shifts)
        kept = best_of_nested(boxes, owners, 0.7)
        return boxes[kept], owners[kept]

    def _passed(
        self,
        network: Callable[[Tensor], tuple[Tensor, Tensor]],
        sums: Tensor,
        boxes: Tensor,
        owners: Tensor,
        side: int,
        threshold: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The boxes that the network takes for faces, with its probabilities; their owners and shifts."""
        found = []
        at_once = MOST_AT_ONCE[self.device.type]
        for some, whose in zip(boxes.split(at_once), owners.split(at_once), strict=True):
            crops, some, whose = _crops(sums, some, whose, side)
            shifts, scores = network(_normalised(crops))
            passed = scores > threshold
            found.append((torch.cat([some[passed, :4], scores[passed, None]], dim=1), whose[passed], shifts[passed]))
        passed_boxes, passed_owners, passed_shifts = (torch.cat(each) for each in zip(*found, strict=True))
        return passed_boxes, passed_owners, passed_shifts

    def _integrals(self, images: Sequence[Image]) -> Tensor:
        """(B, H + 1, W + 1, 3): sums of all pixels above and left of each corner, exact."""
        height, width = images[0].shape[:2]
        depth = cv2.CV_32S if height * width * 255 < 2**31 else cv2.CV_64F
        return torch.from_numpy(np.stack([cv2.integral(image, sdepth=depth) for image in images])).to(self.device)


def _normalised(pixels: Tensor) -> Tensor:
    """(N, h, w, 3) of 0 to 255 -> (N, 3, h, w), channels-last in memory."""
    return ((pixels - 127.5) * 0.0078125).permute(0, 3, 1, 2)


def _bins(size: Tensor | int, parts: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where each of `parts` begins and ends among `size` pixels, as adaptive average pooling has it."""
    steps = torch.arange(parts, device=device)
    return steps * size // parts, ((steps + 1) * size + parts - 1) // parts


def _resized(sums: Tensor, height: int, width: int) -> Tensor:
    """(B, H + 1, W + 1, 3) sums -> (B, height, width, 3) mean pixels."""
    top, bottom = _bins(sums.shape[1] - 1, height, sums.device)
    left, right = _bins(sums.shape[2] - 1, width, sums.device)
    rows = sums.index_select(1, bottom) - sums.index_select(1, top)
    cells = rows.index_select(2, right) - rows.index_select(2, left)
    area = (bottom - top)[:, None] * (right - left)
    return cells / area[None, :, :, None].float()


def _crops(sums: Tensor, boxes: Tensor, owners: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """(N', side, side, 3) mean pixels of the boxes that have any inside their picture, with these boxes and owners."""
    height, width = sums.shape[1] - 1, sums.shape[2] - 1
    corners = boxes[:, :4].trunc().long()
    x1, y1 = corners[:, 0].clamp(min=1) - 1, corners[:, 1].clamp(min=1) - 1
    x2, y2 = corners[:, 2].clamp(max=width), corners[:, 3].clamp(max=height)
    some = (x2 > x1) & (y2 > y1)
    boxes, owners, x1, y1, x2, y2 = (each[some] for each in (boxes, owners, x1, y1, x2, y2))
    left, right = (x1[:, None] + part for part in _bins((x2 - x1)[:, None], side, sums.device))  # (N', side)
    top, bottom = (y1[:, None] + part for part in _bins((y2 - y1)[:, None], side, sums.device))
    flat = sums.reshape(-1, 3)
    base = owners * (sums.shape[1] * sums.shape[2])

    def at(y: Tensor, x: Tensor) -> Tensor:
        place = base[:, None, None] + y[:, :, None] * sums.shape[2] + x[:, None, :]
        return flat.index_select(0, place.flatten()).view(*place.shape, 3)

    cells = at(bottom, right) - at(top, right) - at(bottom, left) + at(top, left)
    area = (bottom - top)[:, :, None] * (right - left)[:, None, :]
    return cells / area[..., None].float(), boxes, owners
