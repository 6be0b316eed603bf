"""Prints: near for the same footage in another guise, far for other footage, none where there is nothing to see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ml.faces.perceptual_hash import NO_HASH, face_hash, image_hash
from tests.ml.clips import faces_of

Image = NDArray[np.uint8]


def distance(a: str, b: str) -> int:
    return (int(a, 16) ^ int(b, 16)).bit_count()


def jpeg(image: Image, quality: int) -> Image:
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1], dtype=np.uint8)  # type: ignore[index]


@pytest.fixture(scope="module")
def frames() -> dict[str, Image]:
    return {name: faces_of(f"{name}.mp4")[60] for name in ("one-person", "two-people", "no-face")}


def test_a_print_is_256_bits_and_always_the_same(frames: dict[str, Image]) -> None:
    first, again = (image_hash(frames["one-person"]) for _ in range(2))
    assert first == again
    assert len(bytes.fromhex(first)) == 32
    assert 64 < int(first, 16).bit_count() < 192


@pytest.mark.parametrize(
    ("change", "most"),
    [
        (lambda image: jpeg(image, 20), 20),
        (lambda image: cv2.resize(image, (image.shape[1] // 3, image.shape[0] // 3)), 20),
        (lambda image: cv2.convertScaleAbs(image, alpha=0.8, beta=10), 20),
        (lambda image: image[:, round(image.shape[1] * 0.05) : -round(image.shape[1] * 0.05)], 60),
    ],
    ids=["compressed", "scaled", "darker", "cropped"],
)
def test_the_same_picture_in_another_guise_is_near_and_others_are_not(
    frames: dict[str, Image], change: Callable[[Any], Any], most: int
) -> None:
    for name, image in frames.items():
        changed = image_hash(np.ascontiguousarray(change(image)))
        assert distance(image_hash(image), changed) <= most
        for other in frames.keys() - {name}:
            assert distance(image_hash(frames[other]), changed) > 80


def test_grey_pictures_are_not_near_for_having_no_colours(frames: dict[str, Image]) -> None:
    grey = {name: cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for name, image in frames.items()}
    one, two, three = (image_hash(np.dstack([image] * 3)) for image in grey.values())
    assert min(distance(one, two), distance(one, three), distance(two, three)) > 80
    assert distance(one, image_hash(jpeg(np.dstack([grey["one-person"]] * 3), 30))) <= 20


@pytest.mark.parametrize("level", [0, 128])
def test_a_picture_of_one_colour_has_none(level: int) -> None:
    noise = np.random.default_rng(0).integers(0, 3, (90, 160, 3)).astype(np.uint8)
    assert image_hash(noise + np.uint8(level)) == NO_HASH
    assert face_hash([noise + np.uint8(level)] * 3) == NO_HASH


def test_a_face_is_that_of_all_its_crops_whichever_of_them_are_there() -> None:
    crops = [frame[20:220, 60:260] for frame in faces_of("one-person.mp4")[::8]]
    assert len(crops) >= 8
    whole = face_hash(crops)
    small = [np.asarray(cv2.resize(crop, (112, 112)), dtype=np.uint8) for crop in crops]
    assert distance(whole, face_hash(small)) <= 20
    assert distance(whole, face_hash(crops[1::2])) <= 40
    assert distance(whole, face_hash([np.ascontiguousarray(crop[:, ::-1]) for crop in crops])) > 60
