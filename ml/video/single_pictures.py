"""Single pictures of a long video, decoded without what lies between them, and where a segment can begin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from av import VideoFrame
from av.error import FFmpegError
from numpy.typing import NDArray

from ml.config import VideoConfig
from ml.video.errors import VideoError, reraise_out_of_memory
from ml.video.frame import DecodedFrame
from ml.video.orientation import UPRIGHT, orientation_of
from ml.video.prefetch import parallel_map
from ml.video.probe import open_container, seek, video_packets
from ml.video.ranged_file import VideoFile

MAX_SKIPPED = 600
"""Packets read after a seek until a key frame comes."""


@dataclass(frozen=True)
class SegmentStart:
    """Where a segment begins: `time` in the stream's unit, `start_s` seconds from the first frame on.

    `key`: when the key frame is shown that decoding begins with, None where that is the segment's first frame.
    """

    time: int
    start_s: float
    key: int | None = None


@dataclass(frozen=True)
class Shape:
    """What the choice goes by: seconds of one segment, of the whole video and of its last segment, and the rest."""

    length: float
    duration: float
    rest: float
    least: float
    """Seconds that a segment must have."""
    origin: int
    unit: float
    """Seconds."""
    fps: float
    frame_pixels: int

    @property
    def slack(self) -> float:
        """Seconds by which sums of seconds may be wrong: less than a frame."""
        return 0.25 / self.fps

    @property
    def tolerance(self) -> int:
        """Ticks by which times of frames may be rounded; less than a frame."""
        return int(min(2.0, self.slack / self.unit))

    def time(self, seconds: float) -> int:
        """Return the time in the stream's unit."""
        return self.origin + round(seconds / self.unit)

    def seconds(self, time: int) -> float:
        """Return the seconds from the first frame on, 0 at least."""
        return max(0.0, round((time - self.origin) * self.unit, 4))


@dataclass(frozen=True)
class Picture:
    """A decoded picture, and the segment that is looked at because of it."""

    start: SegmentStart
    at: int
    """When the picture itself is shown."""
    exact: bool
    """It lies between key frames."""
    luma: NDArray[np.float32]
    """As `DecodedFrame.luma_signature`."""


def decode_pictures(
    path: VideoFile, video: VideoConfig, times: Sequence[tuple[int, bool]], shape: Shape, threads: int
) -> list[Picture]:
    """Decode the pictures at these times, (time, `exact`: not only the key frame before it); in time order."""

    def look(share: Sequence[tuple[int, bool]]) -> list[Picture]:
        found = []
        with Pictures(path, video) as opened:
            for time, exact in share:
                decoded = opened.at(time, exact=exact)
                if decoded is not None:
                    key, frame = decoded
                    found.append(_picture(key, frame, shape, exact=exact))
        return found

    looked = [
        picture
        for share in parallel_map(look, [times[k::threads] for k in range(threads)], threads)
        for picture in share
    ]
    return list({picture.at: picture for picture in sorted(looked, key=lambda picture: picture.at)}.values())


def _picture(key: int, frame: DecodedFrame, shape: Shape, *, exact: bool) -> Picture:
    """With the segment that begins there, or a little earlier where it would reach beyond the end of the video."""
    at = key if frame.frame.pts is None else frame.frame.pts
    latest = shape.time(shape.duration - shape.rest)
    time = min(at, max(latest, shape.origin))
    # A segment that was moved back may begin before that key frame; which one that takes is looked up when it is taken.
    return Picture(
        SegmentStart(time, shape.seconds(time), None if time == key else min(key, time)),
        at,
        exact,
        frame.luma_signature(),
    )


class Pictures:
    """An open file of which single pictures are decoded."""

    def __init__(self, path: VideoFile, video: VideoConfig) -> None:
        self._video = video
        self._opened = open_container(path, video)

    def __enter__(self) -> Self:
        self._container, self._stream = self._opened.__enter__()
        self._stream.thread_type = "SLICE"  # a thread for each frame would wait for frames that are not wanted
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.__exit__(None, None, None)

    def at(self, time: int, *, exact: bool = False) -> tuple[int, DecodedFrame] | None:
        """Decode the key frame at or before `time`, with `exact` the first picture from `time` on.

        Returns when the key frame is shown, and the picture; None where there is none that can be decoded.
        """
        stream = self._stream
        try:
            seek(self._container, stream, time)
            key: int | None = None
            for packet in video_packets(self._container, stream, self._video, most=self._video.max_probe_packets):
                if key is None:
                    if not packet.is_keyframe or packet.pts is None:
                        continue
                    key = packet.pts
                    exact = exact and key < time
                for picture in packet.decode() if exact else [*packet.decode(), *stream.codec_context.decode(None)]:
                    if not exact or (picture.pts is not None and picture.pts >= time):
                        return key, self._shown(picture)
                if not exact:
                    return None
        except (FFmpegError, VideoError) as error:
            if isinstance(error, FFmpegError):
                reraise_out_of_memory(error)
        return None

    def _shown(self, picture: VideoFrame) -> DecodedFrame:
        return DecodedFrame(
            number=0,
            timestamp_s=0.0,
            frame=picture,
            aspect=self._stream.sample_aspect_ratio,
            orientation=orientation_of(picture) or UPRIGHT,
        )

    def key_for(self, time: int) -> tuple[int, int] | None:
        """Return where a segment can begin that should begin at `time`, and the key frame that decoding begins with.

        Later than asked for only where no key frame comes before.  None where there is none at all.
        """
        try:
            seek(self._container, self._stream, time)
            for packet in video_packets(self._container, self._stream, self._video, most=MAX_SKIPPED):
                if packet.is_keyframe and packet.pts is not None:
                    return max(time, packet.pts), packet.pts
        except (FFmpegError, VideoError) as error:
            if isinstance(error, FFmpegError):
                reraise_out_of_memory(error)
        return None
