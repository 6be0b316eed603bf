"""A face is levelled by its landmarks, so that tilt, framing and place in the crop do not matter."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from ml.faces.alignment import (
    LEFT_EYE,
    MARGIN,
    RIGHT_EYE,
    Jitter,
    align_face,
    alignment_matrix,
    transform_points,
    whole_crop_matrix,
)
from ml.faces.landmarks import face_landmarks

SIZE = 160


def portrait(*, roll: float = 0.0, zoom: float = 1.0, shift: tuple[int, int] = (0, 0)) -> NDArray[np.uint8]:
    """The astronaut's face in a square of 224 pixels, her head tilted by `roll` degrees."""
    matrix = cv2.getRotationMatrix2D((224.0, 115.0), roll, zoom * 224 / 125)
    matrix[:, 2] += (112 - 224 + shift[0], 112 - 115 + shift[1])
    turned = cv2.warpAffine(data.astronaut(), matrix, (224, 224), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(turned, dtype=np.uint8)


def aligned(crop: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    points = face_landmarks([crop])[0]
    matrix = alignment_matrix(points, crop_side=max(crop.shape[:2]), size=SIZE)
    return align_face(crop, matrix, SIZE), transform_points(points, matrix)


def test_the_landmarks_of_a_portrait_are_where_eyes_nose_and_mouth_are() -> None:
    crop = portrait()
    points = face_landmarks([crop])[0]
    right, left = points[RIGHT_EYE].mean(axis=0), points[LEFT_EYE].mean(axis=0)
    nose, mouth = points[30], points[48:68].mean(axis=0)
    assert right[0] < nose[0] < left[0]
    assert max(right[1], left[1]) < nose[1] < mouth[1] < points[8][1]
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    for eye in (right, left):  # an eye is darker than the cheek below it
        x, y = (round(float(v)) for v in eye)
        below = round(float(y + 0.35 * (nose[1] - eye[1]) + 12))
        assert grey[y - 3 : y + 4, x - 5 : x + 6].min() < grey[below : below + 6, x - 5 : x + 6].mean() - 25


def test_the_points_do_not_depend_on_what_else_is_looked_at() -> None:
    crops = [portrait(roll=angle) for angle in (0, 8, -8)]
    together = face_landmarks(crops)
    for crop, points in zip(crops, together, strict=True):
        assert np.array_equal(face_landmarks([crop])[0], points)
    assert np.abs(face_landmarks(crops, batch=3) - together).max() < 0.01


def test_an_aligned_face_has_level_eyes_and_fills_the_square() -> None:
    for roll in (-20, 0, 12):
        _, points = aligned(portrait(roll=roll))
        right, left = points[RIGHT_EYE].mean(axis=0), points[LEFT_EYE].mean(axis=0)
        assert abs(left[1] - right[1]) < 0.5
        extent = np.ptp(points, axis=0).max()
        assert extent == pytest.approx(SIZE / (1 + MARGIN), rel=0.02)
        assert (points.max(axis=0) + points.min(axis=0)) / 2 == pytest.approx([SIZE / 2, SIZE / 2], abs=0.5)


@pytest.mark.parametrize("change", [{"roll": 15}, {"roll": -20}, {"zoom": 0.85}, {"shift": (10, -8)}])
def test_a_tilted_smaller_or_shifted_face_looks_as_it_does_upright(change: dict[str, float]) -> None:
    upright, _ = aligned(portrait())
    other, _ = aligned(portrait(**change))  # type: ignore[arg-type]
    inner = (slice(30, 130), slice(30, 130))
    as_aligned = np.corrcoef(upright[inner].ravel(), other[inner].ravel())[0, 1]
    stored = [cv2.resize(crop, (SIZE, SIZE)) for crop in (portrait(), portrait(**change))]  # type: ignore[arg-type]
    as_stored = np.corrcoef(stored[0][inner].ravel(), stored[1][inner].ravel())[0, 1]
    assert as_aligned > 0.85
    assert as_aligned > as_stored


def test_landmarks_that_cannot_be_right_leave_the_crop_upright_and_in_bounds() -> None:
    upside_down = face_landmarks([portrait()])[0][:, ::-1].copy()  # eyes one above the other
    matrix = alignment_matrix(upside_down, crop_side=224, size=SIZE)
    assert matrix[0, 1] == pytest.approx(0, abs=1e-6)
    nowhere = alignment_matrix(np.zeros((68, 2), np.float32), crop_side=224, size=SIZE)
    assert nowhere[0, 0] == pytest.approx(SIZE / (0.45 * 224)), "no deeper into the crop than that"


def test_a_jitter_moves_zooms_and_turns_about_the_framing_of_inference() -> None:
    points = face_landmarks([portrait()])[0]

    def placed(jitter: Jitter) -> NDArray[np.float32]:
        return transform_points(points, alignment_matrix(points, crop_side=224, size=SIZE, jitter=jitter))

    plain = placed(Jitter())
    assert np.ptp(placed(Jitter(zoom=1.1)), axis=0).max() == pytest.approx(np.ptp(plain, axis=0).max() / 1.1, rel=1e-3)
    assert placed(Jitter(shift=(0.05, 0))).mean(axis=0)[0] == pytest.approx(
        plain.mean(axis=0)[0] - 0.05 * SIZE, abs=0.1
    )
    turned = placed(Jitter(roll=0.1))
    right, left = turned[RIGHT_EYE].mean(axis=0), turned[LEFT_EYE].mean(axis=0)
    assert np.arctan2(left[1] - right[1], left[0] - right[0]) == pytest.approx(-0.1, abs=0.01)
    rng = np.random.default_rng(0)
    drawn = [Jitter.draw(rng) for _ in range(200)]
    assert 0.88 <= min(j.zoom for j in drawn) < 0.92
    assert abs(np.mean([j.roll for j in drawn])) < 0.02


def test_a_crop_that_is_not_levelled_fills_the_square_as_it_is() -> None:
    crop = portrait()
    matrix = whole_crop_matrix(224, 224, size=112)
    corners = transform_points(np.array([[0, 0], [224, 224]], np.float32), matrix)
    assert corners.tolist() == [[0, 0], [112, 112]]
    assert np.abs(align_face(crop, matrix, 112).astype(int) - cv2.resize(crop, (112, 112)).astype(int)).mean() < 6
