"""MTCNN's cascade (Zhang et al. 2016) over batches of small pictures.

The same boxes and landmarks as facenet-pytorch's `detect_face`, in a half to a quarter of the time: areas are averaged
over integral images instead of candidate by candidate, and no intermediate result is computed twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.faces.crop import crop_face, crop_side, roll_of
from ml.faces.mtcnn.boxes import (
    PNET_CELL_PX,
    PNET_STRIDE_PX,
    Floats,
    Indices,
    apply_regression,
    decode_proposals,
    nms,
    nms_min,
    place_landmarks,
    to_square,
)
from ml.faces.mtcnn.networks import Networks
from ml.faces.tracking import Box, Points

Image = NDArray[np.uint8]
Sums = NDArray[Any]
PYRAMID_FACTOR = 0.709
"""Between neighbouring levels of the image pyramid."""
MAX_CANDIDATES = 128
"""Candidates in one pass through the second and third network: more do not fit a processor's cache."""
MAX_BATCH_PIXELS = 2**18
"""Pixels of the pictures in one batch: one of 640 x 360, or many small ones.  Larger batches are no faster on a
processor and take memory: 30 MB for four pictures."""


MAX_PNET_PIXELS = 2**18
"""Of a picture in one pass through P-Net, whose activations take some 350 bytes for each."""
ONET_SIDE = 48
UPRIGHT_WITHIN_DEG = 20.0
"""Faces tilted by more go through O-Net again, levelled: beyond 40 degrees landmarks and box are off."""
MAX_LEVELLINGS = 2


class DetectedFace(NamedTuple):
    """A box with its probability and five landmarks, in pixels of the picture that was searched.

    `landmarks` are (x, y) of the left eye, right eye, nose, left and right corner of the mouth, left as seen.
    """

    box: Box
    probability: float
    landmarks: Points


class Cascade:
    """The three networks, loaded at the first use.

    `thresholds` are the probabilities that a candidate must reach in each stage; `device`: see `Networks`.
    """

    def __init__(self, device: str = "cpu", thresholds: Sequence[float] = (0.6, 0.7, 0.7)) -> None:
        self.device = device
        self.thresholds = tuple(thresholds)

    @cached_property
    def _networks(self) -> Networks:
        return Networks(self.device)

    def detect(self, images: Sequence[Image], *, min_face: int) -> list[list[DetectedFace]]:
        """Detect the faces of RGB pictures (H, W, 3), all of one size: a list per picture, the most probable first.

        `min_face` is the smallest face to be found, in pixels.
        """
        if not images:
            return []
        height, width = images[0].shape[:2]
        if min(height, width) < min_face:
            return [[] for _ in images]  # the pyramid would have no level
        count = max(1, MAX_BATCH_PIXELS // (height * width))
        batches = [images[start : start + count] for start in range(0, len(images), count)]
        return [faces for batch in batches for faces in self._detect(batch, height, width, min_face)]

    def _detect(self, images: Sequence[Image], height: int, width: int, min_face: int) -> list[list[DetectedFace]]:
        sums = _integrals(images)
        boxes, index = self._propose(sums, height, width, min_face)
        if len(boxes):
            boxes, index = self._refine(sums, boxes, index)
        faces: list[list[DetectedFace]] = [[] for _ in images]
        if not len(boxes):
            return faces
        boxes, landmarks, index = self._output(sums, boxes, index)
        for (x1, y1, x2, y2, probability), points, image in zip(
            boxes.tolist(), landmarks.tolist(), index.tolist(), strict=True
        ):
            if x2 > x1 and y2 > y1:
                face = DetectedFace((x1, y1, x2, y2), min(1.0, probability), tuple((x, y) for x, y in points))
                faces[image].append(face)
        return [sorted(each, key=lambda face: -face.probability) for each in faces]

    def level(self, image: Image, face: DetectedFace) -> DetectedFace:
        """Look at a tilted face again through O-Net, rotated upright: exact landmarks and the box of the upright head.

        The box that is returned is a square about the head's centre, with the side that the face would have upright.
        A face that is upright already, or none when rotated, comes back as it is.
        """
        for _ in range(MAX_LEVELLINGS):
            roll = roll_of(face.landmarks)
            if abs(roll) <= UPRIGHT_WITHIN_DEG:
                break
            levelled = self._look_levelled(image, face, roll)
            if levelled is None:
                break
            residual = (roll_of(levelled.landmarks) - roll + 180) % 360 - 180
            face = levelled
            if abs(residual) <= UPRIGHT_WITHIN_DEG:
                break
        return face

    def _look_levelled(self, image: Image, face: DetectedFace, roll: float) -> DetectedFace | None:
        x1, y1, x2, y2 = face.box
        centre, side = np.array([(x1 + x2) / 2, (y1 + y2) / 2]), crop_side(face.box, 0.0)
        patch = crop_face(image, face.box, face.landmarks, size=ONET_SIDE, margin=0.0)
        regression, scores, landmarks = self._networks.onet(patch[None].astype(np.float32))
        if scores[0] <= self.thresholds[2]:
            return None
        whole = np.array([[1, 1, ONET_SIDE, ONET_SIDE, scores[0]]], np.float32)
        left, top, right, bottom = apply_regression(whole, regression)[0, :4]
        points = place_landmarks(whole, landmarks)[0]  # (5, 2)
        angle, step = np.radians(roll), side / ONET_SIDE
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * step

        def to_image(point: Any) -> Any:
            return (np.asarray(point) - ONET_SIDE / 2) @ rotation.T + centre

        cx, cy = to_image([(left + right) / 2, (top + bottom) / 2])
        half = max(right - left, bottom - top) * step / 2
        box = (float(cx - half), float(cy - half), float(cx + half), float(cy + half))
        probability = max(face.probability, min(1.0, float(scores[0])))
        return DetectedFace(box, probability, tuple((float(x), float(y)) for x, y in to_image(points)))

    # --- the three stages --------------------------------------------------------------------------------------------

    def _propose(self, sums: Sums, height: int, width: int, min_face: int) -> tuple[Floats, Indices]:
        """P-Net over the image pyramid: square boxes (K, 5) and image_index (K,)."""
        scale, boxes, index = PNET_CELL_PX / min_face, [], []
        while min(height, width) * scale >= PNET_CELL_PX:
            level = _resized(sums, int(height * scale + 1), int(width * scale + 1))
            regression, scores = self._pnet(level)
            some, images = decode_proposals(regression, scores, scale, self.thresholds[0])
            kept = nms(some, images, 0.5)
            boxes.append(some[kept])
            index.append(images[kept])
            scale *= PYRAMID_FACTOR
        all_boxes, all_index = np.concatenate(boxes), np.concatenate(index)
        kept = nms(all_boxes, all_index, 0.7)
        all_boxes, all_index = all_boxes[kept], all_index[kept]
        size = np.tile(all_boxes[:, 2:4] - all_boxes[:, :2], (1, 2))
        moved = all_boxes[:, :4] + all_boxes[:, 5:9] * size
        return to_square(np.concatenate([moved, all_boxes[:, 4:5]], axis=1)), all_index

    def _pnet(self, level: Floats) -> tuple[Floats, Floats]:
        """P-Net over pictures (B, h, w, 3) of any size, in strips where its activations would take much memory.

        An output row needs 12 rows of the picture and neighbouring ones are 2 apart, so strips overlap by 10.
        """
        height, width = level.shape[1:3]
        if height * width <= MAX_PNET_PIXELS:
            return self._networks.pnet(level)
        rows = max(1, MAX_PNET_PIXELS // width // PNET_STRIDE_PX)
        overlap = PNET_CELL_PX - PNET_STRIDE_PX
        strips = [
            self._networks.pnet(level[:, PNET_STRIDE_PX * top : PNET_STRIDE_PX * (top + rows) + overlap])
            for top in range(0, (height - overlap + 1) // PNET_STRIDE_PX, rows)
        ]
        regression, scores = zip(*strips, strict=True)
        return np.concatenate(regression, axis=2), np.concatenate(scores, axis=1)

    def _refine(self, sums: Sums, boxes: Floats, index: Indices) -> tuple[Floats, Indices]:
        """R-Net: the boxes that pass, moved and square, and their image_index."""
        kept_boxes, kept_index, kept_regression = [], [], []
        for start in range(0, len(boxes), MAX_CANDIDATES):
            part = slice(start, start + MAX_CANDIDATES)
            crops, some, images = _crops(sums, boxes[part], index[part], 24)
            regression, scores = self._networks.rnet(crops)
            passed = scores > self.thresholds[1]
            kept_boxes.append(np.concatenate([some[passed, :4], scores[passed, None]], axis=1))
            kept_index.append(images[passed])
            kept_regression.append(regression[passed])
        all_boxes, all_index = np.concatenate(kept_boxes), np.concatenate(kept_index)
        kept = nms(all_boxes, all_index, 0.7)
        moved = apply_regression(all_boxes[kept], np.concatenate(kept_regression)[kept])
        return to_square(moved), all_index[kept]

    def _output(self, sums: Sums, boxes: Floats, index: Indices) -> tuple[Floats, Floats, Indices]:
        """O-Net: final boxes (K, 5), landmarks (K, 5, 2) and image_index (K,)."""
        kept_boxes, kept_landmarks, kept_index = [], [], []
        for start in range(0, len(boxes), MAX_CANDIDATES):
            part = slice(start, start + MAX_CANDIDATES)
            crops, some, images = _crops(sums, boxes[part], index[part], ONET_SIDE)
            regression, scores, landmarks = self._networks.onet(crops)
            passed = scores > self.thresholds[2]
            shown = np.concatenate([some[passed, :4], scores[passed, None]], axis=1)
            kept_boxes.append(apply_regression(shown, regression[passed]))
            kept_landmarks.append(place_landmarks(shown, landmarks[passed]))
            kept_index.append(images[passed])
        all_boxes, all_index = np.concatenate(kept_boxes), np.concatenate(kept_index)
        kept = nms_min(all_boxes, all_index, 0.7)
        return all_boxes[kept], np.concatenate(kept_landmarks)[kept], all_index[kept]


def _integrals(images: Sequence[Image]) -> Sums:
    """Integral images (B, H + 1, W + 1, 3): exact sums of all pixels above and left of each corner."""
    height, width = images[0].shape[:2]
    depth = cv2.CV_32S if height * width * 255 < 2**31 else cv2.CV_64F
    sums = [cv2.integral(image, sdepth=depth) for image in images]
    return sums[0][None] if len(sums) == 1 else np.stack(sums)  # a large picture is not copied


def _bins(size: Indices | int, parts: int) -> tuple[Indices, Indices]:
    """First and past-the-last pixel of `parts` bins over `size` pixels, as adaptive average pooling has them."""
    steps = np.arange(parts)
    return steps * size // parts, ((steps + 1) * size + parts - 1) // parts


def _means(sums: Sums, area: Indices) -> Floats:
    return np.divide(sums, area[..., None], dtype=np.float32)


def _resized(sums: Sums, height: int, width: int) -> Floats:
    """Resize by area: integral images (B, H + 1, W + 1, 3) -> mean pixels (B, height, width, 3)."""
    top, bottom = _bins(sums.shape[1] - 1, height)
    left, right = _bins(sums.shape[2] - 1, width)
    rows = sums.take(bottom, axis=1) - sums.take(top, axis=1)
    cells = rows.take(right, axis=2) - rows.take(left, axis=2)
    return _means(cells, (bottom - top)[:, None] * (right - left))


def _crops(sums: Sums, boxes: Floats, image_index: Indices, side: int) -> tuple[Floats, Floats, Indices]:
    """Cut boxes (N, 5) out of integral images: mean pixels (N', side, side, 3) of the boxes that touch their picture.

    Returns them with these boxes (N', 5) and their image_index (N',).
    """
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
