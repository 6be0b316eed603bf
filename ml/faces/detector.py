"""The face detector with the product's thresholds, and the rule by which a detection counts as a face."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.config import FaceConfig, RejectionReason
from ml.faces.mtcnn.cascade import Cascade, DetectedFace
from ml.faces.recognition.embedding import FaceEmbedder
from ml.faces.tracking import Box

Image = NDArray[np.uint8]
LANDMARK_SLACK = 0.05
"""How far landmarks may lie outside the frame, in sides of the box: they are no more exact than that."""


@dataclass(frozen=True)
class RejectedBox:
    """A detection that does not count."""

    box: Box
    probability: float
    reason: RejectionReason


class FaceDetector:
    """MTCNN with the thresholds of `config`, loaded at the first use; `device`: see ml.faces.mtcnn.networks.Networks.

    A search runs it on `threads` frames in parallel, as many as there are cores unless given.
    """

    def __init__(self, device: str = "cpu", config: FaceConfig | None = None, threads: int | None = None) -> None:
        self.config = config or FaceConfig()
        self.threads = threads or os.cpu_count() or 1
        self.embedder = FaceEmbedder()
        self._cascade = Cascade(device, self.config.mtcnn_thresholds)

    def detect(self, images: Sequence[Image], *, min_face: int | None = None) -> list[list[DetectedFace]]:
        """Detect the faces of RGB pictures (H, W, 3), all of one size: a list per picture, the most probable first.

        Boxes and landmarks are in the picture's pixels; tilted faces are looked at again upright (`Cascade.level`).
        `min_face` is the smallest face to be found, in pixels; the config's unless given.
        """
        found = self._cascade.detect(images, min_face=min_face or self.config.min_face_detect)
        return [
            sorted((self._cascade.level(image, face) for face in faces), key=lambda face: -face.probability)
            for image, faces in zip(images, found, strict=True)
        ]


def rejection(face: DetectedFace, *, width: int, height: int, config: FaceConfig) -> RejectionReason | None:
    """Return why a detection in a frame of `width` x `height` is not a valid face, None when it is one.

    A face that the frame cuts counts as long as eyes, nose and mouth are inside and `min_inside` of its box is.
    """
    x1, y1, x2, y2 = face.box
    if face.probability < config.min_probability:
        return RejectionReason.LOW_PROBABILITY
    if min(x2 - x1, y2 - y1) < config.min_size:
        return RejectionReason.TOO_SMALL
    inside = max(0.0, min(x2, width) - max(x1, 0)) * max(0.0, min(y2, height) - max(y1, 0))
    if inside < config.min_inside * (x2 - x1) * (y2 - y1):
        return RejectionReason.OUTSIDE
    slack = LANDMARK_SLACK * max(x2 - x1, y2 - y1)
    if not all(-slack <= x <= width + slack and -slack <= y <= height + slack for x, y in face.landmarks):
        return RejectionReason.OUTSIDE
    return None
