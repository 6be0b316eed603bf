"""A copy of a clip that browsers play, where they cannot play its own codec: for the eye, never for the model.

Encoding again changes the very traces that a forgery leaves; whoever looks at a preview is told so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import cv2
from av.codec.codec import UnknownCodecError
from av.error import FFmpegError
from av.video.reformatter import Colorspace

from ml.config import VideoConfig
from ml.video.decode import DecodedFrame, decode
from ml.video.errors import VideoError
from ml.video.ranged_file import VideoFile

LONG_SIDE = 1280
SMALLEST_SIDE = 16
_TICKS = 90_000
"""Of the time base, a second: fine enough for every frame rate there is."""
_KEY_FRAMES = 15
_BT709 = 1
_LIMITED = 1

# What every browser plays comes first; a build of FFmpeg without x264 still has one of Google's.  Key frames are close
# together, as reviewers step back frame by frame.
_ENCODERS = (
    ("libx264", ".mp4", {"preset": "veryfast", "crf": "20"}),
    ("libvpx-vp9", ".webm", {"deadline": "realtime", "cpu-used": "7", "crf": "28", "b": "0", "row-mt": "1"}),
    ("libvpx", ".webm", {"deadline": "realtime", "cpu-used": "7", "crf": "10", "b": "4M"}),
)


ROUNDED_S = 0.004
"""By so much times of frames and segments may be rounded."""


class PreviewError(Exception):
    """No preview can be made on this machine; the message is a sentence."""


@dataclass(frozen=True)
class Preview:
    """What was written; width and height are even, the picture is upright and its pixels are square."""

    path: Path
    codec: str
    frames: int
    width: int
    height: int


def encoder() -> tuple[str, str, dict[str, str]]:
    """(FFmpeg's name, suffix of the file, options) of the best encoder there is.  Raises PreviewError."""
    for name, suffix, options in _ENCODERS:
        try:
            av.Codec(name, "w")
        except UnknownCodecError:
            continue
        return name, suffix, options
    raise PreviewError("This installation of FFmpeg has no encoder whose output browsers play (H.264, VP9 or VP8).")


def make_preview(
    path: VideoFile,
    folder: Path,
    config: VideoConfig | None = None,
    *,
    later: Sequence[tuple[float, VideoFile]] = (),
) -> Preview:
    """Write `folder`/preview.mp4 (or .webm): the frames that can be decoded, at most 150, at their own times.

    After them those of `later` clips, each from its second on; one of which no frame can be decoded is left out.  H.264
    as yuv420p, at most 1280 pixels on the longer side, without sound.  Raises ml.video.decode.VideoError when no frame
    of the first can be decoded, PreviewError when nothing can be encoded.
    """
    config = config or VideoConfig()
    codec, suffix, options = encoder()
    out = folder / f"preview{suffix}"
    frames = _frames(path, later, config)
    first = next(frames)  # or VideoError: there is none
    width, height = _size(first)
    movflags = {"movflags": "+faststart"} if suffix == ".mp4" else {}
    written, last = 0, -1
    try:
        with av.open(str(out), "w", options=movflags) as target:
            stream = target.add_stream(codec, options=options)
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            context = stream.codec_context
            context.gop_size = _KEY_FRAMES
            stream.time_base = context.time_base = Fraction(1, _TICKS)
            context.colorspace = context.color_primaries = context.color_trc = _BT709
            context.color_range = _LIMITED
            for frame in chain((first,), frames):
                picture = _picture(frame, width, height)
                # The times of a damaged file may stand still, go back, or lie beyond all bounds.
                at = round(min(frame.timestamp_s, config.max_duration_s) * _TICKS)
                picture.pts = last = max(at, last + 1)
                picture.time_base = Fraction(1, _TICKS)
                target.mux(stream.encode(picture))
                written += 1
            target.mux(stream.encode(None))
    except MemoryError:
        raise
    except (FFmpegError, ValueError) as error:
        out.unlink(missing_ok=True)
        raise PreviewError(f"The frames cannot be written as {codec}: {error}") from error
    return Preview(path=out, codec=codec, frames=written, width=width, height=height)


def _frames(path: VideoFile, later: Sequence[tuple[float, VideoFile]], config: VideoConfig) -> Iterator[DecodedFrame]:
    """Those of each clip that are shown before the next one begins: a clip may have a few frames more at its end."""
    clips = [(0.0, path), *later]
    ends = [begin_s for begin_s, _ in later] + [math.inf]
    for (begin_s, clip), end_s in zip(clips, ends, strict=True):
        try:
            for frame in decode(clip, config):
                if begin_s + frame.timestamp_s >= end_s - ROUNDED_S:
                    break
                yield replace(frame, timestamp_s=begin_s + frame.timestamp_s)
        except VideoError:
            if not begin_s:
                raise


def _size(frame: DecodedFrame) -> tuple[int, int]:
    """(width, height) of the preview: even, as the encoder wants it, and not so small that it refuses."""
    width, height = frame.shown_size
    scale = min(1.0, LONG_SIDE / max(width, height))
    even = [max(SMALLEST_SIDE, round(side * scale / 2) * 2) for side in (width, height)]
    return even[0], even[1]


def _picture(frame: DecodedFrame, width: int, height: int) -> av.VideoFrame:
    """The frame as shown, in the size of the first one: a stream may change its size on the way."""
    image = frame.rgb(long_side=max(width, height))
    if image.shape[:2] != (height, width):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    rgb = av.VideoFrame.from_ndarray(image, format="rgb24")
    return rgb.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
