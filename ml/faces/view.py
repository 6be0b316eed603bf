"""Copies of a frame in which the detector searches, and the way back from their pixels to the frame's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.faces.mtcnn.cascade import DetectedFace
from ml.video.frame import DecodedFrame, rotate90

Image = NDArray[np.uint8]
DARK_BELOW = 60.0
"""Mean grey level of a frame that is lifted for the detector."""
LIFTED_TO = 110.0
PADDING_GREY = (96, 96, 96)


@dataclass(frozen=True)
class View:
    """How the frame is copied for the detector; crops always come from the frame itself.

    `long_side`: of the frame in the copy, at most.  `rotation`: degrees anticlockwise, a multiple of 90.  `padding`:
    border added on each side, as a share of the frame's longer side.  `lift`: brighten frames that are dark.
    """

    long_side: int
    rotation: int = 0
    padding: float = 0.0
    lift: bool = False

    def render(self, frame: DecodedFrame) -> Copy:
        """Return the copy with the transform of its pixels."""
        image = frame.rgb(long_side=self.long_side)
        height, width = image.shape[:2]
        scale = np.diag([frame.shown_size[0] / width, frame.shown_size[1] / height])  # copy -> frame
        matrix = np.hstack([scale, np.zeros((2, 1))])
        if self.lift:
            image = lifted(image)
        if self.padding:
            border = round(self.padding * max(height, width))
            image = np.asarray(
                cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_CONSTANT, value=PADDING_GREY),
                dtype=np.uint8,
            )
            matrix[:, 2] -= scale @ (border, border)
        if self.rotation:
            back = _turned_back(self.rotation, *image.shape[:2])
            image = rotate90(image, self.rotation)
            matrix[:, 2] += matrix[:, :2] @ back[:, 2]
            matrix[:, :2] = matrix[:, :2] @ back[:, :2]
        return Copy(image, matrix)


@dataclass(frozen=True)
class Copy:
    """RGB pixels (H, W, 3) for the detector; `matrix` (2, 3) maps their coordinates to the frame's, as shown."""

    image: Image
    matrix: NDArray[np.float64]

    def to_frame(self, face: DetectedFace) -> DetectedFace:
        """Return the face in pixels of the frame.  A box keeps its sides; they are swapped by a quarter turn."""
        x1, y1, x2, y2 = face.box
        linear = self.matrix[:, :2]
        cx, cy = linear @ ((x1 + x2) / 2, (y1 + y2) / 2) + self.matrix[:, 2]
        half = np.array([x2 - x1, y2 - y1]) / 2
        upright = abs(linear[0, 0]) >= abs(linear[0, 1]) - 1e-9
        size = np.hypot(linear[:, 0], linear[:, 1]) if upright else np.hypot(linear[:, 1], linear[:, 0])
        half_x, half_y = (half if upright else half[::-1]) * size
        points = np.asarray(face.landmarks) @ linear.T + self.matrix[:, 2]
        box = (float(cx - half_x), float(cy - half_y), float(cx + half_x), float(cy + half_y))
        return DetectedFace(box, face.probability, tuple((float(x), float(y)) for x, y in points))


def is_dark(image: Image) -> bool:
    """Return whether a picture (H, W, 3) is lifted for the detector."""
    return float(cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0]) < DARK_BELOW


def lifted(image: Image) -> Image:
    """Return a dark picture (H, W, 3) brightened until a face can be seen in it; a bright one as it is.

    Noise is smoothed first and contrast is spread locally (CLAHE), then gamma brings the mean to a usual grey.
    """
    if not is_dark(image):
        return image
    smooth = cv2.GaussianBlur(image, (3, 3), 0)
    counts = np.bincount(smooth[::2, ::2].reshape(-1), minlength=256)
    low, high = np.searchsorted(counts.cumsum() / counts.sum(), (0.005, 0.995))
    stretched = np.clip((np.arange(256) - low) / max(8, high - low), 0, 1)  # of each level
    mean = float((counts * stretched).sum() / counts.sum())
    gamma = float(np.clip(math.log(LIFTED_TO / 255) / math.log(min(0.99, max(mean, 1e-3))), 0.3, 1.0))
    lab = cv2.cvtColor(cv2.LUT(smooth, (stretched**gamma * 255).astype(np.uint8)), cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(4, 4)).apply(lab[..., 0])
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), dtype=np.uint8)


def _turned_back(degrees: int, height: int, width: int) -> NDArray[np.float64]:
    """Transform (2, 3) of a picture's pixels to those of the (height, width) one that was turned by `degrees`."""
    matrix = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    for _ in range(degrees // 90 % 4):
        # x of the given picture grows where y of the turned one falls: x = width - y', y = x'.
        matrix = matrix @ np.array([[0, -1.0, width], [1.0, 0, 0], [0, 0, 1]])
        height, width = width, height
    return matrix
