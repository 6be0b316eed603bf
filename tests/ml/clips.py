"""Clips that the tests make themselves, and where to find the ones the project ships."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from ml.bench.fuzz.seeds import keep_scheduling

DEMO = Path(__file__).resolve().parents[2] / "demo" / "clips"
Picture = Callable[[int], NDArray[Any]]
"""Frame number -> height x width x 3, uint8."""


def quadrants(number: int, *, width: int = 128, height: int = 96) -> NDArray[np.uint8]:
    """Red, green / blue, white corners, so that turning, mirroring and BGR all show; a bright bar marks the frame."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (220, 30, 30)
    image[: height // 2, width // 2 :] = (30, 200, 30)
    image[height // 2 :, : width // 2] = (30, 30, 220)
    image[height // 2 :, width // 2 :] = (230, 230, 230)
    image[height // 2 - 2 : height // 2 + 2, : 1 + number % width] = 255
    return image


@keep_scheduling()
def write_clip(
    path: Path,
    *,
    frames: int = 12,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    fps: int | Fraction = 25,
    picture: Picture = quadrants,
    options: dict[str, str] | None = None,
    aspect: Fraction | None = None,
) -> Path:
    """Encode `picture(0) .. picture(frames - 1)` (RGB)."""
    first = picture(0)
    quickly = {"preset": "superfast"} if codec == "libx264" else {}  # a third of the time, larger files
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=quickly | (options or {}))
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = pixels
        stream.codec_context.thread_count = 1  # the same pictures give the same clip, however busy the machine is
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for number in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        container.mux(stream.encode(None))
    return path


@lru_cache(maxsize=2)
def faces_of(name: str) -> list[NDArray[np.uint8]]:
    """All frames of a shipped demo clip, RGB, not to be written to: the next test is given the same."""
    from ml.video.decode import decode

    frames = [frame.rgb() for frame in decode(DEMO / name)]
    for frame in frames:
        frame.setflags(write=False)
    return frames


def short_clip(path: Path) -> Path:
    """One person in 14 frames, every tenth of a demo clip's: all that the product looks for, at a tenth of the cost."""
    frames = faces_of("one-person.mp4")
    return write_clip(path, frames=14, picture=lambda number: frames[number * 10])


PORTRAITS = {"collins": ((225.0, 117.0), 2.0), "hopper": ((265.0, 230.0), 0.95)}
"""Of two people: the face's centre, and the scale that makes it some 170 pixels wide."""


@cache
def _portrait(name: str) -> NDArray[np.uint8]:
    """The pictures that scikit-image and Matplotlib bring: Eileen Collins and Grace Hopper (public domain)."""
    from matplotlib.cbook import get_sample_data
    from matplotlib.image import imread
    from skimage import data

    picture: Any = (
        data.astronaut() if name == "collins" else imread(get_sample_data("grace_hopper.jpg", asfileobj=False))
    )
    return np.asarray(picture, dtype=np.uint8)


def portrait(
    name: str,
    *,
    size: int = 320,
    scale: float = 1.0,
    roll: float = 0.0,
    shift: tuple[float, float] = (0.0, 0.0),
    light: float = 1.0,
    talk: float = 0.0,
) -> NDArray[np.uint8]:
    """One of PORTRAITS in a square of `size` pixels: face of about half of it, `roll` degrees, `shift` in pixels.

    `talk`, -1 to 1, moves mouth, jaw and brows, as no still picture does.
    """
    (x, y), zoom = PORTRAITS[name]
    zoom *= scale * size / 320
    matrix = cv2.getRotationMatrix2D((x, y), roll, zoom)
    matrix[:, 2] += np.array([size / 2 - x + shift[0], size / 2 - y + shift[1]])
    shown = cv2.warpAffine(_portrait(name), matrix, (size, size), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT)
    if talk:
        rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
        along, down = (columns - size / 2) / size, (rows - size / 2) / size
        mouth = np.exp(-((along / 0.12) ** 2 + ((down - 0.15) / 0.08) ** 2))
        brows = np.exp(-((along / 0.18) ** 2 + ((down + 0.12) / 0.05) ** 2))
        moved = rows + np.float32(talk * size * 0.02) * (mouth - brows).astype(np.float32)
        shown = cv2.remap(np.asarray(shown), columns, moved, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.clip(np.asarray(shown) * light, 0, 255).astype(np.uint8)
