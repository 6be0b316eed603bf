"""Open video files, check them against the limits and read their facts, without decoding a picture."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from ml.config import VideoConfig
from ml.video.errors import VideoError, reraise_out_of_memory
from ml.video.frame import DecodedFrame
from ml.video.ranged_file import VideoFile

# PyAV's own log callback needs the GIL inside FFmpeg's threads and can deadlock with frame threading (seen within 60
# files).  FFmpeg's default callback, silenced, cannot: bad files are expected, what matters comes back as VideoError.
av.logging.restore_default_callback()
av.logging.set_libav_level(av.logging.PANIC)

DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,gif,ogg,mxf,ivf,h264,hevc,m4v,dv,apng"
)
USUAL_FPS = 25.0
"""Taken for the frame rate of a file that does not say its own."""
MOST_REORDERED = 32
"""Packets from which pictures may come that are shown before an earlier packet's."""
CODECS_WITH_NONREF_FLAG = frozenset({"h264", "mpeg4", "mpeg2video"})
"""Codecs whose packets say that no other picture is made from this one.  HEVC's may mean: none of the same layer."""
MIN_REACHED = 0.9
"""Share of a Matroska file's duration that its packets reach, unless it has been cut off."""
WITHOUT_INDEX = frozenset({"mpegts", "mpeg"})
SEEK_EARLY_S = 1.0
"""In these formats seeking ends at any packet near the time, so the key frame is sought from a little before."""
NO_FRAME = "The file has a video stream, but no frame of it can be decoded."
_UNSPECIFIED_SPACE, _UNSPECIFIED_RANGE = 2, 0


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
    mirrored: bool = False
    """True where the stored picture is mirrored left to right before it is turned."""


@contextmanager
def open_container(path: VideoFile, config: VideoConfig) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its best video stream, checked against the limits.  Raises VideoError."""
    if isinstance(path, Path) and not path.is_file():
        raise VideoError("not_a_video", "There is no file of this name.")
    if (path.stat().st_size if isinstance(path, Path) else path.size) == 0:
        raise VideoError("empty_file", "The file is empty.")
    try:
        container = av.open(
            str(path) if isinstance(path, Path) else path.open(),
            mode="r",
            options={"format_whitelist": DEMUXERS, "protocol_whitelist": "file"},
            timeout=(30, 30),
        )
    except (FFmpegError, ValueError, UnicodeDecodeError) as error:
        reraise_out_of_memory(error)
        raise VideoError(*_why_it_does_not_open(path)) from error
    with container:
        stream = _best_stream(container)
        context = stream.codec_context
        if context is None:
            raise VideoError("corrupt_video", f"No decoder for the video's codec ({_codec_name(stream)}) is installed.")
        check_size(context.width, context.height, config)
        duration = duration_of(container, stream)
        if duration is not None and duration > config.max_duration_s:
            raise VideoError(
                "video_too_long",
                f"The video says it lasts {duration:.0f} s; at most {config.max_duration_s:.0f} s are taken.",
            )
        # The decoder itself refuses a frame that turns out larger than the header said.
        context.options = {"max_pixels": str(config.max_pixels)}
        context.thread_type = "AUTO"
        context.thread_count = min(4, os.cpu_count() or 1)
        key = key_time(config)
        if key is not None:
            early = round(SEEK_EARLY_S / (stream.time_base or 1)) if container.format.name in WITHOUT_INDEX else 0
            seek(container, stream, key - early)
        yield container, stream


def key_time(config: VideoConfig) -> int | None:
    """When the key frame is shown that decoding begins with; None at the beginning of the file."""
    return config.start if config.key is None else config.key


def seek(container: InputContainer, stream: VideoStream, time: int) -> None:
    """Move to the last key frame at or before `time` (the stream's unit).  Raises VideoError where that fails."""
    try:
        container.seek(time, stream=stream, backward=True)
    except FFmpegError as error:
        reraise_out_of_memory(error)
        raise VideoError("corrupt_video", "A later part of the file cannot be reached.") from error


def _why_it_does_not_open(path: VideoFile) -> tuple[str, str]:
    """An unfinished recording has a video's first bytes but no index; anything else is not a video."""
    if isinstance(path, Path):
        with path.open("rb") as handle:
            head = handle.read(16)
    else:
        head = path.read_at(0, 16)
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


def check_size(width: int, height: int, config: VideoConfig) -> None:
    """Raise VideoError where a frame has more pixels, or a longer side, than is allowed."""
    if width * height > config.max_pixels or max(width, height) > config.max_width_or_height:
        raise VideoError(
            "resolution_too_large",
            f"A frame of {width} x {height} pixels is larger than is taken; reduce the video first.",
        )


def _codec_name(stream: VideoStream) -> str:
    context = stream.codec_context
    return str(context.codec.canonical_name) if context else "unknown"


def duration_of(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds that the container states; None where it states none."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


@dataclass(frozen=True)
class ProbeResult:
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
    claimed: int | None = None
    """Frames that the container says it has, at most `max_frames`; None where it does not say and of later segments."""

    def info(self, first: DecodedFrame) -> VideoInfo:
        """With what only a decoded picture knows."""
        width, height = first.shown_size
        return VideoInfo(
            container=self.container,
            codec=self.codec,
            width=width,
            height=height,
            rotation=first.orientation.rotation,
            mirrored=first.orientation.mirrored,
            fps=self.fps,
            duration_s=self.duration_s,
        )


def probe(path: VideoFile, config: VideoConfig | None = None) -> ProbeResult:
    """Open the file and count its packets, without decoding.  Raises VideoError when it cannot be judged."""
    config = config or VideoConfig()
    with open_container(path, config) as (container, stream):
        shown = (
            packet.pts
            for packet in video_packets(container, stream, config, most=config.max_probe_packets)
            if config.start is None or packet.pts is None or packet.pts >= config.start
        )
        stated = list(islice(shown, config.max_frames + MOST_REORDERED))
        if not stated:
            raise VideoError("corrupt_video", NO_FRAME)
        times = sorted({time for time in stated if time is not None})
        codec = _codec_name(stream)
        # AVI counts pictures as they are decoded, which looks as if none were shown in another order.
        told = len(times) == len(stated) and times != stated and codec in CODECS_WITH_NONREF_FLAG
        return ProbeResult(
            container=container.format.name,
            codec=codec,
            fps=float(stream.average_rate) if stream.average_rate else None,
            duration_s=duration_of(container, stream),
            frames=min(len(stated), config.max_frames),
            times=tuple(times[: config.max_frames]) if told else (),
            claimed=_claimed_frames(container, stream, config, times) if config.start is None else None,
        )


def stream_packets(
    container: InputContainer, stream: VideoStream, config: VideoConfig
) -> Iterator[av.Packet[VideoStream]]:
    """The stream's packets from `key_time` on, and the empty one that flushes its decoder.  Raises FFmpegError."""
    packets: Iterator[av.Packet[VideoStream]] = container.demux(stream)
    key = key_time(config)
    try:
        if key is not None:  # where a container has no index, seeking may end well before it
            first = _first_key_packet(packets, key, config.max_probe_packets)
            if first is None:
                return
            yield first
        yield from packets
    except IndexError:
        # At its very end PyAV flushes streams too that have appeared while it read (sound that sets in late, or damage,
        # in a transport stream), and does not find them.  Ours has been flushed by then.
        return


def _first_key_packet(packets: Iterator[av.Packet[VideoStream]], key: int, most: int) -> av.Packet[VideoStream] | None:
    """Read on to the first key frame that is shown at `key` or later; None when `most` packets hold none."""
    for packet in islice(packets, most):
        if packet.size and packet.is_keyframe and packet.pts is not None and packet.pts >= key:
            return packet
    return None


def has_decode_order_times(container: InputContainer, stream: VideoStream) -> bool:
    """Whether packets may be timed in the order in which they are decoded, as in AVI and ASF, and not shown."""
    return container.format.name in ("avi", "asf") and bool(stream.codec_context.has_b_frames)


def _claimed_frames(
    container: InputContainer, stream: VideoStream, config: VideoConfig, times: Sequence[int]
) -> int | None:
    """Return how many of the first `max_frames` the container claims; None where it makes no claim of its own.

    AVI counts frames; so do MP4 and MOV, whose edit list may show fewer, which the duration knows.  Matroska states a
    duration for all of its streams together.  The other containers' duration is FFmpeg's own, from what it can read.
    """
    rate, duration = stream.average_rate, duration_of(container, stream)
    lasting = round(duration * float(rate)) if rate and duration else None
    if stream.frames:
        shown = lasting if lasting is not None and container.format.name.startswith("mov") else stream.frames
        return min(stream.frames, shown, config.max_frames)
    if container.format.name.startswith("matroska") and len(container.streams) == 1 and times and stream.time_base:
        reached = float((times[-1] - times[0]) * stream.time_base)
        whole = duration is None or len(times) >= config.max_frames or reached >= MIN_REACHED * duration
        return min(lasting or 0, config.max_frames) if not whole else None
    return None


def video_packets(
    container: InputContainer, stream: VideoStream, config: VideoConfig, *, most: int
) -> Iterator[av.Packet[VideoStream]]:
    """The first packets of the stream, until the end or the first damage."""
    taken = 0
    try:
        for read, packet in enumerate(stream_packets(container, stream, config)):
            if read >= config.max_probe_packets:
                return
            if packet.size == 0:
                continue
            yield packet
            taken += 1
            if taken >= most:
                return
    except FFmpegError as error:
        reraise_out_of_memory(error)
