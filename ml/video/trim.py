"""The clip that people see: a video's first packets copied, nothing decoded and nothing encoded again."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import av
from av.error import FFmpegError

from ml.config import VideoConfig
from ml.video.errors import VideoError, reraise_out_of_memory
from ml.video.probe import VideoInfo, open_container, video_packets

IN_MP4 = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4"})


def clip_suffix(info: VideoInfo) -> str:
    """The container of the trimmed clip: .mp4 where the codec may stand in one, else .webm or .mkv."""
    if info.codec in IN_MP4:
        return ".mp4"
    return ".webm" if info.codec == "vp8" else ".mkv"


def trim(path: Path, out: Path, config: VideoConfig | None = None) -> None:
    """Copy the first `max_frames` video packets into `out` (container by its suffix); no pixel is encoded again.

    Sound is left out: nobody needs it to judge a face.  Raises VideoError when the packets cannot be copied; the video
    can be judged all the same.  Raises OSError when the disk is full.
    """
    config = config or VideoConfig()
    options = {"movflags": "+faststart"} if out.suffix == ".mp4" else {}
    with open_container(path, config) as (container, stream):
        try:
            with av.open(str(out), "w", options=options) as target:
                copy = target.add_stream_from_template(stream, opaque=True)
                written = 0
                for packet in video_packets(container, stream, config, most=config.max_frames):
                    if packet.dts is None:
                        continue
                    packet.stream = copy
                    target.mux(packet)
                    written += 1
        except (FFmpegError, ValueError, OSError) as error:
            out.unlink(missing_ok=True)
            reraise_out_of_memory(error)
            number = getattr(error, "errno", None)
            if number in (errno.ENOSPC, errno.EDQUOT):
                raise OSError(number, os.strerror(number), str(out)) from error
            raise VideoError(
                "corrupt_video", f"The first {config.max_frames} frames cannot be copied: {error}"
            ) from error
    if not written:
        out.unlink(missing_ok=True)
        raise VideoError("corrupt_video", "The file has no video packet that can be copied.")
