"""The clip that people see: a video's first packets copied, nothing encoded again.

Its first frame is shown at 0, whatever the file's own clock says, so a frame's time in the clip is its `timestamp_s` of
`ml.video.decode`.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, replace
from pathlib import Path

import av
from av.error import FFmpegError

from ml.config import VideoConfig
from ml.video.decode import decode
from ml.video.errors import VideoError, reraise_out_of_memory
from ml.video.probe import MOST_REORDERED, VideoInfo, has_decode_order_times, open_container, video_packets
from ml.video.ranged_file import VideoFile

IN_MP4 = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4"})
_VP8_SHOWN = 0x10
"""Of a VP8 packet's first byte (RFC 6386, 9.1): the picture is shown, and not only there to predict others."""


def clip_suffix(info: VideoInfo) -> str:
    """The container of the trimmed clip: .mp4 where the codec may stand in one, else .webm or .mkv."""
    if info.codec in IN_MP4:
        return ".mp4"
    return ".webm" if info.codec == "vp8" else ".mkv"


def trim(path: VideoFile, out: Path, config: VideoConfig | None = None) -> None:
    """Copy the packets of the first `max_frames` frames into `out` (container by its suffix); nothing is encoded again.

    Where one of these frames is made from later ones, those are copied too: a few frames more at the end.  Sound is
    left out: nobody needs it to judge a face.  Raises VideoError when the packets cannot be copied; the video can be
    judged all the same.  Raises OSError when the disk is full.
    """
    config = config or VideoConfig()
    if config.key is not None and out.suffix != ".mp4":
        raise VideoError("corrupt_video", f"A clip in {out.suffix} cannot begin between key frames.")
    try:
        written = _copy(path, out, _times(path, config, preroll=out.suffix == ".mp4"), config)
    except (FFmpegError, ValueError, OSError) as error:
        out.unlink(missing_ok=True)
        reraise_out_of_memory(error)
        number = getattr(error, "errno", None)
        if number in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(number, os.strerror(number), str(out)) from error
        raise VideoError("corrupt_video", f"The first {config.max_frames} frames cannot be copied: {error}") from error
    if not written:
        out.unlink(missing_ok=True)
        raise VideoError("corrupt_video", "The file has no video packet that can be copied.")


@dataclass(frozen=True)
class _Packet:
    """What a packet says of itself."""

    pts: int | None
    key: bool
    shown: bool


def _copy(path: VideoFile, out: Path, times: list[tuple[int, int] | None], config: VideoConfig) -> int:
    """Write the packets that have a (presentation, decoding) time; returns how many."""
    options = {"movflags": "+faststart"} if out.suffix == ".mp4" else {}
    written = 0
    with open_container(path, config) as (container, stream), av.open(str(out), "w", options=options) as target:
        copy = target.add_stream_from_template(stream, opaque=True)
        for packet, time in zip(video_packets(container, stream, config, most=len(times)), times, strict=False):
            if time is None:
                continue
            packet.pts, packet.dts = time
            packet.stream = copy
            target.mux(packet)
            written += 1
    return written


def _times(path: VideoFile, config: VideoConfig, *, preroll: bool) -> list[tuple[int, int] | None]:
    """For each packet in order its (presentation, decoding) time in the clip, None for one that is left out.

    Matroska gives the first packets no decoding time, raw streams give none at all, so all are made anew: the n-th
    packet is decoded when the n-th picture is shown, less what the reordering needs.  With `preroll` packets may lie
    before 0, where players decode and do not show them.
    """
    start = next(decode(path, config))  # a file may begin with pictures that nothing can be made of
    first = start.frame.pts
    with open_container(path, config) as (container, stream):
        vp8 = stream.codec_context.codec.canonical_name == "vp8"
        unit = float(stream.time_base or 1 / av.time_base)
        doubtful = has_decode_order_times(container, stream)
        most = (start.packet or 0) + (2 if vp8 else 1) * config.max_frames + MOST_REORDERED
        packets = [
            _Packet(packet.pts, packet.is_keyframe, not vp8 or bool(memoryview(packet)[0] & _VP8_SHOWN))
            for packet in video_packets(container, stream, config, most=most)
        ]
    stated = [packet.pts for packet in packets if packet.pts is not None]
    if config.key is not None and (doubtful or first is None):
        raise VideoError("corrupt_video", "The file does not say when its packets are shown.")
    if doubtful or first is None or len(set(stated)) < len(packets):
        shown = _shown_by_decoding(path, config, unit)
    else:
        at = {n: packet.pts - first for n, packet in enumerate(packets) if packet.pts is not None}
        seen = sorted((time, n) for n, time in at.items() if time >= 0 and packets[n].shown)
        end = max((n for _, n in seen[: config.max_frames]), default=-1)
        shown = {n: time for n, time in at.items() if n <= end}
    return _with_decoding_times(packets, shown, preroll=preroll)


def _shown_by_decoding(path: VideoFile, config: VideoConfig, unit: float) -> dict[int, int]:
    """Packet -> when its picture is shown, in `unit` s, for files whose packets do not say so truly."""
    frames = decode(path, replace(config, max_frames=config.max_frames + MOST_REORDERED))
    at = {frame.packet: (frame.number, round(frame.timestamp_s / unit)) for frame in frames if frame.packet is not None}
    end = max((packet for packet, (number, _) in at.items() if number < config.max_frames), default=-1)
    return {packet: time for packet, (_, time) in at.items() if packet <= end}


def _with_decoding_times(
    packets: list[_Packet], shown: dict[int, int], *, preroll: bool
) -> list[tuple[int, int] | None]:
    begin = next((n for n, packet in enumerate(packets) if packet.key), 0)
    chosen: dict[int, int] = {}
    used: set[int] = set()
    before = 0
    for n in range(begin, max(shown, default=-1) + 1):
        time = shown.get(n, before)  # without a picture of its own: the second field of the one before
        if time < 0 and not preroll:
            continue
        while time in used:
            time += 1
        chosen[n] = before = time
        used.add(time)
    order = sorted(chosen.values())
    late = max((slot - time for slot, time in zip(order, chosen.values(), strict=True)), default=0)
    slots = dict(zip(chosen, order, strict=True))
    return [(chosen[n], slots[n] - late) if n in chosen else None for n in range(max(shown, default=-1) + 1)]
