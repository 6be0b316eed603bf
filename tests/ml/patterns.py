"""Drawn patterns and faces, such as MTCNN takes for people."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Colour = tuple[int, ...]
SIZE = (320, 480)


def _colour(rng: np.random.Generator, low: int = 20, high: int = 240) -> Colour:
    return tuple(int(level) for level in rng.integers(low, high, 3))


def _ground(rng: np.random.Generator) -> Any:
    return np.full((*SIZE, 3), _colour(rng), np.uint8)


def damask(rng: np.random.Generator) -> Image:
    """Wallpaper of ovals with two leaves, a stem and a bow: eyes, nose and mouth to a detector."""
    picture, colours = _ground(rng), [_colour(rng) for _ in range(5)]
    step_x, step_y = int(rng.integers(50, 110)), int(rng.integers(60, 120))
    leaf_x, leaf_y, leaf_a, leaf_b, oval_a, oval_b, bow_y, bow_a, bow_b = (
        int(size * rng.uniform(0.7, 1.3)) for size in (14, 8, 9, 6, 26, 34, 18, 12, 5)
    )
    for row, y in enumerate(range(0, SIZE[0] + step_y, step_y)):
        for x in range(step_x // 2 if row % 2 else 0, SIZE[1] + step_x, step_x):
            for side in (-1, 1):
                leaf = (x + side * leaf_x, y - leaf_y)
                cv2.ellipse(picture, leaf, (leaf_a, leaf_b), side * 20, 0, 360, colours[0], -1, cv2.LINE_AA)
                cv2.ellipse(picture, leaf, (14, 24), side * 15, 0, 200, colours[1], 2, cv2.LINE_AA)
            cv2.ellipse(picture, (x, y), (oval_a, oval_b), 0, 0, 360, colours[2], 2, cv2.LINE_AA)
            cv2.ellipse(picture, (x, y + 4), (4, 10), 0, 0, 360, colours[3], -1, cv2.LINE_AA)
            cv2.ellipse(picture, (x, y + bow_y), (bow_a, bow_b), 0, 0, 180, colours[4], 2, cv2.LINE_AA)
    return np.asarray(picture, dtype=np.uint8)


def drawn_face(rng: np.random.Generator) -> Image:
    """A face as children and icons have it: an oval, two eyes, a nose, a mouth."""
    picture, ink, x, y = _ground(rng), _colour(rng, 0, 90), SIZE[1] // 2, SIZE[0] // 2
    skin = _colour(rng) if rng.random() < 0.4 else (int(rng.integers(200, 255)), int(rng.integers(170, 225)), 130)
    a, b, line = int(70 * rng.uniform(0.7, 1.3)), int(90 * rng.uniform(0.7, 1.3)), int(rng.integers(1, 6))
    cv2.ellipse(picture, (x, y), (a, b), 0, 0, 360, skin, -1, cv2.LINE_AA)
    cv2.ellipse(picture, (x, y), (a, b), 0, 0, 360, ink, line, cv2.LINE_AA)
    eye_x, eye_y = int(a * rng.uniform(0.3, 0.5)), int(b * rng.uniform(0.15, 0.35))
    wide, high = int(a * rng.uniform(0.1, 0.25)), int(a * rng.uniform(0.06, 0.2))
    for side in (-1, 1):
        eye = (x + side * eye_x, y - eye_y)
        cv2.ellipse(picture, eye, (wide, high), 0, 0, 360, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(picture, eye, max(2, high // 2), ink, -1, cv2.LINE_AA)
        brow = (eye[0], eye[1] - high - 4)
        cv2.ellipse(picture, brow, (int(wide * 1.3), 6), 0, 180, 360, ink, line, cv2.LINE_AA)
    nose = y + int(b * rng.uniform(0.1, 0.3))
    cv2.polylines(picture, [np.array([(x, y - 8), (x - 7, nose), (x + 7, nose)])], False, ink, line, cv2.LINE_AA)
    mouth = (x, y + int(b * rng.uniform(0.35, 0.55)))
    cv2.ellipse(picture, mouth, (int(a * 0.4), int(b * 0.12)), 0, 0, 180, (170, 50, 50), line, cv2.LINE_AA)
    return np.asarray(picture, dtype=np.uint8)


def tiles(rng: np.random.Generator) -> Image:
    """Tiles of a few shapes, mirrored about their middle."""
    side = int(rng.integers(30, 90))
    tile: Any = np.full((side, side, 3), _colour(rng), np.uint8)
    for _ in range(4):
        x, y = int(rng.integers(2, side // 2)), int(rng.integers(2, side))
        radius, shape, colour = int(rng.integers(2, side // 5 + 3)), rng.integers(0, 3), _colour(rng)
        for place, angle in ((x, 20), (side - x, -20)):
            if shape == 0:
                cv2.circle(tile, (place, y), radius, colour, -1, cv2.LINE_AA)
            elif shape == 1:
                cv2.ellipse(tile, (place, y), (2 * radius, radius), angle, 0, 360, colour, 2, cv2.LINE_AA)
            else:
                cv2.rectangle(tile, (place - radius, y - radius // 2), (place + radius, y + radius // 2), colour, -1)
    repeated = np.tile(tile, (SIZE[0] // side + 1, SIZE[1] // side + 1, 1))
    return np.ascontiguousarray(repeated[: SIZE[0], : SIZE[1]])
