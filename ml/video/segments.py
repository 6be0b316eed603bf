"""Choose where in a long video further segments are looked at, from a few of its pictures.

A video for which all segments together are long enough is looked at as a whole, one segment after another.  Of a longer
one little else is read than a few key frames.  Containers with an index (MP4, MOV) say where their key frames are and
how large: one that comes sooner than the encoder's usual distance marks a cut, and those of one shot are about as
large.  A packet between key frames that is far larger than those before it is a cut as well.  In the other containers
key frames are sought at even distances.  Of the pictures that are decoded those are taken that look least like what has
been taken already (farthest-first, Gonzalez 1985), so that each shot has its turn before any has its second, and the
rest lies over the whole length.  Segments that are left over go to the widest gaps.

A segment may begin between key frames: decoding then begins with the key frame before it.  How much may be decoded for
that is bounded (`SegmentConfig.preroll_pixels`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from av.video.stream import VideoStream

from ml.config import SegmentConfig, VideoConfig
from ml.video.frame import DecodedFrame
from ml.video.prefetch import parallel_map
from ml.video.probe import USUAL_FPS, duration_of, open_container
from ml.video.ranged_file import VideoFile
from ml.video.single_pictures import Picture, Pictures, SegmentStart, Shape, decode_pictures

REORDERED_S = 0.2
"""By so much a key frame may be shown later than it is decoded."""
CUT_SHARE = 0.9
"""A key frame at less than this share of the longest distance from the one before it is at a cut."""
CUT_GROWTH, CUT_WINDOW = 2.0, 12
"""Between key frames a packet is at a cut that is so many times as large as any of as many packets before it."""


@dataclass
class _Budget:
    """Pixels that may still be decoded only to reach something."""

    pixels: float

    def spend(self, shape: Shape, seconds: float) -> bool:
        """Whether there is enough for so many seconds of video; then it is taken."""
        wanted = seconds * shape.fps * shape.frame_pixels
        if wanted > self.pixels:
            return False
        self.pixels -= wanted
        return True


def choose_segments(
    path: VideoFile,
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
    video = replace(video, start=None, key=None)
    with open_container(path, video) as (container, stream):
        unit, duration = stream.time_base, duration_of(container, stream)
        if unit is None or duration is None:
            return []
        fps = float(stream.average_rate or USUAL_FPS)
        length = video.max_frames / fps
        least = min(config.min_length_s, length)
        if duration < length + least:
            return []
        shape = Shape(
            length=length,
            duration=duration,
            # In a video that has room for it, a segment is as long as the others.
            rest=length if duration >= 3 * length else least,
            least=least,
            origin=stream.start_time or 0,
            unit=float(unit),
            fps=fps,
            frame_pixels=stream.codec_context.width * stream.codec_context.height,
        )
        whole = duration <= config.max_segments * length
        times = [] if whole else _key_times(stream, config, shape)
        cuts = [] if whole else _cuts(stream, config, shape)
    budget = _Budget(config.preroll_pixels)
    chosen: list[SegmentStart] = []
    if not whole:
        pictures = decode_pictures(path, video, [(time, False) for time in times], shape, threads)
        begin = pictures.pop(0) if pictures else None
        affordable = [(time, True) for time, key in cuts if budget.spend(shape, (time - key) * shape.unit)]
        pictures += decode_pictures(path, video, affordable, shape, threads)
        candidates = [p for p in pictures if shape.length <= p.start.start_s and _is_picture(p, config)]

        def have_faces(pictures: Sequence[Picture]) -> list[bool]:
            def look(share: Sequence[Picture]) -> list[bool]:
                with Pictures(path, video) as opened:  # once a thread: a long file's index takes its time
                    shown = (opened.at(picture.at, exact=picture.exact) for picture in share)
                    return [found is not None and shows_face(found[1]) for found in shown]

            shares = [pictures[k::threads] for k in range(min(threads, len(pictures)))]
            answers = list(parallel_map(look, shares, threads))
            return [answers[k % len(shares)][k // len(shares)] for k in range(len(pictures))]

        chosen = _farthest_first(begin, candidates, config, shape, have_faces=have_faces)
    return _with_gaps_filled(path, video, chosen, config, shape, budget)


def _key_times(stream: VideoStream, config: SegmentConfig, shape: Shape) -> list[int]:
    """Times at which a key frame is sought: the beginning, and at most `config.candidates` others.

    Half of them lie evenly over the video.  The others differ in size, at cuts where some are known.
    """
    first, last = shape.time(shape.length), shape.time(shape.duration - shape.least)
    # An index may hold the times of decoding, and seeking goes by those of showing, which are somewhat later.
    reordered = round(REORDERED_S / shape.unit)
    index = {entry.timestamp + reordered: entry.size for entry in stream.index_entries if entry.is_keyframe}
    known = sorted(time for time in index if first <= time <= last)
    if len(known) < 2 or max(index) < first + (last - first) / 2:  # no index, or of the beginning only
        return [shape.origin, *(round(time) for time in np.linspace(first, last, config.candidates))]
    if len(known) <= config.candidates:
        return [shape.origin, *known]
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
    return [shape.origin, *sorted(chosen)]


def _cuts(stream: VideoStream, config: SegmentConfig, shape: Shape) -> list[tuple[int, int]]:
    """Cuts between key frames: times of packets far larger than those before, each with its key frame's; in time order.

    The clearest `config.cut_candidates`; none where the container has no index of all its packets.
    """
    first, last = shape.time(shape.length), shape.time(shape.duration - shape.least)
    reordered = round(REORDERED_S / shape.unit)
    found: list[tuple[float, int, int]] = []
    before: list[int] = []
    key = shape.origin
    for entry in stream.index_entries:
        if entry.is_keyframe:
            key, before = entry.timestamp, []
            continue
        largest = max(before[-CUT_WINDOW:], default=0)
        time = entry.timestamp + reordered
        if len(before) >= CUT_WINDOW and entry.size >= CUT_GROWTH * max(largest, 1) and first <= time <= last:
            found.append((entry.size / max(largest, 1), time, key))
        before.append(entry.size)
    return sorted((time, key) for _, time, key in sorted(found)[-config.cut_candidates :])


def _spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` whole numbers evenly over 0 .. count - 1, each the middle of its share."""
    wanted = min(count, wanted)
    return [(2 * k + 1) * count // (2 * wanted) for k in range(wanted)]


def _is_picture(picture: Picture, config: SegmentConfig) -> bool:
    return bool(picture.luma.mean() >= config.min_brightness and picture.luma.std() >= config.min_contrast)


def _farthest_first(
    begin: Picture | None,
    candidates: Sequence[Picture],
    config: SegmentConfig,
    shape: Shape,
    *,
    have_faces: Callable[[Sequence[Picture]], list[bool]],
) -> list[SegmentStart]:
    """Take one after another the candidate that differs most from those taken, in looks before in time.

    As many as are wanted are looked at together for a face, then as many more as had none.
    """
    wanted = config.max_segments - 1
    taken: list[Picture] = [begin] if begin is not None else []
    with_face: list[SegmentStart] = []
    without: list[SegmentStart] = []
    left = list(candidates)
    while len(with_face) < wanted:
        batch: list[Picture] = []
        while len(batch) < wanted - len(with_face):
            left = [c for c in left if all(abs(c.start.start_s - t.start.start_s) >= shape.length for t in taken)]
            if not left:
                break
            best = max(left, key=lambda c: min((_distance(c, t, config, shape.duration) for t in taken), default=0.0))
            taken.append(best)
            batch.append(best)
        if not batch:
            break
        for picture, has_face in zip(batch, have_faces(batch), strict=True):
            (with_face if has_face else without).append(picture.start)
    return sorted(with_face or without[:wanted], key=lambda start: start.start_s)


def _distance(a: Picture, b: Picture, config: SegmentConfig, duration: float) -> float:
    """How much they differ: in looks, where 1 is a cut, and in time, where 1 is the whole video."""
    apart = abs(a.start.start_s - b.start.start_s) / duration
    if a.luma.shape != b.luma.shape:
        return 1.0 + apart
    return float(np.abs(a.luma - b.luma).mean()) / config.cut_threshold + apart


def _with_gaps_filled(
    path: VideoFile,
    video: VideoConfig,
    chosen: Sequence[SegmentStart],
    config: SegmentConfig,
    shape: Shape,
    budget: _Budget,
) -> list[SegmentStart]:
    """The chosen starts, and as many more as are wanted, one after another in the widest gap."""
    if len(chosen) == config.max_segments - 1 and all(start.key is None for start in chosen):
        return list(chosen)
    with Pictures(path, video) as opened:

        def reach(seconds: float, until: float) -> SegmentStart | None:
            """Begin there, as far as that can be reached and leaves something before `until`."""
            found = opened.key_for(shape.time(seconds) - shape.tolerance)
            if found is None:
                return None
            time, key = found
            start = SegmentStart(time, max(seconds, shape.seconds(time)), key if key < time else None)
            short = start.start_s > until - shape.least + shape.slack
            return None if short or not budget.spend(shape, (time - key) * shape.unit) else start

        reached = [start if start.key is None else reach(start.start_s, shape.duration) for start in chosen]
        starts = [start for start in reached if start is not None]
        closed: set[float] = set()
        while len(starts) < config.max_segments - 1:
            begins = sorted(start.start_s for start in starts)
            gaps = zip((0.0, *begins), (*begins, shape.duration), strict=True)
            open_gaps = [(b - a - shape.length, a + shape.length, b) for a, b in gaps if a not in closed]
            room, begin, end = max(open_gaps, default=(0.0, 0.0, 0.0))
            if room < shape.least - shape.slack:
                break
            if shape.duration <= config.max_segments * shape.length or room <= shape.length:
                seconds = begin
            elif end == shape.duration:
                seconds = end - shape.length
            else:
                seconds = begin + (room - shape.length) / 2
            start = reach(seconds, end)
            if start is None:
                closed.add(begin - shape.length)
            else:
                starts.append(start)
    return sorted(starts, key=lambda start: start.start_s)
