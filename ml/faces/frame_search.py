"""Search the frames of one video for people: coarse to fine, few frames to many, linked into tracks.

`ml.faces.extract` decides in which views (`ml.faces.view`) a video is searched.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.config import FaceConfig, RejectionReason
from ml.faces.crop import crop_face
from ml.faces.detector import FaceDetector, RejectedBox, rejection
from ml.faces.mtcnn.cascade import MAX_BATCH_PIXELS, DetectedFace
from ml.faces.recognition.identity import PersonLinker
from ml.faces.recognition.not_a_face import is_face
from ml.faces.tracking import Detection, iou, link, linspace_indices
from ml.faces.view import Copy, View
from ml.video.frame import DecodedFrame
from ml.video.frame_source import FrameSource, Progress
from ml.video.prefetch import parallel_map

Image = NDArray[np.uint8]
SAME_FACE_IOU = 0.3
"""Overlap from which detections of one frame in two views are one face."""
MAX_PADDED_FRAMES = 30
"""Frames with faces cut by the edge that are searched again, padded."""
MIN_VIEW_FRAMES = 3
"""Frames in which a view must show a face that no other view does, before it is used for all."""


@dataclass
class FrameDetections:
    """Detections of one frame, and the copy (H, W, 3) in which the detector searched first.

    `fine` where the smallest faces were searched for, too.
    """

    number: int
    timestamp_s: float
    valid: list[Detection]
    rejected: list[RejectedBox]
    small: Image
    fine: bool


@dataclass(frozen=True)
class DetectionBatch:
    """Frames with the copies that the detector takes in one call."""

    frames: list[tuple[DecodedFrame, Copy]]
    fine: bool


@dataclass(frozen=True)
class Pass:
    """One step of a search: frames, those of them searched for larger faces only, progress (0 to 1) at its end."""

    numbers: Collection[int]
    coarse: Collection[int]
    progress: float


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
    """The passes over one video in one view.  `detections` are those of each frame number, in the frame as shown."""

    def __init__(self, source: FrameSource, detector: FaceDetector, config: FaceConfig, view: View) -> None:
        self.source, self.detector, self.config, self.view = source, detector, config, view
        self.detections: dict[int, FrameDetections] = {}
        self.detect_s = 0.0
        self.not_faces: set[int] = set()  # detections that are patterns or drawings, by identity
        self.linker = PersonLinker(detector.embedder, config, detector.threads)
        self._linked: tuple[tuple[int, ...], list[list[Detection]]] | None = None  # of which faces

    def detect_frames(
        self, numbers: Collection[int], progress: Progress, *, coarse: Collection[int] = (), view: View | None = None
    ) -> None:
        """Detect in those of these frames that have not been searched; in `coarse` for larger faces only.

        With `view` search all of them once more in that view, and add the faces that are new.
        """
        wanted = list(numbers) if view else [number for number in numbers if number not in self.detections]
        batches = self._batches(wanted, progress, coarse, view or self.view)
        large = (view or self.view).long_side > self.config.detect_long_side
        threads = 1 if large else self.detector.threads  # two large pictures at a time take 100 MB more
        for detections, seconds in parallel_map(self._detect_batch, batches, threads):
            for detected in detections:
                self._add(detected)
            self.detect_s += seconds / threads

    def _add(self, detected: FrameDetections) -> None:
        known = self.detections.setdefault(detected.number, detected)
        if known is not detected:
            known.valid += [
                face for face in detected.valid if all(iou(face.box, d.box) < SAME_FACE_IOU for d in known.valid)
            ]

    def _batches(
        self, wanted: Collection[int], progress: Progress, coarse: Collection[int], view: View
    ) -> Iterator[DetectionBatch]:
        """Render the frames' copies, grouped into what the detector takes in one call."""
        batch = DetectionBatch([], fine=True)
        for frame in self.source.frames(wanted, progress):
            copy = view.render(frame)
            fine = frame.number not in coarse
            height, width = copy.image.shape[:2]
            alike = batch.frames and batch.fine == fine and batch.frames[-1][1].image.shape == copy.image.shape
            if alike and (len(batch.frames) + 1) * height * width <= MAX_BATCH_PIXELS:
                batch.frames.append((frame, copy))
                continue
            if batch.frames:
                yield batch
            batch = DetectionBatch([(frame, copy)], fine)
        if batch.frames:
            yield batch

    def _detect_batch(self, batch: DetectionBatch) -> tuple[list[FrameDetections], float]:
        """Detect in one batch; returns its frames' detections and the seconds that the detector took."""
        started = time.perf_counter()
        min_face = self.config.min_face_detect if batch.fine else self.config.min_face_coarse
        found = self.detector.detect([copy.image for _, copy in batch.frames], min_face=min_face)
        seconds = time.perf_counter() - started
        return [
            self._judge(frame, copy, [copy.to_frame(face) for face in faces], fine=batch.fine)
            for (frame, copy), faces in zip(batch.frames, found, strict=True)
        ], seconds

    def _judge(self, frame: DecodedFrame, copy: Copy, faces: list[DetectedFace], *, fine: bool) -> FrameDetections:
        """Split one frame's faces into valid ones, with their crops from the full frame, and rejected ones."""
        width, height = frame.shown_size
        full: Image | None = None
        valid: list[Detection] = []
        rejected: list[RejectedBox] = []
        for face in faces:
            box, probability, landmarks = face
            reason = rejection(face, width=width, height=height, config=self.config)
            if reason or len(valid) >= self.config.max_faces_per_frame:
                rejected.append(RejectedBox(box, probability, reason or RejectionReason.TOO_MANY))
                continue
            if full is None:
                full = frame.rgb()
            crop = crop_face(full, box, landmarks, size=self.config.crop_size, margin=self.config.margin)
            valid.append(Detection(frame.number, frame.timestamp_s, box, probability, crop, landmarks))
        return FrameDetections(frame.number, frame.timestamp_s, valid, rejected, copy.image, fine)

    def tracks(self) -> list[list[Detection]]:
        """Detections linked into one list per person, noise included."""
        valid = [self.detections[n].valid for n in sorted(self.detections)]
        key = tuple(id(face) for faces in valid for face in faces)
        if self._linked is None or self._linked[0] != key:
            tracks = link(valid, self.source.cuts, self.config)
            sure = [t for t in tracks if self._is_sure(t)]
            others = [t for t in tracks if not self._is_sure(t)]
            self._linked = key, self.linker.link(sure) + others
        return self._linked[1]

    def _is_sure(self, track: list[Detection]) -> bool:
        return float(np.mean([d.probability for d in track])) >= self.config.min_track_mean_probability

    def people(self) -> list[list[Detection]]:
        """Return the tracks that are people: sure, and present enough for their size; the most prominent first."""
        c, frames = self.config, max(1, self.source.frames_decoded)
        sure = [t for t in self.tracks() if self._is_sure(t)]
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
        return self._faces_only(sorted(clear + small, key=lambda t: -sum(d.area for d in t)))

    def _faces_only(self, people: list[list[Detection]]) -> list[list[Detection]]:
        """Without patterns and drawings; those beyond `max_tracks` people, who are not judged, are not looked at."""
        kept: list[list[Detection]] = []
        for person in people:
            if len(kept) >= self.config.max_tracks or is_face(self.linker.embedding_of(person)):
                kept.append(person)
            else:
                self.not_faces |= {id(face) for face in person}
        return kept

    def is_complete(self, people: list[list[Detection]]) -> bool:
        """True when everyone who will be judged has ten faces and no other track might yet become a person."""
        most = self.config.max_tracks
        if not people or any(len(p) < self.config.faces_per_track for p in people[:most]):
            return False
        if len(people) >= most:
            return True  # whoever else is there would be left out
        largest = max(size_of(p) for p in people)
        known = {id(d) for p in people for d in p}
        return not any(
            len(t) >= 2
            and id(t[0]) not in known
            and (largest < 2 * self.config.clear_size or size_of(t) >= self.config.clear_size)
            for t in self.tracks()
        )

    def is_complete_coarse(self) -> bool:
        """True when also the frames searched for small faces show nobody outside these people's tracks."""
        people = self.people()
        if len(people) >= self.config.max_tracks:
            return self.is_complete(people)
        known = {id(face) for person in people for face in person}
        return self.is_complete(people) and all(
            id(face) in known for detected in self.detections.values() if detected.fine for face in detected.valid
        )

    def run(self, schedule: FrameSchedule, progress: Progress) -> list[list[Detection]]:
        """Search pass by pass until it is certain who is there; returns people."""
        reached = 0.0
        for step in self._passes(schedule):
            self.detect_frames(step.numbers, _between(progress, reached, step.progress), coarse=step.coarse)
            reached = step.progress
            if self.is_complete_coarse() if step.coarse else self.is_complete(self.people()):
                break
        else:
            self._search_other_views(schedule, progress)
        return self.people()

    def _passes(self, schedule: FrameSchedule) -> Iterator[Pass]:
        """Yield the passes in order, each only where those before it have not settled the matter.

        Coarse ones come first because they cost half.  None follows where nothing like a face was seen.
        """
        c = self.config
        seen_coarse = False
        if len(schedule.first_pass) == c.faces_per_track and c.min_face_coarse > c.min_face_detect:
            yield Pass(schedule.first_pass, set(schedule.first_pass) - set(schedule.fine_frames), 0.3)
            if self.detections.keys() >= set(schedule.first_pass) and self.source.has(schedule.second_pass):
                yield Pass(schedule.second_pass, schedule.second_pass, 0.35)
            seen_coarse = 2 * sum(bool(d.valid) for d in self.detections.values()) >= len(self.detections)
            self._forget_coarse()
        yield Pass(schedule.first, (), 0.45)
        if not self._anybody() and c.min_clear_presence * len(self.detections) >= 2:
            return  # whoever is there for long enough to count would have been seen
        if seen_coarse:  # somebody moves too fast to be followed over ten frames
            yield Pass(schedule.dense, schedule.dense, 0.55)
            self._forget_coarse()
        yield Pass(schedule.dense, (), 0.7)
        if self._anybody():
            yield Pass(range(self.source.frames_decoded), (), 0.95)

    def _search_other_views(self, schedule: FrameSchedule, progress: Progress) -> None:
        """Where people come and go: search padded for those cut by the frame's edge, and turned for those who lie.

        Nothing is done where nobody was seen at all (see `ml.faces.extract`).
        """
        if not self._anybody():
            return
        outside = RejectionReason.OUTSIDE
        cut = [n for n, d in self.detections.items() if any(box.reason == outside for box in d.rejected)]
        cut = [cut[k] for k in linspace_indices(len(cut), MAX_PADDED_FRAMES)]
        self.detect_frames(
            sorted(cut), lambda _: progress(0.96), view=View(self.view.long_side, padding=self.config.view_padding)
        )
        probes = [schedule.first[k] for k in linspace_indices(len(schedule.first), self.config.turned_frames)]
        for view in (View(self.view.long_side, rotation=degrees) for degrees in (90, 270)):
            before = {number: len(d.valid) for number, d in self.detections.items()}
            self.detect_frames(probes, lambda _: progress(0.97), view=view)
            new = sum(len(d.valid) > before.get(number, 0) for number, d in self.detections.items())
            if new >= min(MIN_VIEW_FRAMES, self.source.frames_decoded):
                rest = [number for number in schedule.dense if number not in probes]
                self.detect_frames(rest, lambda _: progress(0.99), view=view)

    def _anybody(self) -> bool:
        return any(id(face) not in self.not_faces for d in self.detections.values() for face in d.valid)

    def _forget_coarse(self) -> None:
        self.detections = {number: detected for number, detected in self.detections.items() if detected.fine}


def _between(progress: Progress, start: float, end: float) -> Progress:
    """Report 0 to 1 as `start` to `end`."""
    return lambda share: progress(start + share * (end - start))


def size_of(track: list[Detection]) -> float:
    """Median of the shorter side of a track's boxes, in pixels."""
    return float(np.median([min(d.box[2] - d.box[0], d.box[3] - d.box[1]) for d in track]))
