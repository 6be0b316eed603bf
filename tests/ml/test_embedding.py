"""Who is it?  The embedding tells people apart in grey, tilted and mirrored, and is the same alone and among others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ml.bench.same_person import compare, equal_error
from ml.config import FaceConfig
from ml.faces.crop import crop_face, crop_landmarks
from ml.faces.detector import FaceDetector
from ml.faces.mtcnn.cascade import DetectedFace
from ml.faces.recognition.embedding import (
    DIMENSIONS,
    TEMPLATE,
    Embedding,
    FaceEmbedder,
    align,
    distance,
    mean_embedding,
)
from tests.ml.clips import PORTRAITS, portrait

Image = NDArray[np.uint8]
CONFIG = FaceConfig()


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector(threads=1)


@pytest.fixture(scope="module")
def embedder() -> FaceEmbedder:
    return FaceEmbedder()


@pytest.fixture(scope="module")
def frames() -> list[Image]:
    """Two people beside each other, in three poses and lights."""
    poses = ((0.0, 1.0, 1.0), (8.0, 0.8, 1.0), (-6.0, 1.0, 0.7))
    return [np.hstack([portrait(n, roll=roll, scale=s, light=light) for n in PORTRAITS]) for roll, s, light in poses]


def faces_of(detector: FaceDetector, frame: Image) -> list[DetectedFace]:
    """Those of the two people, from left to right."""
    faces = detector.detect([frame])[0][:2]
    return sorted(faces, key=lambda face: face.box[0])


def embedded(embedder: FaceEmbedder, frame: Image, face: DetectedFace) -> Embedding:
    size, margin = CONFIG.crop_size, CONFIG.margin
    crop = crop_face(frame, face.box, face.landmarks, size=size, margin=margin)
    return embedder.embed(crop, crop_landmarks(face.box, face.landmarks, size=size, margin=margin))


def test_one_person_is_near_and_another_far(
    detector: FaceDetector, embedder: FaceEmbedder, frames: list[Image]
) -> None:
    left, right = zip(*([embedded(embedder, f, face) for face in faces_of(detector, f)] for f in frames), strict=True)
    for person in (left, right):
        assert max(distance(person[0], other) for other in person) < CONFIG.same_person_distance
    assert distance(mean_embedding(left), mean_embedding(right)) > CONFIG.same_person_distance


@pytest.mark.parametrize("change", ["grey", "mirrored", "dim", "tilted"])
def test_a_person_is_known_again(
    detector: FaceDetector, embedder: FaceEmbedder, frames: list[Image], change: str
) -> None:
    frame = frames[0]
    height, width = frame.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 20, 1.0)
    changed = {
        "grey": cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB),
        "mirrored": np.ascontiguousarray(frame[:, ::-1]),
        "dim": (frame * 0.4).astype(np.uint8),
        "tilted": cv2.warpAffine(frame, turn, (width, height)),
    }[change]
    before = [embedded(embedder, frame, face) for face in faces_of(detector, frame)]
    after = [
        embedded(embedder, np.asarray(changed, np.uint8), f) for f in faces_of(detector, np.asarray(changed, np.uint8))
    ]
    if change == "mirrored":
        after.reverse()
    for person, (was, now) in enumerate(zip(before, after, strict=True)):
        assert distance(was, now) < distance(before[1 - person], now)
        assert distance(was, now) < CONFIG.same_person_distance


def test_landmarks_are_mapped_as_the_crop_is_cut() -> None:
    """White dots at the landmarks of tilted boxes lie in the crop where `crop_landmarks` says."""
    upright = np.array([(-20, -15), (20, -15), (0, 5), (-15, 25), (15, 25)], float)
    for degrees in (0, 1, 15, -40, 91, 178):
        angle = np.radians(degrees)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        points = upright @ turn + (200, 160)
        image = np.zeros((320, 400, 3), np.uint8)
        for x, y in points:
            cv2.circle(image, (round(x), round(y)), 3, (255, 255, 255), -1)
        landmarks, box = tuple(map(tuple, points.tolist())), (150.0, 100.0, 250.0, 220.0)
        crop = crop_face(image, box, landmarks, size=224, margin=0.3)
        for x, y in crop_landmarks(box, landmarks, size=224, margin=0.3):
            assert crop[round(y), round(x)].min() > 128, degrees


def test_a_face_is_aligned_to_the_template() -> None:
    crop = np.zeros((224, 224, 3), np.uint8)
    angle, scale = np.radians(12), 1.4
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
    points = (TEMPLATE - 75) @ turn.T + (105, 118)
    for x, y in points:
        cv2.circle(crop, (round(x), round(y)), 4, (255, 255, 255), -1)
    aligned = align(crop, tuple(map(tuple, points.tolist())))
    for x, y in TEMPLATE:
        assert aligned[round(y), round(x)].min() > 128
    assert align(crop, ((5.0, 5.0),) * 5).shape == (150, 150, 3), "landmarks in one place are no error"


def test_an_embedding_does_not_depend_on_what_else_is_embedded(embedder: FaceEmbedder) -> None:
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 255, (3, 224, 224, 3)).astype(np.uint8)
    points = tuple(map(tuple, (TEMPLATE * 1.4).tolist()))
    first = [embedder.embed(crop, points) for crop in crops]
    assert [each.shape for each in first] == [(DIMENSIONS,)] * 3
    assert np.array_equal(FaceEmbedder().embed(crops[2], points), first[2])


def test_embedding_needs_no_torch() -> None:
    code = (
        "import sys, ml.faces.recognition.embedding as e; e.FaceEmbedder()._session; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_onnx_runtime_reports_nothing_to_its_maker(tmp_path: Path) -> None:
    code = "import ml.faces.recognition.embedding as e; e.FaceEmbedder()._session"
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"} | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, timeout=120, check=True)
    assert list(tmp_path.rglob("*")) == [], "an identifier of this machine, and what is to be sent"


def test_the_equal_error_rate_counts_both_kinds_of_pairs() -> None:
    same, other = np.array([0.1, 0.2, 0.3, 0.8]), np.array([0.25, 0.7, 0.9, 1.0])
    rate, at = equal_error(same, other)
    assert (rate, at) == (0.25, 0.3)
    assert equal_error(np.array([0.1, 0.2]), np.array([0.5]))[0] == 0.0


def test_clips_are_compared_person_by_person() -> None:
    def clip(person: str, x: float) -> tuple[str, Embedding]:
        return person, np.array([x, 0], np.float32)

    found = compare([clip("a", 0.0), clip("a", 0.2), clip("b", 1.0), clip("b", 1.9)], threshold=0.5)
    assert (found["people"], found["pairs_of_one_person"], found["pairs_of_others"]) == (2, 2, 4)
    assert (found["one_person_missed"], found["others_taken_for_one"]) == (0.5, 0.0)
    with pytest.raises(ValueError, match="two clips of one person"):
        compare([clip("a", 0.0), clip("b", 1.0)], threshold=0.5)
