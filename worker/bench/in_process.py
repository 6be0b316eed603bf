"""What a worker does with a file, without the database: for `worker.bench.pipeline` and its relatives to measure.

It imports no more than a worker has in memory, so that this can be measured, too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings

from detection.services.jobs.results import ExtractionResult
from ml.config import VideoConfig
from ml.faces.detector import FaceDetector
from ml.faces.extract import Extraction
from ml.faces.extract_video import extract_video
from ml.video.prefetch import parallel_map
from worker.process import runtime
from worker.stages import extracted, images

Seconds = dict[str, float]


def extract(detector: FaceDetector, path: Path, folder: Path, stages: Seconds) -> tuple[Extraction, ExtractionResult]:
    """Find the faces, trim, encode; `stages` gets the seconds of each.  Raises ml.video.decode.VideoError."""
    extraction = _timed(stages, "extract", lambda: extract_video(path, detector=detector))
    clips = _timed(stages, "trim", lambda: extracted.trimmed(path, folder, extraction, VideoConfig()))
    threads = os.cpu_count() or 1
    return extraction, _timed(
        stages, "encode", lambda: extracted.extraction_result(extraction, clips, trim_s=0.0, threads=threads)
    )


class Product:
    """Both stages, the faces read back between them as from storage."""

    def __init__(self, weights: Path) -> None:
        from ml.model.inference import Classifier

        self.detector = runtime.detector()
        self.classifier = Classifier.load(weights, onnx_folder=settings.VAR_DIR / "cache")

    def run(self, path: Path, folder: Path) -> tuple[Extraction, Seconds]:
        """What was found, and the seconds of each step.  Raises ml.video.decode.VideoError."""
        from ml.analyze import subjects_of
        from ml.model.decision import judge

        stages: Seconds = {}
        extraction, result = extract(self.detector, path, folder, stages)
        if result.faces:
            crops = _timed(stages, "read crops", lambda: self._read(result))
            scores = _timed(stages, "classify", lambda: self.classifier.score(crops))
            judge(subjects_of(extraction), scores, self.classifier.info)
        return extraction, stages

    def _read(self, result: ExtractionResult) -> list[list[Any]]:
        people: dict[tuple[int, int], list[Any]] = {}
        pngs = [face.png for face in result.faces]
        crops = parallel_map(images.decoded_crop, pngs, self.detector.threads)
        for face, crop in zip(result.faces, crops, strict=True):
            people.setdefault((face.track, face.segment), []).append(crop)
        return list(people.values())


def _timed(stages: Seconds, stage: str, work: Callable[[], Any]) -> Any:
    started = time.perf_counter()
    result = work()
    stages[stage] = time.perf_counter() - started
    return result
