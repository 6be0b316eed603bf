"""Crop faces from frames."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.faces.tracking import Box

Image = NDArray[np.uint8]


def crop_face(image: Image, box: Box, *, size: int, margin: float) -> Image:
    """A square RGB crop centred on the box, side (1 + margin) x its longer side, `size` pixels.

    Where the square leaves the frame the border is repeated, so that the face stays centred and undistorted.
    """
    x1, y1, x2, y2 = box
    half = max(x2 - x1, y2 - y1) * (1 + margin) / 2
    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
    left, top = round(cx - half), round(cy - half)
    side = max(2, round(2 * half))
    height, width = image.shape[:2]
    inner = image[max(0, top) : min(height, top + side), max(0, left) : min(width, left + side)]
    if inner.size == 0:
        raise ValueError("the box lies outside the image")
    padding = (max(0, -top), max(0, top + side - height), max(0, -left), max(0, left + side - width))
    if any(padding):
        inner = np.asarray(cv2.copyMakeBorder(inner, *padding, cv2.BORDER_REPLICATE), dtype=np.uint8)
    interpolation = cv2.INTER_AREA if side >= size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(inner, (size, size), interpolation=interpolation), dtype=np.uint8)
