"""Decoded frames and their conversion to RGB as a player shows them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from ml.config import VideoConfig
from ml.video.errors import VideoError, reraise_out_of_memory
from ml.video.orientation import UPRIGHT, Orientation
from ml.video.tone_mapping import HLG, PQ, to_sdr

_UNSPECIFIED_SPACE, _UNSPECIFIED_RANGE = 2, 0
_IN_UPPER_BITS = ("p010", "p012", "p210", "p212", "p410", "p412", "xyz12")
"""Pixel formats whose samples fill the upper bits of their 16; those of all others fill the lower ones."""


@dataclass(frozen=True)
class DecodedFrame:
    """One frame, still in the decoder's pixel format: conversion costs more than decoding, so it waits for a need."""

    number: int
    timestamp_s: float
    frame: av.VideoFrame
    aspect: Fraction | None
    """Width to height of one stored pixel."""
    orientation: Orientation = UPRIGHT
    packet: int | None = None
    """Which packet of the stream it was made from, counted from 0 without empty ones."""

    @property
    def shown_size(self) -> tuple[int, int]:
        """(width, height) as shown."""
        width, height = _square_pixels(self.frame.width, self.frame.height, self.aspect)
        return (height, width) if self.orientation.swaps_sides else (width, height)

    @property
    def size_bytes(self) -> int:
        """What the decoded frame keeps in memory."""
        return sum(plane.line_size * plane.height for plane in self.frame.planes)

    def rgb(self, *, long_side: int | None = None) -> NDArray[np.uint8]:
        """Return the picture as a player shows it: RGB (H, W, 3), upright, square pixels, SDR.

        It is reduced to `long_side` in the converter when the frame is larger.  Raises VideoError where its pixels
        cannot be converted.
        """
        width, height = _square_pixels(self.frame.width, self.frame.height, self.aspect)
        if long_side is not None and max(width, height) > long_side:
            scale = long_side / max(width, height)
            width, height = max(1, round(width * scale)), max(1, round(height * scale))
        resized = (width, height) != (self.frame.width, self.frame.height)
        interpolation = "AREA" if resized else None
        if self.frame.color_trc in (PQ, HLG):
            wide = np.asarray(_convert(self.frame, width, height, "rgb48le", interpolation), dtype=np.uint16)
            image = to_sdr(wide, self.frame.color_trc)
        else:
            image = np.asarray(_convert(self.frame, width, height, "rgb24", interpolation), dtype=np.uint8)
        return self.orientation.apply(image)

    def luma_signature(self) -> NDArray[np.float32]:
        """About 24 x 24 samples of the first plane, 0 to 1: enough to see a cut, and free of any conversion."""
        plane = self.frame.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8)[: plane.line_size * plane.height].reshape(
            plane.height, plane.line_size
        )
        step_y, step_x = max(1, plane.height // 24), max(1, plane.line_size // 24)
        depth = self.frame.format.components[0].bits  # names mislead: yuv410p has 8 bits
        if 8 < depth <= 16 and plane.line_size > 1:
            order = ">u2" if self.frame.format.is_big_endian else "<u2"
            samples = np.ascontiguousarray(rows[:, : plane.line_size // 2 * 2]).view(order)
            white = 2**16 - 1 if self.frame.format.name.startswith(_IN_UPPER_BITS) else 2**depth - 1
            return (samples[::step_y, :: max(1, step_x // 2)].astype(np.float32) / white)[:24, :24]
        return (rows[::step_y, ::step_x].astype(np.float32) / 255.0)[:24, :24]


def _convert(frame: av.VideoFrame, width: int, height: int, pixels: str, interpolation: str | None) -> NDArray[Any]:
    """Convert to packed RGB (height, width, 3).  Raises VideoError."""
    try:
        return frame.reformat(width=width, height=height, format=pixels, interpolation=interpolation).to_ndarray()
    except FFmpegError:
        # The converter refuses colours that it does not know: reserved numbers, YCgCo, constant luminance.  As players
        # do, take them for the usual ones: a face is a face in odd colours too.
        frame.colorspace, frame.color_range = _UNSPECIFIED_SPACE, _UNSPECIFIED_RANGE
    try:
        return frame.reformat(width=width, height=height, format=pixels, interpolation=interpolation).to_ndarray()
    except FFmpegError as error:
        reraise_out_of_memory(error)
        raise VideoError("corrupt_video", f"Its pictures ({frame.format.name}) cannot be shown in colour.") from error


def rotate90(image: NDArray[np.uint8], degrees: int) -> NDArray[np.uint8]:
    """Turn anticlockwise by a multiple of 90 degrees."""
    quarter = round(degrees / 90) % 4
    return np.ascontiguousarray(np.rot90(image, quarter)) if quarter else image


def _square_pixels(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Pixel counts once the pixels are square.  Within 5 % of square nothing is resampled.

    A picture is stretched, but to no longer side than a file may have: beyond that it is made lower instead, or a small
    file could ask for ten times the pixels that are allowed.
    """
    ratio = float(aspect) if aspect else 1.0
    if not 0.1 <= ratio <= 10 or abs(ratio - 1) < 0.05:
        return width, height
    if width * ratio > VideoConfig.max_width_or_height:
        return width, max(1, round(height / ratio))
    return max(1, round(width * ratio)), height


def downscale(image: NDArray[np.uint8], long_side: int) -> NDArray[np.uint8]:
    """A copy with at most this longer side."""
    height, width = image.shape[:2]
    if max(height, width) <= long_side:
        return image
    scale = long_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
