"""Looking for people in one video at one scale: batches of frames, coarse to fine, linked into tracks.

`ml.faces` decides which searches are made, and what becomes of what they find.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.ahead import ahead
from ml.cascade import Cascade, Found
from ml.config import FaceConfig, VideoConfig
from ml.tracks import Box, Detection, even, link
from ml.video import DecodedFrame, decode, turn

Image = NDArray[np.uint8]
MOST_HELD_BYTES = 64 * 2**20
"""Of decoded frames that are kept to be looked at."""
DECODED_AHEAD = 3
"""Frames to be looked at that wait, decoded, while the detector is at an earlier one."""
Progress = Callable[[float], None]


@dataclass(frozen=True)
class RejectedBox:
    """A detection that does not count.  Reasons: low_probability, too_small, outside, short_track, too_many."""

    box: Box
    probability: float
    reason: str


class FaceDetector:
    """MTCNN with the thresholds of `config`, loaded at the first use; `device`, `threads`: see ml.mtcnn.Networks."""

    def __init__(self, device: str = "cpu", config: FaceConfig | None = None, threads: int | None = None) -> None:
        self.config = config or FaceConfig()
        self._cascade = Cascade(device, self.config.mtcnn_thresholds, threads)

    def detect(self, images: Sequence[Image], *, min_face: int | None = None) -> list[Found]:
        """Per RGB picture (H, W, 3), all of one size: boxes in its pixels with probabilities, the most probable first.

        `min_face` is the smallest face to be found, in pixels; the config's unless given.
        """
        return self._cascade.detect(images, min_face=min_face or self.config.min_face_detect)


def crop_face(image: Image, box: Box, *, size: int, margin: float) -> Image:
    """A square RGB crop centred on the box, side (1 + margin) x its longer side, `size` pixels.

    Where the square leaves the frame the border is repeated, so that the face stays centred and undistorted.
    """
    x1, y1, x2, y2 = box
    half = max(x2 - x1, y2 - y1) * (1 + margin) / 2
    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
    left, top = round(cx - half), round(cy - half)
    side = max(2, round(2 * half))
    height, width = image.shape[:2]
    inner = image[max(0, top) : min(height, top + side), max(0, left) : min(width, left + side)]
    if inner.size == 0:
        raise ValueError("the box lies outside the image")
    padding = (max(0, -top), max(0, top + side - height), max(0, -left), max(0, left + side - width))
    if any(padding):
        inner = np.asarray(cv2.copyMakeBorder(inner, *padding, cv2.BORDER_REPLICATE), dtype=np.uint8)
    interpolation = cv2.INTER_AREA if side >= size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(inner, (size, size), interpolation=interpolation), dtype=np.uint8)


def rejection(box: Box, probability: float, *, width: int, height: int, config: FaceConfig) -> str:
    """Why a detection is not a valid face, or an empty string when it is one."""
    x1, y1, x2, y2 = box
    if probability < config.min_probability:
        return "low_probability"
    if min(x2 - x1, y2 - y1) < config.min_size:
        return "too_small"
    inside = max(0.0, min(x2, width) - max(x1, 0)) * max(0.0, min(y2, height) - max(y1, 0))
    if inside < config.min_inside * (x2 - x1) * (y2 - y1):
        return "outside"
    return ""


@dataclass
class Look:
    """What one frame showed: valid faces, rejected boxes, and the small copy that the detector saw."""

    number: int
    timestamp_s: float
    valid: list[Detection]
    rejected: list[RejectedBox]
    small: Image


@dataclass(frozen=True)
class Held:
    """A frame that may be looked at, still in the decoder's pixels."""

    frame: DecodedFrame
    long_side: int
    turned: int

    @cached_property
    def small(self) -> Image:
        """The copy that the detector sees."""
        return turn(self.frame.rgb(long_side=self.long_side), self.turned)


class Search:
    """The passes over one video at one detection scale and one turn."""

    def __init__(
        self, path: Path, detector: FaceDetector, video: VideoConfig, config: FaceConfig, *, long_side: int, turned: int
    ) -> None:
        self.path, self.detector, self.video, self.config = path, detector, video, config
        self.long_side, self.turned = long_side, turned
        self.looks: dict[int, Look] = {}
        self.cuts: list[int] = []
        self.frames_decoded = 0
        self.first: DecodedFrame | None = None
        self.detect_s = 0.0

    def look_at(self, numbers: Iterable[int], progress: Progress) -> None:
        """Decode the video and look at these frames."""
        part: list[Held] = []
        for held in self._frames(set(numbers) - self.looks.keys(), progress):
            # A stream may change its size half-way.
            other = part and held.frame.shown_size != part[0].frame.shown_size
            if part and (other or (len(part) + 1) * held.frame.size_bytes > MOST_HELD_BYTES):
                self.looks |= self._look(part)
                part = []
            part.append(held)
        self.looks |= self._look(part)

    def look_first(self, numbers: Sequence[int], progress: Progress) -> bool:
        """Look at these frames, coarsely and at as few as will do; true where that has settled who is in the video.

        Ten of them are looked at as they come, for larger faces only; the rest where somebody moves too fast to be
        followed over ten.  Some of the ten are looked at for smaller faces too: one that is nobody's there means that
        all must be.
        """
        c = self.config
        ten = [numbers[k] for k in even(len(numbers), c.faces_per_track)]
        if len(ten) < c.faces_per_track or c.min_face_coarse <= c.min_face_detect:
            self.look_at(numbers, progress)
            return False
        probes = {ten[k] for k in even(len(ten), c.fine_probes)}
        first = set(ten)
        spare: list[Held] = []
        for held in self._frames(set(numbers), progress):
            number = held.frame.number
            if number in first:
                self.looks |= self._look([held], min_face=None if number in probes else c.min_face_coarse)
            elif (len(spare) + 1) * held.frame.size_bytes <= MOST_HELD_BYTES:
                spare.append(held)
        fine = {number: look for number, look in self.looks.items() if number in probes}
        if len(self.looks) == len(ten):
            if self._settled_coarsely(fine):
                return True
            for held in spare:
                self.looks |= self._look([held], min_face=c.min_face_coarse)
            if spare and self._settled_coarsely(fine):
                return True
        self.looks = fine
        self.look_at(numbers, progress)
        return False

    def _settled_coarsely(self, fine: Mapping[int, Look]) -> bool:
        """Whether the looks show people with ten faces each, and nobody else where small faces were looked for."""
        people = self.people()
        known = {id(face) for person in people for face in person}
        return self.settled(people) and all(id(face) in known for look in fine.values() for face in look.valid)

    def _frames(self, wanted: set[int], progress: Progress) -> Iterator[Held]:
        """The wanted frames as they are decoded, the next ones while one is looked at."""
        if not wanted:
            return
        for reached, frame in enumerate(ahead(self._decoded(wanted), DECODED_AHEAD), 1):
            progress(reached / len(wanted))
            yield Held(frame, self.long_side, self.turned)

    def _decoded(self, wanted: set[int]) -> Generator[DecodedFrame]:
        """The wanted frames; the first pass decodes all others too, and finds the cuts."""
        first_pass, last = self.frames_decoded == 0, max(wanted)
        before: NDArray[np.float32] | None = None
        for frame in decode(self.path, self.video):
            if first_pass:
                signature = frame.luma_signature()
                if before is not None and _is_cut(before, signature, self.config):
                    self.cuts.append(frame.number)
                before = signature
                self.first = self.first or frame
                self.frames_decoded += 1
            elif frame.number > last:
                return
            if frame.number in wanted:
                yield frame

    def _look(self, held: Sequence[Held], *, min_face: int | None = None) -> dict[int, Look]:
        started = time.perf_counter()
        found = self.detector.detect([one.small for one in held], min_face=min_face)
        self.detect_s += time.perf_counter() - started
        return {one.frame.number: self._judged(one, boxes) for one, boxes in zip(held, found, strict=True)}

    def _judged(self, held: Held, found: Found) -> Look:
        """The boxes of one frame: valid ones with their crops from the full frame, the others with the reason."""
        frame, small = held.frame, held.small
        shown_width, shown_height = frame.shown_size
        width, height = (shown_height, shown_width) if self.turned % 180 else (shown_width, shown_height)
        scale_x, scale_y = width / small.shape[1], height / small.shape[0]
        full: Image | None = None
        valid: list[Detection] = []
        rejected: list[RejectedBox] = []
        for (x1, y1, x2, y2), probability in found:
            box = (x1 * scale_x, y1 * scale_y, x2 * scale_x, y2 * scale_y)
            reason = rejection(box, probability, width=width, height=height, config=self.config)
            if reason or len(valid) >= self.config.max_faces_per_frame:
                shown = turn_box(box, -self.turned, width, height)
                rejected.append(RejectedBox(box=shown, probability=probability, reason=reason or "too_many"))
                continue
            if full is None:
                full = turn(frame.rgb(), self.turned)
            crop = crop_face(full, box, size=self.config.crop_size, margin=self.config.margin)
            valid.append(
                Detection(
                    frame.number, frame.timestamp_s, box, probability, crop, turn_box(box, -self.turned, width, height)
                )
            )
        return Look(frame.number, frame.timestamp_s, valid, rejected, small)

    def tracks(self) -> list[list[Detection]]:
        """Detections linked into one list per person, noise included."""
        return link([self.looks[n].valid for n in sorted(self.looks)], self.cuts, self.config)

    def people(self) -> list[list[Detection]]:
        """The tracks that are people: sure, and present enough for their size; the most prominent first."""
        c, frames = self.config, max(1, self.frames_decoded)
        sure = [t for t in self.tracks() if np.mean([d.probability for d in t]) >= c.min_track_mean_probability]
        clear = [t for t in sure if size_of(t) >= c.clear_size and len(t) >= min(c.min_track_faces, frames)]
        seen = {d.frame_number for t in clear for d in t}
        if len(seen) < c.min_clear_presence * len(self.looks):
            clear = []
        small = [
            t
            for t in sure
            if size_of(t) < c.clear_size
            and len(t) >= min(c.min_small_faces, frames)
            and t[-1].frame_number - t[0].frame_number + 1 >= c.min_small_span * frames
        ]
        if any(size_of(t) >= 2 * c.clear_size for t in clear):
            small = []
        return sorted(clear + small, key=lambda t: -sum(d.area for d in t))[: c.max_tracks]

    def settled(self, people: list[list[Detection]]) -> bool:
        """Ten faces for everyone, and no track that might yet turn out to be a person."""
        if not people or any(len(p) < self.config.faces_per_track for p in people):
            return False
        largest = max(size_of(p) for p in people)
        known = {id(d) for p in people for d in p}
        return not any(
            len(t) >= 2
            and id(t[0]) not in known
            and (largest < 2 * self.config.clear_size or size_of(t) >= self.config.clear_size)
            for t in self.tracks()
        )

    def run(self, expected: int, progress: Progress) -> list[list[Detection]]:
        """All passes; returns people.  Stops early when everyone has ten faces, or when nothing face-like was seen."""
        if self.look_first(even(expected, self.config.first_pass_frames), lambda x: progress(x * 0.4)):
            return self.people()
        people = self.people()
        if self.settled(people):
            return people
        self.look_at(range(0, expected, self.config.dense_stride), lambda x: progress(0.4 + x * 0.3))
        people = self.people()
        if self.settled(people) or not any(look.valid for look in self.looks.values()):
            return people
        self.look_at(range(self.frames_decoded), lambda x: progress(0.7 + x * 0.3))
        return self.people()


def size_of(track: list[Detection]) -> float:
    """Median of the shorter side of a track's boxes, in pixels."""
    return float(np.median([min(d.box[2] - d.box[0], d.box[3] - d.box[1]) for d in track]))


def _is_cut(before: NDArray[np.float32], now: NDArray[np.float32], config: FaceConfig) -> bool:
    return before.shape != now.shape or float(np.abs(before - now).mean()) > config.cut_threshold


def turn_box(box: Box, degrees: int, width: int, height: int) -> Box:
    """Where a box of a `width` x `height` image lies after the image is turned anticlockwise by `degrees`."""
    x1, y1, x2, y2 = box
    for _ in range(round(degrees / 90) % 4):
        x1, y1, x2, y2 = y1, width - x2, y2, width - x1
        width, height = height, width
    return (x1, y1, x2, y2)


def search_exhaustively(
    path: Path, *, detector: FaceDetector, stride: int = 1, numbers: set[int] | None = None
) -> Iterator[Look]:
    """What the detector sees at full size in every `stride`-th frame, or in those of these numbers.

    To judge the quick search by, not to be used.
    """
    video = VideoConfig()
    wanted = set(range(0, video.max_frames, stride)) if numbers is None else numbers
    search = Search(path, detector, video, detector.config, long_side=10**6, turned=0)
    for held in search._frames(wanted, lambda _: None):
        yield from search._look([held]).values()


def people_in(looks: Sequence[Look], frames_decoded: int, config: FaceConfig | None = None) -> int:
    """How many people these looks show, by the same rules as in `extract_faces`; without regard to cuts."""
    config = config or FaceConfig()
    search = Search(Path(), FaceDetector(config=config), VideoConfig(), config, long_side=1, turned=0)
    search.looks, search.frames_decoded = {look.number: look for look in looks}, frames_decoded
    return len(search.people())
