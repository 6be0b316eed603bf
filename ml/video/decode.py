"""Open, check and decode videos that nobody vouches for.

Decoding is PyAV's (FFmpeg).  OpenCV's reader returns garbage for interlaced H.264, no frame of AV1, and counts frames
that are not there.  Only the demuxers listed here may open a file: playlists and concat scripts, whatever their name,
would read other files and the network.
"""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterator, Mapping, Sequence

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from ml.config import VideoConfig
from ml.video.errors import VideoError, reraise_out_of_memory
from ml.video.frame import DecodedFrame
from ml.video.orientation import UPRIGHT, orientation_of
from ml.video.probe import NO_FRAME, check_size, has_decode_order_times, open_container, stream_packets
from ml.video.ranged_file import VideoFile

__all__ = ["DecodedFrame", "VideoError", "decode"]


def decode(
    path: VideoFile, config: VideoConfig | None = None, *, times: Sequence[int] = (), needed: Container[int] = ()
) -> Iterator[DecodedFrame]:
    """The first `max_frames` frames.  A damaged file yields what was decoded before the damage.

    With `times` (of `probe`) frames are left out whose number is not `needed`, as far as no other frame is made from
    them: half the frames of usual H.264, and half the work.  `needed` is asked as decoding goes on.  Raises VideoError
    when not a single frame can be decoded.
    """
    config = config or VideoConfig()
    with open_container(path, config) as (container, stream):
        empty = True
        for frame in _decode(container, stream, config, times, needed):
            empty = False
            yield frame
    if empty and times:  # what the packets said fits no picture
        yield from decode(path, config)
    elif empty:
        raise VideoError("corrupt_video", NO_FRAME)


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
    orientation = UPRIGHT  # a message in the stream comes with some frames only, and holds until the next one
    for number, frame in enumerate(_pictures(container, stream, config, place_at, needed)):
        if number >= config.max_frames or (times and frame.pts is not None and frame.pts > times[-1]):
            return
        check_size(frame.width, frame.height, config)
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
        orientation = orientation_of(frame) or orientation
        yield DecodedFrame(
            number=number,
            timestamp_s=round(max(0.0, elapsed), 4),
            frame=frame,
            aspect=aspect,
            orientation=orientation,
            packet=frame.opaque if isinstance(frame.opaque, int) else None,
        )
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
    packets = stream_packets(container, stream, config)
    skip = bool(place_at)
    stream.codec_context.copy_opaque = True
    # The times of packets whose pictures are still to come, where the earliest belongs to the next one shown.
    open_times: list[int] | None = [] if has_decode_order_times(container, stream) else None
    while read < config.max_probe_packets:
        read += 1
        try:
            packet = next(packets, None)
        except FFmpegError as error:
            reraise_out_of_memory(error)
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
            on_the_way = config.start is not None and packet.pts is not None and packet.pts < config.start
            spare = skip and (on_the_way if place is None else place not in needed)
            stream.codec_context.skip_frame = "NONREF" if spare else "DEFAULT"
        try:
            frames = packet.decode()
        except FFmpegError as error:
            reraise_out_of_memory(error)
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
            if config.start is not None and frame.pts is not None and frame.pts < config.start:
                continue  # on the way to the start, or shown before the key frame and made from pictures before it
            yield frame
