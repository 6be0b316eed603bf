"""Two baselines for `manage.py benchmark`: the pipeline as it is often written, and the least work that is needed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ml.config import FaceConfig, ModelConfig, VideoConfig
from ml.faces.crop import crop_face
from ml.faces.detector import Image
from ml.faces.extract import Extraction
from ml.faces.mtcnn.cascade import Cascade, DetectedFace
from ml.faces.tracking import Box, iou
from ml.model.inference import Classifier
from ml.model.network import FaceSequenceClassifier
from ml.model.preprocessing import normalise, to_input_arrays
from ml.video.decode import DecodedFrame, decode
from ml.video.prefetch import parallel_map

Seconds = dict[str, float]
NAIVE_SIZE = 224
NAIVE_FACES = 10
NAIVE_MARGIN = 0.3
TRIES = 3
"""Tries of each setting of the floor before the turns begin; the fastest setting is timed."""
MIN_FACES = (20, 40, 64)
SAME = 0.7
"""Overlap (IoU) from which two boxes are one face."""


class Stopwatch:
    """Seconds per stage."""

    def __init__(self) -> None:
        self.seconds: Seconds = {}

    def time(self, stage: str, work: Callable[[], Any]) -> Any:
        """Call `work`, add its seconds to the stage, and return its result."""
        started = time.perf_counter()
        result = work()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started
        return result


# --- the pipeline as it is often written -----------------------------------------------------------------------------


def naive(path: Path, folder: Path, model: FaceSequenceClassifier, *, max_frames: int = 150) -> Seconds:
    """Time the usual pipeline, one step after another with each step's defaults, as in most published code.

    OpenCV re-encodes the first frames, MTCNN searches each at full size, and a float32 network scores ten faces.
    """
    watch = Stopwatch()
    trimmed = folder / "naive.mp4"
    watch.time("trim", lambda: _encode_again(path, trimmed, max_frames))
    faces: list[Image] = watch.time("detect", lambda: _faces_of_every_frame(trimmed))
    if faces:
        watch.time("classify", lambda: _classify_float32(model, faces[:NAIVE_FACES]))
    return watch.seconds


def _encode_again(path: Path, out: Path, max_frames: int) -> None:
    capture = cv2.VideoCapture(str(path))
    writer: cv2.VideoWriter | None = None
    for _ in range(max_frames):
        read, frame = capture.read()
        if not read:
            break
        if writer is None:
            height, width = frame.shape[:2]
            fourcc = cv2.VideoWriter.fourcc(*"mp4v")
            writer = cv2.VideoWriter(str(out), fourcc, capture.get(cv2.CAP_PROP_FPS) or 25.0, (width, height))
        writer.write(frame)
    capture.release()
    if writer is not None:
        writer.release()


def _faces_of_every_frame(path: Path) -> list[Image]:
    from facenet_pytorch import MTCNN

    mtcnn = MTCNN(keep_all=True, device="cpu", post_process=False)
    capture, faces = cv2.VideoCapture(str(path)), []
    while True:
        read, frame = capture.read()
        if not read:
            break
        rgb = np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), dtype=np.uint8)
        boxes, probabilities = mtcnn.detect(rgb)
        if boxes is not None and probabilities[0] > 0.9:
            x1, y1, x2, y2 = (float(x) for x in boxes[0])
            if x2 > x1 and y2 > y1 and 0 <= (x1 + x2) / 2 < rgb.shape[1] and 0 <= (y1 + y2) / 2 < rgb.shape[0]:
                faces.append(crop_face(rgb, (x1, y1, x2, y2), size=NAIVE_SIZE, margin=NAIVE_MARGIN))
    capture.release()
    return faces


@torch.inference_mode()
def _classify_float32(model: FaceSequenceClassifier, faces: Sequence[Image]) -> None:
    frames = normalise(torch.from_numpy(np.stack(faces)), model.config).contiguous()
    model(frames[None], torch.tensor([len(faces)]))


# --- the least that is needed ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Floor:
    """The least work for one video, each part with the fastest setting that was tried."""

    path: Path
    numbers: frozenset[int]
    detect: Callable[[], Any]
    forward: Callable[[], Any] | None

    def run(self) -> Seconds:
        """Time each part once."""
        watch = Stopwatch()
        watch.time("decode", lambda: _decoded(self.path, self.numbers))
        watch.time("detect", self.detect)
        if self.forward is not None:
            watch.time("classify", self.forward)
        return watch.seconds


def floor_of(path: Path, found: Extraction, classifier: Classifier, config: FaceConfig | None = None) -> Floor:
    """Return the least work: decoding, detection on the frames whose faces were kept, one forward pass.

    `found` names these frames and faces; without a face, the frames kept for a person are searched.
    """
    config = config or FaceConfig()
    wanted: dict[int, list[Box]] = {frame.frame_number: [] for frame in found.sampled_frames}
    for track in found.tracks:
        for face in track.faces:
            wanted.setdefault(face.frame_number, []).append(face.box)
    kept = _decoded(path, frozenset(wanted))
    images = [frame.rgb(long_side=config.detect_long_side) for frame in kept]
    scales = [max(frame.shown_size) / max(image.shape[:2]) for frame, image in zip(kept, images, strict=True)]
    boxes = [
        [tuple(x / scale for x in box) for box in wanted[frame.number]]
        for frame, scale in zip(kept, scales, strict=True)
    ]
    crops = [face.crop for track in found.tracks for face in track.faces]
    return Floor(
        path=path,
        numbers=frozenset(wanted),
        detect=_fastest_detection(images, boxes, config),
        forward=_fastest_forward(classifier, crops) if crops else None,
    )


def _decoded(path: Path, numbers: frozenset[int]) -> list[DecodedFrame]:
    return [frame for frame in decode(path, VideoConfig()) if frame.number in numbers]


def _fastest_detection(
    images: Sequence[Image], boxes: Sequence[Sequence[Any]], config: FaceConfig
) -> Callable[[], Any]:
    """Return the fastest detection: the library frame by frame or batched, or the product's cascade on all cores.

    Faces are searched from 20, 40 or 64 pixels on; settings that miss a kept face are dropped.
    """
    from facenet_pytorch import MTCNN

    cascade = Cascade("cpu", config.mtcnn_thresholds)
    choices: list[Callable[[], Any]] = []
    for size in MIN_FACES:
        mtcnn = MTCNN(
            keep_all=True,
            min_face_size=size,
            thresholds=list(config.mtcnn_thresholds),
            device="cpu",
            post_process=False,
        )

        def singly(mtcnn: Any = mtcnn) -> Any:
            return [mtcnn.detect(image)[0] for image in images]

        def together(mtcnn: Any = mtcnn) -> Any:
            return mtcnn.detect(list(images))[0]

        def quickly(size: int = size) -> list[list[DetectedFace]]:
            each = parallel_map(lambda image: cascade.detect([image], min_face=size)[0], images, os.cpu_count() or 1)
            return list(each)

        found = [[face.box for face in seen] for seen in quickly()]
        misses = sum(
            all(iou(box, other) < SAME for other in seen)
            for seen, kept in zip(found, boxes, strict=True)
            for box in kept
        )
        if size == MIN_FACES[0] or not misses:
            choices += [singly, together, quickly]
    return min(choices, key=_median)


def _fastest_forward(classifier: Classifier, crops: Sequence[Image]) -> Callable[[], Any]:
    """Return the fastest pass over these faces: torch in float32 or bfloat16, or as the product computes."""
    model = classifier.model
    arrays = to_input_arrays(crops, model.config)
    lengths = torch.tensor([len(arrays)])

    def forward(dtype: torch.dtype) -> Callable[[], Any]:
        @torch.inference_mode()
        def work() -> None:
            with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
                features = model.features(normalise(torch.from_numpy(arrays), model.config))
            model.classify_features(features.float()[None], lengths)

        return work

    @torch.inference_mode()
    def as_the_product() -> None:
        features = classifier.features_of(normalise(torch.from_numpy(arrays), model.config))
        model.classify_features(features[None], lengths)

    return min((forward(torch.float32), forward(torch.bfloat16), as_the_product), key=_median)


def _median(work: Callable[[], Any]) -> float:
    """Return the median seconds of a few tries."""
    taken = []
    for _ in range(TRIES):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return float(np.median(taken))


def naive_config(config: ModelConfig) -> ModelConfig:
    """Return the configuration for the naive pipeline: the same weights on larger faces."""
    return ModelConfig(**{**config.to_dict(), "input_size": NAIVE_SIZE})
