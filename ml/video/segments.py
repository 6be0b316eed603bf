"""Choose where in a long video further segments are looked at, from a few of its key frames.

Nothing else of it is read.  Containers with an index (MP4, MOV) say where their key frames are and how large: one that
comes sooner than the encoder's usual distance marks a cut, and those of one shot are about as large.  In the others key
frames are sought at even distances.  Of those that are decoded the ones are taken that look least like what has been
taken already (farthest-first, Gonzalez 1985), so that each shot has its turn before any has its second, and the rest
lies over the whole length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from av.error import FFmpegError
from av.video.stream import VideoStream
from numpy.typing import NDArray

from ml.config import SegmentConfig, VideoConfig
from ml.video.errors import VideoError, reraise_out_of_memory
from ml.video.frame import DecodedFrame
from ml.video.orientation import UPRIGHT, orientation_of
from ml.video.prefetch import parallel_map
from ml.video.probe import USUAL_FPS, duration_of, open_container, seek, video_packets

MAX_SKIPPED = 600
"""Packets read after a seek until a key frame comes."""
REORDERED_S = 0.2
"""By so much a key frame may be shown later than it is decoded."""
CUT_SHARE = 0.9
"""A key frame at less than this share of the longest distance from the one before it is at a cut."""


@dataclass(frozen=True)
class SegmentStart:
    """A key frame that a segment may begin with: `time` in the stream's unit, `start_s` from the first frame on."""

    time: int
    start_s: float


@dataclass(frozen=True)
class _KeyFrame:
    start: SegmentStart
    luma: NDArray[np.float32]
    """As `DecodedFrame.luma_signature`."""


def choose_segments(
    path: Path,
    video: VideoConfig,
    config: SegmentConfig,
    *,
    shows_face: Callable[[DecodedFrame], bool] = lambda _: True,
    threads: int = 1,
) -> list[SegmentStart]:
    """At most `config.max_segments - 1` starts after the first segment, in time order; none overlaps another.

    Black and blank pictures are no starts, and those in which `shows_face` sees nobody only where it sees nobody in
    any.  Empty where the video is not longer than one segment, or does not say how long it is.  Raises VideoError.
    """
    if config.max_segments < 2:
        return []
    video = replace(video, start=None)
    with open_container(path, video) as (container, stream):
        unit, duration = stream.time_base, duration_of(container, stream)
        if unit is None or duration is None:
            return []
        length = video.max_frames / float(stream.average_rate or USUAL_FPS)
        if duration < length + config.min_length_s:
            return []
        origin = stream.start_time or 0
        # In a video that has room for it, a segment is as long as the others.
        rest = length if duration >= 3 * length else config.min_length_s
        first, last = (origin + round(seconds / unit) for seconds in (length, duration - rest))
        times = [origin, *_times(stream, config, first, last)]

    def look(share: Sequence[int]) -> list[_KeyFrame]:
        with _KeyFrames(path, video) as key_frames:
            decoded = (key_frames.at(time, origin) for time in share)
            return [_KeyFrame(start, frame.luma_signature()) for start, frame in filter(None, decoded)]

    looked = [
        key for share in parallel_map(look, [times[k::threads] for k in range(threads)], threads) for key in share
    ]
    found = {key.start.time: key for key in sorted(looked, key=lambda key: key.start.time)}
    begin = found.pop(min(found)) if found else None
    candidates = [key for time, key in found.items() if first <= time <= last and _is_picture(key, config)]

    def have_faces(starts: Sequence[SegmentStart]) -> list[bool]:
        def has_face(start: SegmentStart) -> bool:
            with _KeyFrames(path, video) as key_frames:
                shown = key_frames.at(start.time, origin)
                return shown is not None and shows_face(shown[1])

        return list(parallel_map(has_face, starts, threads))

    return _farthest_first(begin, candidates, config, length=length, duration=duration, have_faces=have_faces)


def _times(stream: VideoStream, config: SegmentConfig, first: int, last: int) -> list[int]:
    """Times at which a key frame is sought, at most `config.candidates`.

    Half of them lie evenly over the video.  The others differ in size, at cuts where some are known.
    """
    assert stream.time_base is not None
    # An index may hold the times of decoding, and seeking goes by those of showing, which are somewhat later.
    reordered = round(REORDERED_S / stream.time_base)
    index = {entry.timestamp + reordered: entry.size for entry in stream.index_entries if entry.is_keyframe}
    known = sorted(time for time in index if first <= time <= last)
    if len(known) < 2 or max(index) < first + (last - first) / 2:  # no index, or of the beginning only
        return [round(time) for time in np.linspace(first, last, config.candidates)]
    if len(known) <= config.candidates:
        return known
    chosen = [known[k] for k in _spread(len(known), config.candidates // 2)]
    distances = np.diff(known)
    cuts = [time for time, distance in zip(known[1:], distances, strict=True) if distance < CUT_SHARE * distances.max()]
    pool = np.array(sorted(set(cuts or known) - set(chosen)))
    sizes = np.log1p([index[time] for time in pool])
    nearest = np.min([np.abs(sizes - np.log1p(index[time])) for time in chosen], axis=0)
    while len(chosen) < config.candidates and len(pool) > 0:
        best = int(nearest.argmax())
        chosen.append(int(pool[best]))
        nearest = np.minimum(nearest, np.abs(sizes - sizes[best]))
        pool, sizes, nearest = (np.delete(values, best) for values in (pool, sizes, nearest))
    return sorted(chosen)


def _spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` whole numbers evenly over 0 .. count - 1, each the middle of its share."""
    wanted = min(count, wanted)
    return [(2 * k + 1) * count // (2 * wanted) for k in range(wanted)]


class _KeyFrames:
    """An open file of which single key frames are decoded."""

    def __init__(self, path: Path, video: VideoConfig) -> None:
        self._video = video
        self._opened = open_container(path, video)

    def __enter__(self) -> Self:
        self._container, self._stream = self._opened.__enter__()
        self._stream.thread_type = "SLICE"  # a thread for each frame would wait for frames that are not wanted
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.__exit__(None, None, None)

    def at(self, time: int, origin: int) -> tuple[SegmentStart, DecodedFrame] | None:
        """Decode the key frame at or before `time`; None where there is none that can be decoded."""
        stream = self._stream
        assert stream.time_base is not None
        try:
            seek(self._container, stream, time)
            packets = video_packets(self._container, stream, self._video, most=MAX_SKIPPED)
            packet = next((packet for packet in packets if packet.is_keyframe), None)
            if packet is None or packet.pts is None:
                return None
            pictures = [*packet.decode(), *stream.codec_context.decode(None)]
        except (FFmpegError, VideoError) as error:
            if isinstance(error, FFmpegError):
                reraise_out_of_memory(error)
            return None
        if not pictures:
            return None
        start = SegmentStart(packet.pts, max(0.0, round(float((packet.pts - origin) * stream.time_base), 4)))
        return start, DecodedFrame(
            number=0,
            timestamp_s=start.start_s,
            frame=pictures[0],
            aspect=stream.sample_aspect_ratio,
            orientation=orientation_of(pictures[0]) or UPRIGHT,
        )


def _is_picture(frame: _KeyFrame, config: SegmentConfig) -> bool:
    return bool(frame.luma.mean() >= config.min_brightness and frame.luma.std() >= config.min_contrast)


def _farthest_first(
    begin: _KeyFrame | None,
    candidates: Sequence[_KeyFrame],
    config: SegmentConfig,
    *,
    length: float,
    duration: float,
    have_faces: Callable[[Sequence[SegmentStart]], list[bool]],
) -> list[SegmentStart]:
    """Take one after another the candidate that differs most from those taken, in looks before in time.

    As many as are wanted are looked at together for a face, then as many more as had none.
    """
    wanted = config.max_segments - 1
    taken: list[_KeyFrame] = [begin] if begin is not None else []
    with_face: list[SegmentStart] = []
    without: list[SegmentStart] = []
    left = list(candidates)
    while len(with_face) < wanted:
        batch: list[SegmentStart] = []
        while len(batch) < wanted - len(with_face):
            left = [c for c in left if all(abs(c.start.start_s - t.start.start_s) >= length for t in taken)]
            if not left:
                break
            best = max(left, key=lambda c: min((_distance(c, t, config, duration) for t in taken), default=0.0))
            taken.append(best)
            batch.append(best.start)
        if not batch:
            break
        for start, has_face in zip(batch, have_faces(batch), strict=True):
            (with_face if has_face else without).append(start)
    return sorted(with_face or without[:wanted], key=lambda start: start.start_s)


def _distance(a: _KeyFrame, b: _KeyFrame, config: SegmentConfig, duration: float) -> float:
    """How much they differ: in looks, where 1 is a cut, and in time, where 1 is the whole video."""
    apart = abs(a.start.start_s - b.start.start_s) / duration
    if a.luma.shape != b.luma.shape:
        return 1.0 + apart
    return float(np.abs(a.luma - b.luma).mean()) / config.cut_threshold + apart
