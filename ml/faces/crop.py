"""From a frame and a detection to the crop that is stored: the one definition for product, training and import."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.faces.tracking import Box, Points

Image = NDArray[np.uint8]

CROP_VERSION = 2
"""Changes whenever the same face would give another crop.  1: not levelled.  2: rotated until the eyes are level."""
LEVEL_WITHIN_DEG = 2.0
"""Faces as level as this are not resampled: the landmarks are no more exact than that."""


def roll_of(landmarks: Points) -> float:
    """Return by how many degrees the face is tilted clockwise as seen, -180 to 180; 0 without landmarks.

    `landmarks` are MTCNN's five: left eye, right eye, nose, left and right corner of the mouth.  The line of the eyes
    counts twice the line from eyes to mouth, each by its length: in profile the eyes are too close to show an angle.
    """
    if not landmarks:
        return 0.0
    left, right, _, mouth_left, mouth_right = (np.asarray(point, dtype=np.float64) for point in landmarks)
    down = (mouth_left + mouth_right - left - right) / 2
    along = 2 * (right - left) + np.array([down[1], -down[0]])
    return math.degrees(math.atan2(along[1], along[0]))


def crop_face(image: Image, box: Box, landmarks: Points = (), *, size: int, margin: float) -> Image:
    """Return the face (size, size, 3), levelled, from an RGB frame (H, W, 3).

    The square is centred on the box, its side (1 + margin) times the box's longer side; it is rotated by the roll of
    the landmarks.  Where it leaves the frame the frame's border is repeated, so that the face stays centred and
    undistorted.  Raises ValueError where the square has no pixel of the frame.
    """
    x1, y1, x2, y2 = box
    side = crop_side(box, margin)
    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
    roll = roll_of(landmarks)
    quarters = round(roll / 90)
    tilt = roll - 90 * quarters
    if abs(tilt) <= LEVEL_WITHIN_DEG:
        patch = _patch(image, round(cx - side / 2), round(cy - side / 2), side)
        patch = _resized(np.ascontiguousarray(np.rot90(patch, quarters)), size)
    else:
        # Reduced by area first: a rotation samples single pixels and would alias.
        reach = side * (abs(math.cos(math.radians(tilt))) + abs(math.sin(math.radians(tilt))))
        wide = math.ceil(reach) + 4
        left, top = round(cx - wide / 2), round(cy - wide / 2)
        patch = _patch(image, left, top, wide)
        scale = min(1.0, size / side)
        if scale < 1.0:
            reduced = max(2, round(wide * scale))
            patch = _resized(patch, reduced)
            scale = reduced / wide
        patch = _rotated(patch, ((cx - left) * scale, (cy - top) * scale), roll, side * scale, size)
    return patch


def crop_landmarks(box: Box, landmarks: Points, *, size: int, margin: float) -> Points:
    """Map a face's landmarks from pixels of the frame to pixels of its crop, as `crop_face` cuts it."""
    roll = roll_of(landmarks)
    quarters = round(roll / 90)
    angle = math.radians(roll if abs(roll - 90 * quarters) > LEVEL_WITHIN_DEG else 90 * quarters)
    scale = size / crop_side(box, margin)
    cosine, sine = math.cos(angle) * scale, math.sin(angle) * scale
    x1, y1, x2, y2 = box
    apart = [(x - (x1 + x2) / 2, y - (y1 + y2) / 2) for x, y in landmarks]
    return tuple((cosine * x + sine * y + size / 2, cosine * y - sine * x + size / 2) for x, y in apart)


def crop_side(box: Box, margin: float) -> int:
    """Return the side of a crop in pixels of the frame."""
    x1, y1, x2, y2 = box
    return max(2, round(max(x2 - x1, y2 - y1) * (1 + margin)))


def _patch(image: Image, left: int, top: int, side: int) -> Image:
    """Cut a square (side, side, 3) whose corner may lie outside; the border is repeated."""
    height, width = image.shape[:2]
    inner = image[max(0, top) : min(height, top + side), max(0, left) : min(width, left + side)]
    if inner.size == 0:
        raise ValueError("the box lies outside the image")
    padding = (max(0, -top), max(0, top + side - height), max(0, -left), max(0, left + side - width))
    if any(padding):
        inner = np.asarray(cv2.copyMakeBorder(inner, *padding, cv2.BORDER_REPLICATE), dtype=np.uint8)
    return inner


def _resized(patch: Image, size: int) -> Image:
    interpolation = cv2.INTER_AREA if patch.shape[0] >= size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(patch, (size, size), interpolation=interpolation), dtype=np.uint8)


def _rotated(patch: Image, centre: tuple[float, float], roll: float, side: float, size: int) -> Image:
    """Sample a square of `side` pixels about `centre`, tilted clockwise by `roll` degrees, as (size, size, 3)."""
    step = side / size
    cosine, sine = math.cos(math.radians(roll)) * step, math.sin(math.radians(roll)) * step
    middle = (size - 1) / 2
    # Pixel centres: those of the patch lie half a pixel from its corner.
    matrix = np.array(
        [
            [cosine, -sine, centre[0] - 0.5 - cosine * middle + sine * middle],
            [sine, cosine, centre[1] - 0.5 - sine * middle - cosine * middle],
        ]
    )
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    turned = cv2.warpAffine(patch, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(turned, dtype=np.uint8)
