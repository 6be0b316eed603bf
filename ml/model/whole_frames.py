"""Whole frames of a video as a network that looks at them is shown them, whether or not there is a face in them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.config import FrameCrop, FrameView, VideoConfig
from ml.faces.tracking import linspace_indices
from ml.model.preprocessing import resize_crop
from ml.video.frame_source import FrameSource
from ml.video.probe import probe
from ml.video.ranged_file import VideoFile

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class WholeFrame:
    """A frame as it is shown: `picture` is (S, S, 3) RGB; the time is in seconds from where the segment begins."""

    number: int
    timestamp_s: float
    picture: Picture


def whole_frames(path: VideoFile, view: FrameView, video: VideoConfig | None = None) -> list[WholeFrame]:
    """Return `view.count` frames spread evenly over a segment of a video, fewer where it has not as many.

    Raises ml.video.errors.VideoError for a file of which nothing can be decoded.
    """
    video = video or VideoConfig()
    file = probe(path, video)
    source = FrameSource(path, video, times=file.times)
    found = _shown(source, view, file.frames)
    if len(found) < min(view.count, source.frames_decoded):  # it is damaged: there are fewer than it says
        found = _shown(source, view, source.frames_decoded)
    return found


def _shown(source: FrameSource, view: FrameView, count: int) -> list[WholeFrame]:
    frames = source.frames(linspace_indices(count, view.count))
    return [WholeFrame(frame.number, frame.timestamp_s, as_square(frame.rgb(), view)) for frame in frames]


def as_square(image: Picture, view: FrameView) -> Picture:
    """Return a frame (H, W, 3) as the square (S, S, 3) that `view` asks for."""
    size = view.size
    height, width = image.shape[:2]
    if view.crop == FrameCrop.CENTRE:
        return resize_crop(_middle(image, min(height, width)), size)
    if view.crop == FrameCrop.NATIVE:
        if min(height, width) < size:
            image = _resized(image, size / min(height, width), least=size)
        return np.ascontiguousarray(_middle(image, size))
    if view.crop == FrameCrop.SQUEEZE:
        shrinks = height * width >= size * size
        squeezed = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        return np.asarray(squeezed, dtype=np.uint8)
    inner = _resized(image, size / max(height, width), least=1)[:size, :size]
    canvas = np.zeros((size, size, 3), np.uint8)
    top, left = ((size - side) // 2 for side in inner.shape[:2])
    canvas[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return canvas


def _middle(image: Picture, side: int) -> Picture:
    top, left = ((length - side) // 2 for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def _resized(image: Picture, scale: float, *, least: int) -> Picture:
    height, width = (max(least, round(length * scale)) for length in image.shape[:2])
    interpolation = cv2.INTER_AREA if scale <= 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), dtype=np.uint8)
