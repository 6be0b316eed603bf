"""Clips that the tests make themselves, and where to find the ones the project ships."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

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
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = pixels
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for number in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def faces_of(name: str) -> list[NDArray[np.uint8]]:
    """All frames of a shipped demo clip, RGB."""
    from ml.video.decode import decode

    return [frame.rgb() for frame in decode(DEMO / name)]
