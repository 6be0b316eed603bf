"""Write small valid clips in many containers and codecs, to be mutated."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("SVT_LOG", "1")  # its encoder tells its settings otherwise

import av
import numpy as np
from av.error import FFmpegError

FRAMES = 24
WIDTH, HEIGHT = 96, 64

_KINDS: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    ("h264.mp4", "libx264", "yuv420p", {"g": "8", "bf": "2"}),
    ("fragmented.mp4", "libx264", "yuv420p", {"g": "6"}),
    ("h264-10bit.mkv", "libx264", "yuv420p10le", {"g": "8"}),
    ("interlaced.ts", "libx264", "yuv420p", {"flags": "+ildct+ilme", "x264-params": "interlaced=1"}),
    ("raw.h264", "libx264", "yuv420p", {"g": "8"}),
    ("hevc.mov", "libx265", "yuv420p", {"x265-params": "log-level=none"}),
    ("av1.mp4", "libsvtav1", "yuv420p", {"preset": "12"}),
    ("vp9.webm", "libvpx-vp9", "yuv420p", {"cpu-used": "8"}),
    ("vp8.ivf", "libvpx", "yuv420p", {"cpu-used": "8"}),
    ("mpeg4.avi", "mpeg4", "yuv420p", {}),
    ("mpeg4.3gp", "mpeg4", "yuv420p", {}),
    ("mjpeg.avi", "mjpeg", "yuvj420p", {}),
    ("mpeg2.mpg", "mpeg2video", "yuv420p", {}),
    ("mpeg2.mxf", "mpeg2video", "yuv420p", {}),
    ("flv1.flv", "flv", "yuv420p", {}),
    ("wmv2.wmv", "wmv2", "yuv420p", {}),
    ("theora.ogv", "libtheora", "yuv420p", {}),
    ("ffv1.mkv", "ffv1", "yuv444p", {}),
    ("huffyuv.avi", "huffyuv", "yuv422p", {}),
    ("prores.mov", "prores_ks", "yuv422p10le", {}),
    ("moving.gif", "gif", "rgb8", {}),
    ("moving.apng", "apng", "rgb24", {}),
)  # fmt: skip
_MUXER = {"fragmented.mp4": {"movflags": "frag_keyframe+empty_moov"}}


@contextmanager
def keep_scheduling() -> Iterator[None]:
    """Give the thread back the scheduling that it had.

    SVT-AV1 makes the thread that encodes a real-time one where it may, which is as root, and leaves it so: from then on
    nothing else gets that core, not even the thread's own helpers that it waits for.
    """
    if not hasattr(os, "sched_getscheduler"):  # only Linux has it
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def write_seeds(folder: Path) -> list[Path]:
    """Write a clip of 24 frames, 96 x 64, for each kind that this FFmpeg can encode; return the paths."""
    made = []
    for name, codec, pixels, options in _KINDS:
        path = folder / name
        try:
            _write(path, codec, pixels, options)
        except (FFmpegError, ValueError, AssertionError):  # this build has no such encoder or muxer
            path.unlink(missing_ok=True)
        else:
            made.append(path)
    return made


@keep_scheduling()
def _write(path: Path, codec: str, pixels: str, options: dict[str, str]) -> None:
    moves = np.indices((HEIGHT, WIDTH)).sum(axis=0).astype(np.uint8)
    with av.open(str(path), "w", options=_MUXER.get(path.name, {})) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        for number in range(FRAMES):
            picture = np.stack(
                [moves + number * 3, moves[::-1] * 2, moves.T[:1].repeat(HEIGHT, 0)[:, :1] + moves], axis=-1
            )
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture, dtype=np.uint8), format="rgb24")
            container.mux(stream.encode(frame.reformat(format=pixels)))
        container.mux(stream.encode(None))
