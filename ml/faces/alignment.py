"""Level a face crop by its landmarks: the one step between a stored crop and what a network sees.

Stored crops are squares about the detector's box (see `ml.faces.crop.crop_face`).  Their framing and tilt follow
the detector, data sets bring framings of their own, and a forgery's traces are faint beside such differences: on
frames of eight Celeb-DF pairs the same weights had AUC 0.80 or 0.90 by the margin alone.  So training, inference and
evaluation all pass crops through `align_face`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Crop = NDArray[np.uint8]
Points = NDArray[np.float32]
Matrix = NDArray[np.float32]

RIGHT_EYE, LEFT_EYE = slice(36, 42), slice(42, 48)
"""Of the 68 points; right and left of the person, so the right eye is on the picture's left."""
MARGIN = 0.15
"""Added to the longer side of the points' bounding box."""
MAX_ROLL = 1.2
"""Radians.  Eyes tilted by more than this are a failure of the landmark network: the crop is left as it is."""
MIN_SIDE, MAX_SIDE = 0.45, 1.25
"""Bounds of the levelled square's side, as shares of the crop's longer side: landmarks far off cannot zoom into a
cheek."""


@dataclass(frozen=True)
class Jitter:
    """A random change of the framing while training; the defaults are the framing of inference."""

    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    """As shares of the square's side."""
    roll: float = 0.0
    """Radians."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Jitter:
        """Draw a change centred on the framing of inference."""
        x, y = rng.uniform(-0.05, 0.05, size=2)
        return cls(float(rng.uniform(0.88, 1.15)), (float(x), float(y)), float(rng.normal(0.0, 0.06)))


def alignment_matrix(points: Points, *, crop_side: int, size: int, jitter: Jitter | None = None) -> Matrix:
    """Return the (2, 3) similarity that levels the eyes and fills a square of `size` pixels with the face.

    `points` are the 68 landmarks (68, 2) in pixels of a crop whose longer side is `crop_side`.
    """
    jitter = jitter or Jitter()
    right, left = points[RIGHT_EYE].mean(axis=0), points[LEFT_EYE].mean(axis=0)
    roll = float(np.arctan2(left[1] - right[1], left[0] - right[0]))
    if not abs(roll) <= MAX_ROLL:  # NaN, too
        roll = 0.0
    level = _rotation(-roll)
    levelled = points @ level.T
    low, high = levelled.min(axis=0), levelled.max(axis=0)
    side = float(np.clip((high - low).max() * (1 + MARGIN), MIN_SIDE * crop_side, MAX_SIDE * crop_side)) * jitter.zoom
    centre = level.T @ ((low + high) / 2 + np.asarray(jitter.shift) * side)
    linear = _rotation(-(roll + jitter.roll)) * (size / side)
    offset = size / 2 - linear @ centre
    return np.concatenate([linear, offset[:, None]], axis=1).astype(np.float32)


def whole_crop_matrix(width: int, height: int, *, size: int, jitter: Jitter | None = None) -> Matrix:
    """Return the (2, 3) transformation that fills a square of `size` pixels with a whole crop, as stored."""
    jitter = jitter or Jitter()
    linear = _rotation(-jitter.roll) @ np.diag([size / width, size / height]) / jitter.zoom
    centre = np.array([width, height]) * (0.5 + np.asarray(jitter.shift))
    offset = size / 2 - linear @ centre
    return np.concatenate([linear, offset[:, None]], axis=1).astype(np.float32)


def align_face(crop: Crop, matrix: Matrix | NDArray[np.float64], size: int) -> Crop:
    """Apply an alignment to an (H, W, 3) uint8 RGB crop: (size, size, 3); beyond the crop its border is repeated."""
    shrinks = abs(float(np.linalg.det(matrix[:, :2]))) < 1
    warped = cv2.warpAffine(
        crop,
        matrix,
        (size, size),
        flags=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(warped, dtype=np.uint8)


def transform_points(points: Points, matrix: Matrix) -> Points:
    """Map (N, 2) points of the crop to pixels of the aligned picture."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], dtype=np.float32)


def _rotation(angle: float) -> NDArray[np.float64]:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])
