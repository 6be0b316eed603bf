"""A poster on the wall is marked as a still picture, and the person who talks beside it is not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ml.faces.extract import extract_faces
from ml.faces.still import MIN_FACES, is_still
from tests.ml.clips import portrait, write_clip

Image = NDArray[np.uint8]
SIZE = 224


def talking(number: int) -> Image:
    return portrait("hopper", size=SIZE, roll=2 * np.sin(number / 5), talk=float(np.sin(number)))


def beside_a_poster(path: Path) -> Path:
    """A clip of somebody who talks, on the left, and a poster that nobody moves."""
    poster = portrait("collins", size=SIZE, scale=0.8)
    return write_clip(path, frames=30, fps=20, picture=lambda number: np.hstack([talking(number), poster]))


def test_a_poster_is_still_and_who_talks_beside_it_is_not(tmp_path: Path) -> None:
    found = extract_faces(beside_a_poster(tmp_path / "poster.mp4"))
    left_to_right = sorted(found.tracks, key=lambda track: track.faces[0].box[0])
    assert [track.still for track in left_to_right] == [False, True]


def crops(change: str) -> list[Image]:
    rng = np.random.default_rng(0)
    photo = portrait("collins", size=SIZE)
    if change == "talks":
        return [portrait("collins", size=SIZE, talk=float(np.sin(n))) for n in range(10)]
    if change == "moved as a whole":
        return [portrait("collins", size=SIZE, shift=(n % 3 - 1, n % 2), scale=1 + 0.01 * (n % 2)) for n in range(10)]
    if change == "light":
        return [np.asarray(photo * (0.8 + 0.02 * n), dtype=np.uint8) for n in range(10)]
    if change == "noise":
        return [np.clip(photo + rng.normal(0, 3, photo.shape), 0, 255).astype(np.uint8) for _ in range(10)]
    if change == "somebody passes":
        hidden = photo.copy()
        cv2.rectangle(hidden, (60, 0), (160, SIZE), (90, 90, 90), -1)
        return [hidden if n in (4, 7) else photo for n in range(10)]
    return [photo] * 10


@pytest.mark.parametrize(
    ("change", "still"),
    [
        ("none", True),
        ("moved as a whole", True),
        ("light", True),
        ("noise", True),
        ("somebody passes", True),
        ("talks", False),
    ],
)
def test_only_movement_of_the_face_itself_counts(change: str, still: bool) -> None:
    assert is_still(crops(change), seconds=2.0) is still


def test_of_few_faces_or_a_moment_nobody_can_say() -> None:
    assert not is_still(crops("none"), seconds=0.5)
    assert not is_still(crops("none")[: MIN_FACES - 1], seconds=5.0)
