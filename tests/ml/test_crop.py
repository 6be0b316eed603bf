"""The stored crop: levelled by the eyes, scaled by the upright head, its border repeated."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ml.faces.crop import crop_face, roll_of
from ml.faces.detector import FaceDetector
from ml.faces.extract import Extraction, extract_faces
from ml.faces.tracking import Points
from tests.ml.clips import DEMO, faces_of, write_clip

FRAMES = 20
EYES_LEVEL: Points = ((30, 40), (70, 40), (50, 60), (35, 80), (65, 80))


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


@pytest.fixture(scope="module")
def upright(detector: FaceDetector) -> Extraction:
    return extract_faces(DEMO / "one-person.mp4", detector=detector)


def tilted(image: NDArray[np.uint8], degrees: float) -> NDArray[np.uint8]:
    """Rotate clockwise about the centre, in a square that holds the whole picture."""
    height, width = image.shape[:2]
    side = int(np.hypot(height, width)) // 2 * 2
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1.0)
    matrix[:, 2] += side / 2 - width / 2, side / 2 - height / 2
    return np.asarray(cv2.warpAffine(image, matrix, (side, side)), dtype=np.uint8)


def rotated(points: Points, degrees: float) -> Points:
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return tuple((float(x), float(y)) for x, y in (np.array(points) - 50) @ rotation.T + 50)


def mean_crop(found: Extraction) -> NDArray[np.float64]:
    assert len(found.tracks) == 1
    return np.mean([cv2.GaussianBlur(face.crop, (0, 0), 2) for face in found.tracks[0].faces], axis=0)


@pytest.mark.parametrize("degrees", [-180 + 0.01, -120, -55, -10, 0, 10, 45, 90, 135])
def test_the_roll_is_that_of_the_eyes(degrees: float) -> None:
    assert roll_of(rotated(EYES_LEVEL, degrees)) == pytest.approx(degrees)


def test_without_landmarks_nothing_is_rotated() -> None:
    image = np.random.default_rng(0).integers(0, 255, (100, 100, 3)).astype(np.uint8)
    box = (20.0, 20.0, 80.0, 80.0)
    level = crop_face(image, box, EYES_LEVEL, size=60, margin=0.0)
    assert np.array_equal(level, image[20:80, 20:80])
    assert np.array_equal(crop_face(image, box, size=60, margin=0.0), level)


@pytest.mark.parametrize("degrees", [-170, -90, -33, -5, 5, 33, 90, 120, 180])
def test_a_tilted_face_gives_the_crop_of_the_upright_one(degrees: int) -> None:
    picture = cv2.resize(faces_of("one-person.mp4")[0], (100, 100))
    large = np.asarray(cv2.resize(picture, (400, 400), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    matrix = cv2.getRotationMatrix2D((199.5, 199.5), -degrees, 1.0)
    turned = np.asarray(cv2.warpAffine(large, matrix, (400, 400), flags=cv2.INTER_CUBIC), dtype=np.uint8)
    points: Points = tuple((4 * x, 4 * y) for x, y in EYES_LEVEL)
    box = (150.0, 150.0, 250.0, 250.0)
    level = crop_face(large, box, points, size=112, margin=0.3)
    crop = crop_face(turned, box, tuple((4 * x, 4 * y) for x, y in rotated(EYES_LEVEL, degrees)), size=112, margin=0.3)
    assert np.abs(crop.astype(int) - level).mean() < 2.0
    unlevelled = crop_face(turned, box, size=112, margin=0.3)
    assert np.abs(unlevelled.astype(int) - level).mean() > 5.0


def test_a_level_crop_at_the_frames_corner_repeats_the_border() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[:20, :20] = 255
    points = tuple((x * 0.3 - 5, y * 0.3 - 5) for x, y in rotated(EYES_LEVEL, 10))
    crop = crop_face(image, (-5, -5, 25, 25), points, size=60, margin=0.0)
    assert crop[5, 5].tolist() == [255, 255, 255]
    assert crop[55, 55].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="outside the image"):
        crop_face(image, (200, 200, 230, 230), points, size=60, margin=0.0)


@pytest.mark.parametrize("degrees", [-45, 20, 30, 45, 55])
def test_a_head_held_at_an_angle_gives_the_crops_of_the_upright_one(
    tmp_path: Path, detector: FaceDetector, upright: Extraction, degrees: int
) -> None:
    frames = faces_of("one-person.mp4")[:: 150 // FRAMES][:FRAMES]
    path = write_clip(tmp_path / "tilted.mp4", frames=FRAMES, picture=lambda n: tilted(frames[n], degrees))
    found = extract_faces(path, detector=detector)
    assert len(found.tracks[0].faces) == 10
    difference = np.abs(mean_crop(found) - mean_crop(upright)).mean()
    unlevelled = [
        crop_face(tilted(frames[face.frame_number], degrees), face.box, size=224, margin=0.3)
        for face in found.tracks[0].faces
    ]
    assert difference < 0.4 * np.abs(np.mean(unlevelled, axis=0) - mean_crop(upright)).mean()
    for face in found.tracks[0].faces:
        assert roll_of(face.landmarks) == pytest.approx(degrees, abs=13)
    sides = [
        np.mean([max(f.box[2] - f.box[0], f.box[3] - f.box[1]) for f in each.tracks[0].faces])
        for each in (found, upright)
    ]
    assert sides[0] == pytest.approx(sides[1], rel=0.08), "the box of a tilted head must not zoom out"


@pytest.mark.parametrize("degrees", [60, 70])
def test_somebody_who_lies_beside_somebody_who_sits_has_all_their_faces(
    tmp_path: Path, detector: FaceDetector, degrees: int
) -> None:
    frames = [np.asarray(cv2.resize(f, (320, 180))[:, 70:250], dtype=np.uint8) for f in faces_of("one-person.mp4")[:60]]

    def two(number: int) -> NDArray[np.uint8]:
        return np.hstack([frames[number], cv2.resize(tilted(frames[number], degrees), (180, 180))])

    found = extract_faces(write_clip(tmp_path / "two.mp4", frames=60, picture=two), detector=detector)
    assert [len(track.faces) for track in found.tracks] == [10, 10]
    rolls = sorted(roll_of(track.faces[0].landmarks) for track in found.tracks)
    assert rolls == pytest.approx([0, degrees], abs=10)
