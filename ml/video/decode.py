"""Open, check and decode videos that nobody vouches for.

Decoding is PyAV's (FFmpeg).  OpenCV's reader returns garbage for interlaced H.264, no frame of AV1, and counts frames
that are not there.  Only the demuxers listed here may open a file: playlists and concat scripts, whatever their name,
would read other files and the network.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream
from numpy.typing import NDArray

from ml.config import VideoConfig
from ml.resource_limits import memory_is_short

# PyAV's own log callback needs the GIL inside FFmpeg's threads and can deadlock with frame threading (seen within 60
# files).  FFmpeg's default callback, silenced, cannot: bad files are expected, what matters comes back as VideoError.
av.logging.restore_default_callback()
av.logging.set_libav_level(av.logging.PANIC)

DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,gif,ogg,mxf,ivf,h264,hevc,m4v,dv,apng"
)
MOST_REORDERED = 32
"""Packets from which pictures may come that are shown before an earlier packet's."""
SAYS_WHAT_IS_SPARE = frozenset({"h264", "mpeg4", "mpeg2video"})
"""Codecs whose packets say that no other picture is made from this one.  HEVC's may mean: none of the same layer."""
NO_FRAME = "The file has a video stream, but no frame of it can be decoded."
_UNSPECIFIED_SPACE, _UNSPECIFIED_RANGE = 2, 0


class VideoError(Exception):
    """The file is no video that can be judged: a result, never a reason to try again.

    `code` is one of empty_file, not_a_video, no_video_stream, corrupt_video, resolution_too_large, video_too_long.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class VideoInfo:
    """What the container says.  Width and height are pixels as shown: after pixel aspect and rotation."""

    container: str
    codec: str
    width: int
    height: int
    rotation: int
    """Degrees anticlockwise by which the stored picture is turned before it is shown: 0, 90, 180 or 270."""
    fps: float | None
    duration_s: float | None


@dataclass(frozen=True)
class DecodedFrame:
    """One frame, still in the decoder's pixel format: conversion costs more than decoding, so it waits for a need."""

    number: int
    timestamp_s: float
    frame: av.VideoFrame
    aspect: Fraction | None
    """Width to height of one stored pixel."""
    packet: int | None = None
    """Which packet of the stream it was made from, counted from 0 without empty ones."""

    @property
    def shown_size(self) -> tuple[int, int]:
        """(width, height) as shown."""
        width, height = _square_pixels(self.frame.width, self.frame.height, self.aspect)
        return (height, width) if self.frame.rotation % 180 else (width, height)

    @property
    def size_bytes(self) -> int:
        """What the decoded frame keeps in memory."""
        return sum(plane.line_size * plane.height for plane in self.frame.planes)

    def rgb(self, *, long_side: int | None = None) -> NDArray[np.uint8]:
        """Upright RGB (H, W, 3), square pixels; reduced to `long_side` in the converter when the frame is larger.

        Raises VideoError where its pixels cannot be converted.
        """
        width, height = _square_pixels(self.frame.width, self.frame.height, self.aspect)
        if long_side is not None and max(width, height) > long_side:
            scale = long_side / max(width, height)
            width, height = max(1, round(width * scale)), max(1, round(height * scale))
        resized = (width, height) != (self.frame.width, self.frame.height)
        converted = _to_rgb(self.frame, width, height, "AREA" if resized else None)
        return turn(np.asarray(converted.to_ndarray(), dtype=np.uint8), round(self.frame.rotation))

    def luma_signature(self) -> NDArray[np.float32]:
        """About 24 x 24 samples of the first plane, 0 to 1: enough to see a cut, and free of any conversion."""
        plane = self.frame.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8)[: plane.line_size * plane.height].reshape(
            plane.height, plane.line_size
        )
        step_y, step_x = max(1, plane.height // 24), max(1, plane.line_size // 24)
        wide = ("10" in self.frame.format.name or "12" in self.frame.format.name) and plane.line_size > 1
        if wide:  # little-endian 16-bit samples: the high byte, which holds the upper bits only
            rows = np.ascontiguousarray(rows[:, : plane.line_size // 2 * 2]).view("<u2")
            bits = 10 if "10" in self.frame.format.name else 12
            return (rows[::step_y, :: max(1, step_x // 2)].astype(np.float32) / (2**bits - 1))[:24, :24]
        return (rows[::step_y, ::step_x].astype(np.float32) / 255.0)[:24, :24]


def _to_rgb(frame: av.VideoFrame, width: int, height: int, interpolation: str | None) -> av.VideoFrame:
    """Raises VideoError."""
    try:
        return frame.reformat(width=width, height=height, format="rgb24", interpolation=interpolation)
    except FFmpegError:
        # The converter refuses colours that it does not know: reserved numbers, YCgCo, constant luminance.  As players
        # do, take them for the usual ones: a face is a face in odd colours too.
        frame.colorspace, frame.color_range = _UNSPECIFIED_SPACE, _UNSPECIFIED_RANGE
    try:
        return frame.reformat(width=width, height=height, format="rgb24", interpolation=interpolation)
    except FFmpegError as error:
        raise_shortage(error)
        raise VideoError("corrupt_video", f"Its pictures ({frame.format.name}) cannot be shown in colour.") from error


def turn(image: NDArray[np.uint8], degrees: int) -> NDArray[np.uint8]:
    """Turn anticlockwise by a multiple of 90 degrees."""
    quarter = round(degrees / 90) % 4
    return np.ascontiguousarray(np.rot90(image, quarter)) if quarter else image


def _square_pixels(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Pixel counts once the pixels are square.  Within 5 % of square nothing is resampled."""
    ratio = float(aspect) if aspect else 1.0
    if not 0.1 <= ratio <= 10 or abs(ratio - 1) < 0.05:
        return width, height
    return max(1, round(width * ratio)), height


@contextmanager
def opened(path: Path, config: VideoConfig) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its best video stream, checked against the limits.  Raises VideoError."""
    if not path.is_file():
        raise VideoError("not_a_video", "There is no file of this name.")
    if path.stat().st_size == 0:
        raise VideoError("empty_file", "The file is empty.")
    try:
        container = av.open(
            str(path), mode="r", options={"format_whitelist": DEMUXERS, "protocol_whitelist": "file"}, timeout=(30, 30)
        )
    except (FFmpegError, ValueError, UnicodeDecodeError) as error:
        raise_shortage(error)
        raise VideoError(*_why_it_does_not_open(path)) from error
    with container:
        stream = _best_stream(container)
        context = stream.codec_context
        if context is None:
            raise VideoError("corrupt_video", f"No decoder for the video's codec ({_codec_name(stream)}) is installed.")
        _check_size(context.width, context.height, config)
        duration = _duration_s(container, stream)
        if duration is not None and duration > config.max_duration_s:
            raise VideoError(
                "video_too_long",
                f"The video says it lasts {duration:.0f} s; at most {config.max_duration_s:.0f} s are taken.",
            )
        # The decoder itself refuses a frame that turns out larger than the header said.
        context.options = {"max_pixels": str(config.max_pixels)}
        context.thread_type = "AUTO"
        context.thread_count = min(4, os.cpu_count() or 1)
        yield container, stream


def raise_shortage(error: Exception) -> None:
    """Raises MemoryError in place of any error of FFmpeg's while there is hardly any memory left.

    It can say "invalid data" when it got no memory for a sound picture, and "no memory" of a size that a damaged file
    makes up, which is damage like any other: only what is left tells them apart.
    """
    if isinstance(error, FFmpegError) and memory_is_short():
        raise MemoryError(str(error)) from error


def _why_it_does_not_open(path: Path) -> tuple[str, str]:
    """An unfinished recording has a video's first bytes but no index; anything else is not a video."""
    with path.open("rb") as handle:
        head = handle.read(16)
    riff_video = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    if head[4:8] == b"ftyp" or riff_video or head[:4] in (b"\x1aE\xdf\xa3", b"FLV\x01", b"0&\xb2u"):
        return (
            "corrupt_video",
            "The file begins like a video but cannot be opened: it is damaged or was never finished.",
        )
    return "not_a_video", "The content of the file is not a video, whatever its name says."


def _best_stream(container: InputContainer) -> VideoStream:
    streams = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
    if not streams:
        if any(container.streams) or container.format.name.startswith("mov"):
            raise VideoError("no_video_stream", "The file holds no video stream.")
        raise VideoError("not_a_video", "The content of the file is not a video, whatever its name says.")
    best = container.streams.best("video")
    return best if isinstance(best, VideoStream) and best in streams else streams[0]


def _check_size(width: int, height: int, config: VideoConfig) -> None:
    if width * height > config.max_pixels or max(width, height) > config.max_width_or_height:
        raise VideoError(
            "resolution_too_large",
            f"A frame of {width} x {height} pixels is larger than is taken; reduce the video first.",
        )


def _codec_name(stream: VideoStream) -> str:
    context = stream.codec_context
    return str(context.codec.canonical_name) if context else "unknown"


def _duration_s(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


@dataclass(frozen=True)
class Survey:
    """What a file says before any picture is decoded; `frames`: how many decoding may yield, at most `max_frames`.

    `times`: when each of them is shown, in order and in the stream's own unit; empty where not every packet says it,
    and where no frame could be left out (see `decode`), as none is decoded before one that is shown earlier.
    """

    container: str
    codec: str
    fps: float | None
    duration_s: float | None
    frames: int
    times: tuple[int, ...]

    def info(self, first: DecodedFrame) -> VideoInfo:
        """With what only a decoded picture knows."""
        width, height = first.shown_size
        return VideoInfo(
            container=self.container,
            codec=self.codec,
            width=width,
            height=height,
            rotation=round(first.frame.rotation) % 360,
            fps=self.fps,
            duration_s=self.duration_s,
        )


def survey(path: Path, config: VideoConfig | None = None) -> Survey:
    """Open the file and count its packets, without decoding.  Raises VideoError when it cannot be judged."""
    config = config or VideoConfig()
    with opened(path, config) as (container, stream):
        packets = video_packets(container, stream, config, most=config.max_frames + MOST_REORDERED)
        stated = [packet.pts for packet in packets]
        if not stated:
            raise VideoError("corrupt_video", NO_FRAME)
        times = sorted({time for time in stated if time is not None})
        codec = _codec_name(stream)
        # AVI counts pictures as they are decoded, which looks as if none were shown in another order.
        told = len(times) == len(stated) and times != stated and codec in SAYS_WHAT_IS_SPARE
        return Survey(
            container=container.format.name,
            codec=codec,
            fps=float(stream.average_rate) if stream.average_rate else None,
            duration_s=_duration_s(container, stream),
            frames=min(len(stated), config.max_frames),
            times=tuple(times[: config.max_frames]) if told else (),
        )


def decode(
    path: Path, config: VideoConfig | None = None, *, times: Sequence[int] = (), needed: Container[int] = ()
) -> Iterator[DecodedFrame]:
    """The first `max_frames` frames.  A damaged file yields what was decoded before the damage.

    With `times` (of `survey`) frames are left out whose number is not `needed`, as far as no other frame is made from
    them: half the frames of usual H.264, and half the work.  `needed` is asked as decoding goes on.  Raises VideoError
    when not a single frame can be decoded.
    """
    config = config or VideoConfig()
    with opened(path, config) as (container, stream):
        empty = True
        for frame in _decode(container, stream, config, times, needed):
            empty = False
            yield frame
    if empty and times:  # what the packets said fits no picture
        yield from decode(path, config)
    elif empty:
        raise VideoError("corrupt_video", NO_FRAME)


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet[VideoStream]]:
    """All packets of the stream, and the empty one that flushes its decoder.  Raises FFmpegError."""
    try:
        yield from container.demux(stream)
    except IndexError:
        # At its very end PyAV flushes streams too that have appeared while it read (sound that sets in late, or damage,
        # in a transport stream), and does not find them.  Ours has been flushed by then.
        return


def video_packets(
    container: InputContainer, stream: VideoStream, config: VideoConfig, *, most: int
) -> Iterator[av.Packet[VideoStream]]:
    """The first packets of the stream, until the end or the first damage."""
    taken = 0
    try:
        for read, packet in enumerate(_packets(container, stream)):
            if read >= config.max_probe_packets:
                return
            if packet.size == 0:
                continue
            yield packet
            taken += 1
            if taken >= most:
                return
    except FFmpegError as error:
        raise_shortage(error)


def counts_as_decoded(container: InputContainer, stream: VideoStream) -> bool:
    """Whether pictures may be timed in the order in which they are decoded, as AVI and ASF do, and not shown."""
    return container.format.name in ("avi", "asf") and bool(stream.codec_context.has_b_frames)


def _decode(
    container: InputContainer, stream: VideoStream, config: VideoConfig, times: Sequence[int], needed: Container[int]
) -> Iterator[DecodedFrame]:
    """Frames until the first damage.  Before the first whole picture packets may fail: not every cut is at a key frame.

    A stream without any key frame gives no frame: FFmpeg could only show grey ghosts, and nobody can judge those.
    """
    rate = float(stream.average_rate) if stream.average_rate else 25.0
    origin: float | None = None
    place_at = {time: place for place, time in enumerate(times)}
    first_place: int | None = None
    for number, frame in enumerate(_pictures(container, stream, config, place_at, needed)):
        if number >= config.max_frames or (times and frame.pts is not None and frame.pts > times[-1]):
            return
        _check_size(frame.width, frame.height, config)
        if times:
            place = None if frame.pts is None else place_at.get(frame.pts)
            if place is None or place < (first_place or 0):
                continue  # what the packets said is not to be trusted
            first_place = place if first_place is None else first_place
            number = place - first_place
        time = frame.time
        if time is not None and origin is None:
            origin = time
        elapsed = time - origin if time is not None and origin is not None else number / rate
        aspect = stream.sample_aspect_ratio
        packet = frame.opaque if isinstance(frame.opaque, int) else None
        at = round(max(0.0, elapsed), 4)
        yield DecodedFrame(number=number, timestamp_s=at, frame=frame, aspect=aspect, packet=packet)
        if number + 1 >= config.max_frames:
            return  # and not only when one more is decoded


def _pictures(
    container: InputContainer,
    stream: VideoStream,
    config: VideoConfig,
    place_at: Mapping[int, int],
    needed: Container[int],
) -> Iterator[av.VideoFrame]:
    begun, read, count = False, 0, 0
    packets = _packets(container, stream)
    skip = bool(place_at)
    stream.codec_context.copy_opaque = True
    # The times of packets whose pictures are still to come, where the earliest belongs to the next one shown.
    open_times: list[int] | None = [] if counts_as_decoded(container, stream) else None
    while read < config.max_probe_packets:
        read += 1
        try:
            packet = next(packets, None)
        except FFmpegError as error:
            raise_shortage(error)
            return
        if packet is None:
            return
        if packet.size:
            packet.opaque = count
            count += 1
            if open_times is not None and packet.pts is not None:
                heapq.heappush(open_times, packet.pts)
        if place_at:
            place = None if packet.pts is None else place_at.get(packet.pts)
            spare = skip and place is not None and place not in needed
            stream.codec_context.skip_frame = "NONREF" if spare else "DEFAULT"
        try:
            frames = packet.decode()
        except FFmpegError as error:
            raise_shortage(error)
            if begun:
                return
            if open_times:
                open_times.clear()
            continue
        for frame in frames:
            begun = True
            if open_times:
                frame.pts = heapq.heappop(open_times)
            skip = skip and not frame.interlaced_frame  # of its two fields one alone may be needed by others
            yield frame


def reduce(image: NDArray[np.uint8], long_side: int) -> NDArray[np.uint8]:
    """A copy with at most this longer side."""
    height, width = image.shape[:2]
    if max(height, width) <= long_side:
        return image
    scale = long_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
