"""From a video to ten faces a person: detect, link into tracks, crop.

Frames are looked at in widening passes (10 spread over the video, then 16, every third, all; each for larger faces only
before smaller ones), until it is certain who is there and each person has ten valid faces; then at a larger scale, then
turned, before it is said that there is no face.  A whole frame never stands in for a face.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from ml.config import FaceConfig, VideoConfig
from ml.faces.detector import FaceDetector, Image, RejectedBox
from ml.faces.frame_search import FrameDetections, FrameSchedule, Search
from ml.faces.tracking import Box, Detection, linspace_indices
from ml.video.frame import downscale
from ml.video.frame_source import FrameSource, Progress
from ml.video.probe import VideoInfo, probe


@dataclass(frozen=True)
class Face:
    """One valid face.  `box` is x1, y1, x2, y2 in pixels of the upright full frame; `crop` is (S, S, 3) RGB."""

    frame_number: int
    timestamp_s: float
    box: Box
    probability: float
    crop: Image


@dataclass(frozen=True)
class Track:
    """The faces of one person, in time order, at most ten."""

    index: int
    faces: tuple[Face, ...]


@dataclass(frozen=True)
class SampledFrame:
    """A frame kept for a person to look at: RGB, reduced; boxes in pixels of the full frame."""

    frame_number: int
    timestamp_s: float
    image: Image
    boxes: tuple[RejectedBox, ...]


@dataclass(frozen=True)
class Extraction:
    """What was found.  `sampled_frames` is filled only when `tracks` is empty; `timings` are seconds.

    `frames_decoded` are the video's frames up to the last that was decoded, those included that were left out.
    """

    info: VideoInfo
    frames_decoded: int
    tracks: tuple[Track, ...]
    sampled_frames: tuple[SampledFrame, ...]
    thumbnail: Image
    timings: dict[str, float]


def extract_faces(
    path: Path,
    *,
    detector: FaceDetector | None = None,
    video: VideoConfig | None = None,
    faces: FaceConfig | None = None,
    progress: Progress | None = None,
) -> Extraction:
    """Find the people of a video, ten faces each.  Raises ml.video.decode.VideoError for a file that cannot be judged.

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
    upright = Search(source, detector, config, long_side=config.detect_long_side)
    people = upright.run(schedule, lambda x: report(0.02 + 0.68 * x))
    assert source.first is not None  # without a frame decoding has raised
    info = file.info(source.first)
    searches = [upright]
    if not people:
        # Larger first (small faces), then turned (a phone held sideways whose file does not say so).
        tries = [(config.full_scale_long_side, 0)] if max(info.width, info.height) > config.detect_long_side else []
        tries += [(config.detect_long_side, degrees) for degrees in (90, 270, 180)]
        schedule = FrameSchedule.of(source.frames_decoded, config)  # a damaged file has fewer than it said
        for number, (long_side, turned) in enumerate(tries):
            search = Search(source, detector, config, long_side=long_side, turned=turned)
            searches.append(search)
            sample = config.turned_frames if turned else config.full_scale_frames
            search.detect_frames(
                [schedule.first[k] for k in linspace_indices(len(schedule.first), sample)], lambda _: report(0.0)
            )
            report(0.7 + 0.28 * (number + 1) / len(tries))
            if sum(bool(detected.valid) for detected in search.detections.values()) < min(3, source.frames_decoded):
                continue
            people = search.run(schedule, lambda _: report(0.98))
            if people:
                break
    total = time.perf_counter() - started
    detect = sum(s.detect_s for s in searches)
    middle = upright.detections[sorted(upright.detections)[len(upright.detections) // 2]]
    extraction = Extraction(
        info=info,
        frames_decoded=source.frames_decoded,
        tracks=tuple(_track(index, person, config) for index, person in enumerate(people)),
        sampled_frames=() if people else _evidence(upright, config),
        thumbnail=downscale(middle.small, 320),
        timings={"detect": round(detect, 3), "decode": round(total - detect, 3), "extract": round(total, 3)},
    )
    report(1.0)
    return extraction


def _monotonic(progress: Progress | None) -> Progress:
    high = 0.0

    def report(value: float) -> None:
        nonlocal high
        high = max(high, min(1.0, value))
        if progress is not None:
            progress(high)

    return report


def _track(index: int, person: list[Detection], config: FaceConfig) -> Track:
    chosen = [person[i] for i in linspace_indices(len(person), config.faces_per_track)]
    return Track(index, tuple(Face(d.frame_number, d.timestamp_s, d.shown_box, d.probability, d.crop) for d in chosen))


def _evidence(search: Search, config: FaceConfig) -> tuple[SampledFrame, ...]:
    """The frames to show a person: those with the best rejected boxes first, then evenly."""
    detections = [search.detections[n] for n in sorted(search.detections)]

    def boxes(detected: FrameDetections) -> tuple[RejectedBox, ...]:
        lone = [RejectedBox(d.shown_box, d.probability, "short_track") for d in detected.valid]
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
