"""MTCNN's three networks (Zhang et al. 2016) with the weights that facenet-pytorch brings, and its arithmetic of boxes.

They run in ONNX Runtime, from the files that tests/ml/mtcnn_export.py writes: a process that only looks for faces needs
no torch then, which costs each of them two seconds and 480 MB, and what a look costs is a third less.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
FOLDER = Path(__file__).parent.parent / "pretrained" / "mtcnn"
NAMES = ("pnet", "rnet", "onet")
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
STRIDE = 2
PNET_CELL_PX = 12
"""The first network's field of view, in pixels."""
ORT_LOG_FATAL = 4


class Networks:
    """Proposals, refinement, decision: each (N, h, w, 3) RGB of 0 to 255 -> (shifts, probabilities of a face).

    Each call keeps to one thread, and several threads may call at once: two pictures side by side are done in three
    quarters of the time that one after the other takes with two threads each.  `device` is cpu, or cuda where ONNX
    Runtime is built for it; RuntimeError where it is not.
    """

    def __init__(self, device: str = "cpu") -> None:
        provider = PROVIDERS[device]
        if provider not in onnxruntime.get_available_providers():
            raise RuntimeError(
                f"The face detector cannot run on {device}: install onnxruntime-gpu instead of onnxruntime, or use cpu."
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # no faster with one, and it would keep the most that was ever used
        options.log_severity_level = ORT_LOG_FATAL  # what fails is raised
        self._sessions = {
            name: onnxruntime.InferenceSession(FOLDER / f"{name}.onnx", options, providers=[provider]) for name in NAMES
        }

    def pnet(self, pixels: Floats) -> tuple[Floats, Floats]:
        """Any size -> (N, 4, h', w'), (N, h', w')."""
        return self._run("pnet", pixels)

    def rnet(self, pixels: Floats) -> tuple[Floats, Floats]:
        """24 x 24 pixels -> (N, 4), (N,)."""
        return self._run("rnet", pixels)

    def onet(self, pixels: Floats) -> tuple[Floats, Floats]:
        """48 x 48 pixels -> (N, 4), (N,)."""
        return self._run("onet", pixels)

    def _run(self, name: str, pixels: Floats) -> tuple[Floats, Floats]:
        try:
            regression, scores = self._sessions[name].run(["shifts", "scores"], {"pixels": pixels})
        except RuntimeException as error:
            if "bad_alloc" in str(error):
                raise MemoryError(f"{name} did not get the memory for {pixels.shape}") from error
            raise
        return regression, scores[:, 0]


# --- boxes: x1, y1, x2, y2, probability ---------------------------------------------------------------------------


def decode_proposals(regression: Floats, scores: Floats, scale: float, threshold: float) -> tuple[Floats, Indices]:
    """(K, 9): the boxes in full pixels with their probability and shifts; and of which picture each is."""
    image_index, y, x = np.nonzero(scores >= threshold)
    corner = np.stack([x, y], axis=1).astype(np.float32) * STRIDE
    low, high = (np.floor((corner + side) / np.float32(scale)) for side in (1, PNET_CELL_PX))
    return np.concatenate(
        [low, high, scores[image_index, y, x][:, None], regression[image_index, :, y, x]], axis=1
    ), image_index


def to_square(boxes: Floats) -> Floats:
    """Each as a square about the same centre, its side the longer one's."""
    size = boxes[:, 2:4] - boxes[:, :2]
    side = size.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + size * np.float32(0.5) - side * np.float32(0.5)
    return np.concatenate([corner, corner + side, boxes[:, 4:5]], axis=1)


def apply_regression(boxes: Floats, regression: Floats) -> Floats:
    """Moved by shifts, which are in parts of the box's size (both edges counted)."""
    size = np.tile(boxes[:, 2:4] - boxes[:, :2] + 1, (1, 2))
    return np.concatenate([boxes[:, :4] + regression * size, boxes[:, 4:5]], axis=1)


def nms(boxes: Floats, image_index: Indices, threshold: float) -> Indices:
    """Which of the boxes remain, the most probable first: none overlaps (IoU) a better one of its picture by more."""
    corners = boxes[:, :4].astype(np.float64)
    apart = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    if len(corners):
        apart[:, 0] += image_index * (2 * np.abs(corners).max() + 1)  # pictures beside each other
    # Arrays do, and no other type is in OpenCV's own annotations.
    kept = cv2.dnn.NMSBoxes(cast(Any, apart), cast(Any, boxes[:, 4]), 0.0, threshold)
    return np.asarray(kept, dtype=np.int64).reshape(-1)


def nms_min(boxes: Floats, image_index: Indices, threshold: float) -> Indices:
    """As `nms`, by the share of the smaller of two boxes that they have in common: of two in each other one stays."""
    area = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    left, kept = np.argsort(boxes[:, 4])[::-1], []
    while left.size:
        first, rest = left[0], left[1:]
        kept.append(first)
        low, high = np.maximum(boxes[first, :2], boxes[rest, :2]), np.minimum(boxes[first, 2:4], boxes[rest, 2:4])
        common = np.maximum(0, high - low + 1).prod(axis=1) / np.minimum(area[first], area[rest])
        left = rest[(common <= threshold) | (image_index[rest] != image_index[first])]
    return np.asarray(kept, dtype=np.int64)
