"""Accuracy of the fast search against detection at full size, and of the scores against float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ml.config import FaceConfig
from ml.faces.detector import FaceDetector
from ml.faces.extract import Extraction, extract_faces
from ml.faces.frame_search import FrameDetections, Search
from ml.faces.tracking import Box, iou
from ml.faces.view import View
from ml.model.inference import Classifier
from ml.video.frame_source import FrameSource
from ml.video.prefetch import parallel_map


@dataclass(frozen=True)
class Compared:
    """Comparison of one video.  `overlaps`: IoU of each kept face with the nearest full-size detection in its frame."""

    path: Path
    people: int
    people_exhaustively: int
    overlaps: tuple[float, ...]
    score: float | None
    score_float32: float | None


def compare(path: Path, *, detector: FaceDetector, quick: Classifier, float32: Classifier, stride: int) -> Compared:
    """Compare the product's faces and score with the slow ones; full size is searched in every `stride`-th frame.

    Raises ml.video.decode.VideoError for a file that cannot be judged.
    """
    found = extract_faces(path, detector=detector)
    detections = list(search_exhaustively(path, detector=detector, stride=stride))
    crops = [[face.crop for face in track.faces] for track in found.tracks]
    scores = [max((s.fake_probability for s in c.score(crops)), default=None) for c in (quick, float32)]
    return Compared(
        path=path,
        people=len(found.tracks),
        people_exhaustively=people_in(detections, found.frames_decoded, detector.config),
        overlaps=tuple(_overlaps(path, found, detector)),
        score=scores[0],
        score_float32=scores[1],
    )


def float32_of(classifier: Classifier) -> Classifier:
    """Return the same weights, all in float32."""
    return Classifier(classifier.model, classifier.info, classifier.device, dtype=torch.float32)


def summary(results: Sequence[Compared]) -> dict[str, Any]:
    """Summarise decisions, boxes and scores of all videos."""
    overlaps = [overlap for one in results for overlap in one.overlaps]
    apart = [abs(r.score - r.score_float32) for r in results if r.score is not None and r.score_float32 is not None]
    return {
        "videos": len(results),
        "lost": [one.path.name for one in results if one.people_exhaustively and not one.people],
        "found_besides": [one.path.name for one in results if one.people and not one.people_exhaustively],
        "median_iou": round(median(overlaps), 4) if overlaps else None,
        "worst_score_difference": round(max(apart), 5) if apart else None,
    }


def _overlaps(path: Path, found: Extraction, detector: FaceDetector) -> list[float]:
    wanted: dict[int, list[Box]] = {}
    for track in found.tracks:
        for face in track.faces:
            wanted.setdefault(face.frame_number, []).append(face.box)
    detections = search_exhaustively(path, detector=detector, numbers=set(wanted))
    return [
        max((iou(box, seen.box) for seen in detected.valid), default=0.0)
        for detected in detections
        for box in wanted[detected.number]
    ]


def search_exhaustively(
    path: Path, *, detector: FaceDetector, stride: int = 1, numbers: set[int] | None = None
) -> Iterator[FrameDetections]:
    """Yield full-size detections of every `stride`-th frame, or of the frames in `numbers`; for comparison only."""
    source = FrameSource(path)
    search = Search(source, detector, detector.config, View(10**6))
    wanted = set(range(0, source.video.max_frames, stride)) if numbers is None else numbers
    batches = search._batches(wanted, lambda _: None, (), search.view)
    for detections, _ in parallel_map(search._detect_batch, batches, detector.threads):
        yield from detections


def people_in(detections: Sequence[FrameDetections], frames_decoded: int, config: FaceConfig | None = None) -> int:
    """Count the people in these detections by the rules of `extract_faces`, without regard to cuts."""
    config = config or FaceConfig()
    source = FrameSource(Path())
    source.frames_decoded = frames_decoded
    search = Search(source, FaceDetector(config=config), config, View(1))
    search.detections = {detected.number: detected for detected in detections}
    return min(config.max_tracks, len(search.people()))
