"""One video's frames for those who look at them: decoded once where memory allows, and ahead of who looks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ml.config import VideoConfig
from ml.video.decode import DecodedFrame, decode
from ml.video.prefetch import prefetch
from ml.video.ranged_file import VideoFile

Progress = Callable[[float], None]
MOST_KEPT_BYTES = 96 * 2**20
"""Of decoded frames that may be asked for again: at 1280 x 720 all but those of the last pass, at 1920 x 1080 the 16 of
the first.  Twice as much took the many videos that need no second pass a tenth longer, for memory that is new is not
free, and the few that do a tenth less."""
PREFETCH_FRAMES = 3
"""Frames to be looked at that wait, decoded, while the detector is at an earlier one."""


class FrameSource:
    """The frames of a video.  The first pass decodes all that are needed, counts them, and finds the cuts.

    `times` are `probe`'s (see `ml.video.decode.decode`); without them no frame is left out.  `keep` are groups of
    frames that may be asked for again, the most useful first: of these the leading groups are kept that have room as a
    whole, because a single frame that is missing costs as much as all.
    """

    def __init__(
        self,
        path: VideoFile,
        video: VideoConfig | None = None,
        *,
        times: Sequence[int] = (),
        cut_threshold: float = 1.0,
        keep: Sequence[Collection[int]] = (),
    ) -> None:
        self.path, self.video = path, video or VideoConfig()
        self.times = times
        self.cut_threshold = cut_threshold
        self.frames_decoded = 0
        self.last_s = 0.0
        """Time of the last frame that was decoded."""
        self.cuts: list[int] = []
        self.first: DecodedFrame | None = None
        self._keep = [set(group) for group in keep]
        self._kept: dict[int, DecodedFrame] = {}

    def has(self, numbers: Collection[int]) -> bool:
        """Whether these frames can be had without decoding."""
        return all(number in self._kept for number in numbers)

    def frames(self, wanted: Collection[int], progress: Progress = lambda _: None) -> Iterator[DecodedFrame]:
        """The wanted frames as far as the video has them; while one is looked at, the next ones are decoded."""
        if not wanted:
            return
        source: Iterator[DecodedFrame]
        if self.has(wanted):
            source = (self._kept[number] for number in sorted(wanted))
        else:
            source = prefetch(self._decoded(set(wanted)), PREFETCH_FRAMES)
        for reached, frame in enumerate(source, 1):
            progress(reached / len(wanted))
            yield frame

    def _decoded(self, wanted: set[int]) -> Generator[DecodedFrame]:
        if self.frames_decoded == 0:
            yield from self._first_pass(wanted)
            return
        last = max(wanted)
        for frame in decode(self.path, self.video, times=self.times, needed=wanted):
            if frame.number > last:
                return
            if frame.number in wanted:
                yield frame

    def _first_pass(self, wanted: set[int]) -> Generator[DecodedFrame]:
        needed = wanted.union(*self._keep)
        keep: set[int] = set()
        room = MOST_KEPT_BYTES
        cuts = SceneCutDetector(self.cut_threshold)
        for frame in decode(self.path, self.video, times=self.times, needed=needed):
            if self.first is None:
                self.first = frame
                keep = self._worth_keeping(frame.size_bytes)
                needed &= wanted | keep
            cuts.add(frame)
            self.frames_decoded, self.last_s = frame.number + 1, frame.timestamp_s
            if frame.number in keep and frame.size_bytes <= room:  # a stream may change its size half-way
                self._kept[frame.number] = frame
                room -= frame.size_bytes
            if frame.number in wanted:
                yield frame
        if not cuts.certain:
            cuts = SceneCutDetector(self.cut_threshold)
            for frame in decode(self.path, self.video):
                cuts.add(frame)
        self.cuts = cuts.found

    def _worth_keeping(self, frame_bytes: int) -> set[int]:
        chosen: set[int] = set()
        for group in self._keep:
            if len(chosen | group) * frame_bytes > MOST_KEPT_BYTES:
                break
            chosen |= group
        return chosen


class SceneCutDetector:
    """Where the picture changes from one frame to the next as a whole.

    Not `certain` where it has changed over frames that were left out: it may have been one of them, or just movement.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.found: list[int] = []
        self.certain = True
        self._before: tuple[int, NDArray[np.float32]] | None = None

    def add(self, frame: DecodedFrame) -> None:
        """The next one."""
        now = frame.luma_signature()
        if self._before is not None:
            number, before = self._before
            if before.shape != now.shape or float(np.abs(before - now).mean()) > self.threshold:
                self.found.append(frame.number)
                self.certain = self.certain and frame.number == number + 1
        self._before = frame.number, now
