"""Extract faces: from a video to ten crops a person.

Frames are searched in widening passes (10 spread over the video, then 16, every third, all; each for larger faces only
before smaller ones), until it is certain who is there and each person has ten valid faces.  Where nobody is found a few
frames are searched again in other views (lifted, padded, turned, larger) before it is said that there is no face.  A
whole frame never stands in for a face.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from ml.config import FaceConfig, RejectionReason, VideoConfig
from ml.faces.detector import FaceDetector, Image, RejectedBox
from ml.faces.frame_search import MIN_VIEW_FRAMES, FrameDetections, FrameSchedule, Search
from ml.faces.recognition.embedding import Embedding
from ml.faces.still import is_still
from ml.faces.tracking import Box, Detection, Points, linspace_indices
from ml.faces.view import View, is_dark
from ml.video.frame import downscale
from ml.video.frame_source import FrameSource, Progress
from ml.video.probe import USUAL_FPS, VideoInfo, probe
from ml.video.ranged_file import VideoFile

MIN_READABLE = 0.95
"""Share of the claimed frames; the last few may be missing in sound files."""


@dataclass(frozen=True)
class Face:
    """One valid face.

    `box` (x1, y1, x2, y2) and the five `landmarks` (x, y) are in pixels of the full frame as shown; `crop` is (S, S, 3)
    RGB, levelled (see ml.faces.crop).
    """

    frame_number: int
    timestamp_s: float
    box: Box
    probability: float
    crop: Image
    landmarks: Points = ()


@dataclass(frozen=True)
class Track:
    """The faces of one person in one segment, in time order, at most ten; `index` is the person's in the video."""

    index: int
    faces: tuple[Face, ...]
    embedding: Embedding
    """(128,): who it is, the mean of a few of the faces (see ml.faces.recognition.embedding)."""
    still: bool = False
    """The face never moves: a poster or a photo (see ml.faces.still)."""
    segment: int = 0


@dataclass(frozen=True)
class Segment:
    """A part of the video that was looked at, in seconds from its beginning; `start` and `key`: see `VideoConfig`."""

    start: int | None
    start_s: float
    end_s: float
    key: int | None = None


@dataclass(frozen=True)
class SampledFrame:
    """A frame kept for a person to look at: RGB, reduced; boxes in pixels of the full frame."""

    frame_number: int
    timestamp_s: float
    image: Image
    boxes: tuple[RejectedBox, ...]


@dataclass(frozen=True)
class Extraction:
    """The people of a video, or of one segment of it.

    `tracks` are by person and then by segment, `sampled_frames` is filled only when there are none; `timings` are
    seconds.  `frames_decoded` counts the first segment's frames up to the last that was decoded, skipped ones included;
    `frames_claimed` those that the file says it has, both at most `VideoConfig.max_frames`.  `people_left_out` are
    people beyond `FaceConfig.max_tracks` in a segment, less prominent than those in `tracks`.
    """

    info: VideoInfo
    frames_decoded: int
    tracks: tuple[Track, ...]
    sampled_frames: tuple[SampledFrame, ...]
    thumbnail: Image
    timings: dict[str, float]
    frames_claimed: int | None = None
    people_left_out: int = 0
    segments: tuple[Segment, ...] = ()

    @property
    def truncated(self) -> bool:
        """True where clearly fewer frames could be read than the file says it has: a broken upload, or damage."""
        claimed = self.frames_claimed
        return claimed is not None and self.frames_decoded < MIN_READABLE * claimed - 1


def extract_faces(
    path: VideoFile,
    *,
    detector: FaceDetector | None = None,
    video: VideoConfig | None = None,
    faces: FaceConfig | None = None,
    progress: Progress | None = None,
    other_views: bool = True,
) -> Extraction:
    """Find the people of one segment of a video (`VideoConfig.start`), ten faces each.

    Without `other_views` nobody is found who is not seen upright and in the usual light and size.  Raises
    ml.video.decode.VideoError for a file that cannot be judged.

    `progress` is called with 0 to 1, never backwards; what it raises ends the work and reaches the caller.
    """
    video, config = video or VideoConfig(), faces or FaceConfig()
    detector = detector or FaceDetector(config=config)
    report = _monotonic(progress)
    started = time.perf_counter()
    file = probe(path, video)
    report(0.02)

    schedule = FrameSchedule.of(file.frames, config)
    source = FrameSource(path, video, times=file.times, cut_threshold=config.cut_threshold, keep=schedule.retain)
    upright = Search(source, detector, config, View(config.detect_long_side))
    people = upright.run(schedule, lambda x: report(0.02 + 0.68 * x))
    assert source.first is not None  # without a frame decoding has raised
    info = file.info(source.first)
    searches = [upright]
    if not people and other_views:
        schedule = FrameSchedule.of(source.frames_decoded, config)  # a damaged file has fewer than it said
        views = _other_views(upright, config)
        for number, view in enumerate(views, 1):
            search = Search(source, detector, config, view)
            searches.append(search)
            if _shows_somebody(search, schedule):
                people = search.run(schedule, lambda _: report(0.98))
            report(0.7 + 0.28 * number / len(views))
            if people:
                break
    judged = people[: config.max_tracks]
    total = time.perf_counter() - started
    detect = sum(s.detect_s for s in searches)
    middle = upright.detections[sorted(upright.detections)[len(upright.detections) // 2]]
    extraction = Extraction(
        info=info,
        frames_decoded=source.frames_decoded,
        frames_claimed=file.claimed,
        people_left_out=len(people) - len(judged),
        tracks=tuple(
            _track(index, person, searches[-1].linker.embedding_of(person), config)
            for index, person in enumerate(judged)
        ),
        sampled_frames=() if people else _evidence(upright, config),
        thumbnail=downscale(middle.small, 320),
        timings={"detect": round(detect, 3), "decode": round(total - detect, 3), "extract": round(total, 3)},
        segments=(Segment(video.start, 0.0, round(source.last_s + 1 / (info.fps or USUAL_FPS), 3), video.key),),
    )
    report(1.0)
    return extraction


def _other_views(upright: Search, config: FaceConfig) -> list[View]:
    """The views in which a video is searched before it is said that nobody is there, the cheapest first.

    Padded, for faces larger than the frame or cut by its edge; turned, for a phone held sideways whose file does not
    say so; large, for small faces.  Dark frames are lifted in all of them, and searched lifted first.
    """
    side = config.detect_long_side
    frames = list(upright.detections.values())
    views = [View(side, lift=True)] if any(is_dark(detected.small) for detected in frames) else []
    views.append(View(round(side / (1 + 2 * config.view_padding)), padding=config.view_padding, lift=True))
    views += [View(side, rotation=degrees, lift=True) for degrees in (90, 270, 180)]
    if max(upright.source.first.shown_size if upright.source.first else (0, 0)) > side:
        views.append(View(config.full_scale_long_side, lift=True))
    return views


def _shows_somebody(search: Search, schedule: FrameSchedule) -> bool:
    """Search a few frames; True where three of them show a face.

    The search ends after the first three without anything like a face.
    """
    config = search.config
    count = config.full_scale_frames if search.view.long_side > config.detect_long_side else config.turned_frames
    probes = [schedule.first[k] for k in linspace_indices(len(schedule.first), count)]
    middle = [probes[k] for k in linspace_indices(len(probes), MIN_VIEW_FRAMES)]
    search.detect_frames(middle, lambda _: None)
    if not any(detected.valid or detected.rejected for detected in search.detections.values()):
        return False
    search.detect_frames(probes, lambda _: None)
    shown = sum(bool(detected.valid) for detected in search.detections.values())
    return shown >= min(MIN_VIEW_FRAMES, search.source.frames_decoded)


def _monotonic(progress: Progress | None) -> Progress:
    high = 0.0

    def report(value: float) -> None:
        nonlocal high
        high = max(high, min(1.0, value))
        if progress is not None:
            progress(high)

    return report


def _track(index: int, person: list[Detection], embedding: Embedding, config: FaceConfig) -> Track:
    chosen = [person[i] for i in linspace_indices(len(person), config.faces_per_track)]
    faces = (Face(d.frame_number, d.timestamp_s, d.box, d.probability, d.crop, d.landmarks) for d in chosen)
    still = is_still([d.crop for d in chosen], chosen[-1].timestamp_s - chosen[0].timestamp_s)
    return Track(index, tuple(faces), embedding, still)


def _evidence(search: Search, config: FaceConfig) -> tuple[SampledFrame, ...]:
    """The frames to show a person: those with the best rejected boxes first, then evenly."""
    detections = [search.detections[n] for n in sorted(search.detections)]

    def boxes(detected: FrameDetections) -> tuple[RejectedBox, ...]:
        lone = [
            RejectedBox(
                d.box,
                d.probability,
                RejectionReason.NOT_A_FACE if id(d) in search.not_faces else RejectionReason.SHORT_TRACK,
            )
            for d in detected.valid
        ]
        return tuple(sorted([*lone, *detected.rejected], key=lambda b: -b.probability)[:8])

    suspicious = sorted(
        (detected for detected in detections if boxes(detected)), key=lambda x: -boxes(x)[0].probability
    )
    chosen = {detected.number: detected for detected in suspicious[: config.evidence_frames // 2]}
    for index in linspace_indices(len(detections), config.evidence_frames):
        if len(chosen) < config.evidence_frames:
            chosen.setdefault(detections[index].number, detections[index])
    return tuple(
        SampledFrame(
            detected.number, detected.timestamp_s, downscale(detected.small, config.evidence_long_side), boxes(detected)
        )
        for detected in sorted(chosen.values(), key=lambda x: x.number)
    )
