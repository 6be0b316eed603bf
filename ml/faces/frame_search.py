"""Looking for people in one video at one scale: coarse to fine, few frames to many, linked into tracks.

`ml.faces.extract` decides which searches are made, and what becomes of what they find.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.config import FaceConfig
from ml.faces.crop import crop_face
from ml.faces.detector import FaceDetector, RejectedBox, rejection
from ml.faces.mtcnn import MOST_PIXELS, Found
from ml.faces.tracking import Box, Detection, link, linspace_indices
from ml.video.frame import DecodedFrame, rotate90
from ml.video.frame_source import FrameSource, Progress
from ml.video.prefetch import parallel_map

Image = NDArray[np.uint8]


@dataclass
class FrameDetections:
    """What one frame showed: valid faces, rejected boxes, and the small copy that the detector saw."""

    number: int
    timestamp_s: float
    valid: list[Detection]
    rejected: list[RejectedBox]
    small: Image
    fine: bool
    """Whether small faces were looked for, too."""


@dataclass(frozen=True)
class DetectionBatch:
    """Frames with the small copies that the detector looks at together."""

    frames: list[tuple[DecodedFrame, Image]]
    fine: bool


@dataclass(frozen=True)
class FrameSchedule:
    """Frame numbers to search, in groups, each in time order.

    `first_pass` is searched first, of these `fine_frames` for the smallest faces too; `first` is `first_pass` and
    `second_pass` together.
    """

    fine_frames: list[int]
    first_pass: list[int]
    second_pass: list[int]
    first: list[int]
    dense: list[int]

    @classmethod
    def of(cls, frames: int, config: FaceConfig) -> FrameSchedule:
        """Of a video of so many frames."""
        first = linspace_indices(frames, config.first_pass_frames)
        first_pass = [first[k] for k in linspace_indices(len(first), config.faces_per_track)]
        return cls(
            # Not at the ends: the last look, for which nothing is decoded any more, should be a short one.
            fine_frames=[
                first_pass[len(first_pass) * (2 * k + 1) // (2 * config.fine_probes)] for k in range(config.fine_probes)
            ],
            first_pass=first_pass,
            second_pass=[number for number in first if number not in first_pass],
            first=first,
            dense=list(range(0, frames, config.dense_stride)),
        )

    @property
    def retain(self) -> list[list[int]]:
        """What may be asked for after the first pass, the most useful group first."""
        return [self.second_pass, self.first_pass, self.dense]


class Search:
    """The passes over one video at one detection scale and one turn."""

    def __init__(
        self, source: FrameSource, detector: FaceDetector, config: FaceConfig, *, long_side: int, turned: int = 0
    ) -> None:
        self.source, self.detector, self.config = source, detector, config
        self.long_side, self.turned = long_side, turned
        self.detections: dict[int, FrameDetections] = {}
        self.detect_s = 0.0

    def detect_frames(self, numbers: Collection[int], progress: Progress, *, coarse: Collection[int] = ()) -> None:
        """Look at those of these frames that have not been looked at; at `coarse` for larger faces only."""
        batches = self._batches([number for number in numbers if number not in self.detections], progress, coarse)
        for detections, seconds in parallel_map(self._detect_batch, batches, self.detector.threads):
            self.detections |= {detected.number: detected for detected in detections}
            self.detect_s += seconds / self.detector.threads

    def _batches(
        self, wanted: Collection[int], progress: Progress, coarse: Collection[int]
    ) -> Iterator[DetectionBatch]:
        """The frames' small copies, together what the detector takes together."""
        batch = DetectionBatch([], fine=True)
        for frame in self.source.frames(wanted, progress):
            small = rotate90(frame.rgb(long_side=self.long_side), self.turned)
            fine = frame.number not in coarse
            alike = batch.frames and batch.fine == fine and batch.frames[-1][1].shape == small.shape
            if alike and (len(batch.frames) + 1) * small.shape[0] * small.shape[1] <= MOST_PIXELS:
                batch.frames.append((frame, small))
                continue
            if batch.frames:
                yield batch
            batch = DetectionBatch([(frame, small)], fine)
        if batch.frames:
            yield batch

    def _detect_batch(self, batch: DetectionBatch) -> tuple[list[FrameDetections], float]:
        """What its frames show, and the seconds of the detector."""
        started = time.perf_counter()
        min_face = self.config.min_face_detect if batch.fine else self.config.min_face_coarse
        found = self.detector.detect([small for _, small in batch.frames], min_face=min_face)
        seconds = time.perf_counter() - started
        return [
            self._judge(frame, small, boxes, fine=batch.fine)
            for (frame, small), boxes in zip(batch.frames, found, strict=True)
        ], seconds

    def _judge(self, frame: DecodedFrame, small: Image, found: Found, *, fine: bool) -> FrameDetections:
        """The boxes of one frame: valid ones with their crops from the full frame, the others with the reason."""
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
                shown = rotate_box_90(box, -self.turned, width, height)
                rejected.append(RejectedBox(box=shown, probability=probability, reason=reason or "too_many"))
                continue
            if full is None:
                full = rotate90(frame.rgb(), self.turned)
            crop = crop_face(full, box, size=self.config.crop_size, margin=self.config.margin)
            valid.append(
                Detection(
                    frame.number,
                    frame.timestamp_s,
                    box,
                    probability,
                    crop,
                    rotate_box_90(box, -self.turned, width, height),
                )
            )
        return FrameDetections(frame.number, frame.timestamp_s, valid, rejected, small, fine)

    def tracks(self) -> list[list[Detection]]:
        """Detections linked into one list per person, noise included."""
        return link([self.detections[n].valid for n in sorted(self.detections)], self.source.cuts, self.config)

    def people(self) -> list[list[Detection]]:
        """The tracks that are people: sure, and present enough for their size; the most prominent first."""
        c, frames = self.config, max(1, self.source.frames_decoded)
        sure = [t for t in self.tracks() if np.mean([d.probability for d in t]) >= c.min_track_mean_probability]
        clear = [t for t in sure if size_of(t) >= c.clear_size and len(t) >= min(c.min_track_faces, frames)]
        seen = {d.frame_number for t in clear for d in t}
        if len(seen) < c.min_clear_presence * len(self.detections):
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

    def is_complete(self, people: list[list[Detection]]) -> bool:
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

    def is_complete_coarse(self) -> bool:
        """Settled, and nobody else in the frames that were looked at for small faces, too."""
        people = self.people()
        known = {id(face) for person in people for face in person}
        return self.is_complete(people) and all(
            id(face) in known for detected in self.detections.values() if detected.fine for face in detected.valid
        )

    def run(self, schedule: FrameSchedule, progress: Progress) -> list[list[Detection]]:
        """All passes over the video; returns people.

        It stops as soon as it is certain who is there, or when nothing like a face was seen.  Looking coarsely is tried
        first, because it costs half; where it does not settle the matter it has been in vain.
        """
        c = self.config
        seen_coarse = False
        if len(schedule.first_pass) == c.faces_per_track and c.min_face_coarse > c.min_face_detect:
            self.detect_frames(
                schedule.first_pass,
                lambda x: progress(x * 0.3),
                coarse=set(schedule.first_pass) - set(schedule.fine_frames),
            )
            if self.detections.keys() >= set(schedule.first_pass):
                if self.is_complete_coarse():
                    return self.people()
                if self.source.has(schedule.second_pass):
                    self.detect_frames(
                        schedule.second_pass, lambda x: progress(0.3 + x * 0.05), coarse=schedule.second_pass
                    )
                    if self.is_complete_coarse():
                        return self.people()
            seen_coarse = 2 * sum(bool(detected.valid) for detected in self.detections.values()) >= len(self.detections)
            self._forget_coarse()
        self.detect_frames(schedule.first, lambda x: progress(0.35 + x * 0.1))
        people = self.people()
        if self.is_complete(people):
            return people
        if seen_coarse:  # somebody moves too fast to be followed over ten frames
            self.detect_frames(schedule.dense, lambda x: progress(0.45 + x * 0.1), coarse=schedule.dense)
            if self.is_complete_coarse():
                return self.people()
            self._forget_coarse()
        self.detect_frames(schedule.dense, lambda x: progress(0.55 + x * 0.15))
        people = self.people()
        if self.is_complete(people) or not any(detected.valid for detected in self.detections.values()):
            return people
        self.detect_frames(range(self.source.frames_decoded), lambda x: progress(0.7 + x * 0.3))
        return self.people()

    def _forget_coarse(self) -> None:
        self.detections = {number: detected for number, detected in self.detections.items() if detected.fine}


def size_of(track: list[Detection]) -> float:
    """Median of the shorter side of a track's boxes, in pixels."""
    return float(np.median([min(d.box[2] - d.box[0], d.box[3] - d.box[1]) for d in track]))


def rotate_box_90(box: Box, degrees: int, width: int, height: int) -> Box:
    """Where a box of a `width` x `height` image lies after the image is turned anticlockwise by `degrees`."""
    x1, y1, x2, y2 = box
    for _ in range(round(degrees / 90) % 4):
        x1, y1, x2, y2 = y1, width - x2, y2, width - x1
        width, height = height, width
    return (x1, y1, x2, y2)
