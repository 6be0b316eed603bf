"""The face detector with the product's thresholds, and the rule by which a detection counts as a face."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.config import FaceConfig
from ml.faces.mtcnn import Cascade, Found
from ml.faces.tracking import Box

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class RejectedBox:
    """A detection that does not count.  Reasons: low_probability, too_small, outside, short_track, too_many."""

    box: Box
    probability: float
    reason: str


class FaceDetector:
    """MTCNN with the thresholds of `config`, loaded at the first use; `device`: see ml.faces.mtcnn_networks.Networks.

    A search looks at `threads` frames side by side, as many as there are cores unless given.
    """

    def __init__(self, device: str = "cpu", config: FaceConfig | None = None, threads: int | None = None) -> None:
        self.config = config or FaceConfig()
        self.threads = threads or os.cpu_count() or 1
        self._cascade = Cascade(device, self.config.mtcnn_thresholds)

    def detect(self, images: Sequence[Image], *, min_face: int | None = None) -> list[Found]:
        """Per RGB picture (H, W, 3), all of one size: boxes in its pixels with probabilities, the most probable first.

        `min_face` is the smallest face to be found, in pixels; the config's unless given.
        """
        return self._cascade.detect(images, min_face=min_face or self.config.min_face_detect)


def rejection(box: Box, probability: float, *, width: int, height: int, config: FaceConfig) -> str:
    """Why a detection is not a valid face, or an empty string when it is one."""
    x1, y1, x2, y2 = box
    if probability < config.min_probability:
        return "low_probability"
    if min(x2 - x1, y2 - y1) < config.min_size:
        return "too_small"
    inside = max(0.0, min(x2, width) - max(x1, 0)) * max(0.0, min(y2, height) - max(y1, 0))
    if inside < config.min_inside * (x2 - x1) * (y2 - y1):
        return "outside"
    return ""
