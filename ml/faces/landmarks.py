"""68 facial landmarks of a crop: the network that levels faces before the classifier sees them.

The network is face-api's `face_landmark_68_model` (MIT): four densely connected blocks of depthwise separable
convolutions and one linear layer.  `tests/ml/landmarks_export.py` converted it from the npm package
`@vladmandic/face-api`.  It runs in ONNX Runtime, as the detector does: 2 ms a face.  Points are in iBUG order: jaw
0-16, brows 17-26, nose 27-35, eyes 36-47, mouth 48-67.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ml.faces.mtcnn.networks import open_session
from ml.video.prefetch import parallel_map

Crop = NDArray[np.uint8]
Points = NDArray[np.float32]
WEIGHTS = Path(__file__).parents[1] / "pretrained" / "landmarks68.onnx"
INPUT_SIZE = 112


@cache
def _session() -> onnxruntime.InferenceSession:
    return open_session(WEIGHTS)


def face_landmarks(crops: Sequence[Crop], *, batch: int = 1, threads: int = 1) -> Points:
    """Find 68 points on each (H, W, 3) uint8 RGB crop: (N, 68, 2) float32, in pixels of that crop.

    One crop at a time unless told otherwise: the sums of a larger batch are rounded otherwise, and no score may depend
    on what else is scored.  Packing a data set takes `batch` crops at once, which is half again as fast.
    """
    batches = (crops[start : start + batch] for start in range(0, len(crops), batch))
    return np.concatenate([np.zeros((0, 68, 2), np.float32), *parallel_map(_landmarks, batches, threads)])


def _landmarks(crops: Sequence[Crop]) -> Points:
    small = np.stack([cv2.resize(crop, (INPUT_SIZE, INPUT_SIZE), interpolation=cv2.INTER_AREA) for crop in crops])
    pixels = np.ascontiguousarray(small.transpose(0, 3, 1, 2), dtype=np.float32)
    shares: Points = _session().run(["landmarks"], {"pixels": pixels})[0]  # (N, 68, 2)
    sides = np.array([[crop.shape[1], crop.shape[0]] for crop in crops], np.float32)
    return shares * sides[:, None]
