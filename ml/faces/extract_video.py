"""Extract the faces of a whole video: of its first segment, and of further ones where it is longer than that."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from ml.config import FaceConfig, SegmentConfig, VideoConfig
from ml.faces.detector import FaceDetector, rejection
from ml.faces.extract import Extraction, Track, extract_faces
from ml.faces.recognition.embedding import Embedding, distance, mean_embedding
from ml.faces.tracking import linspace_indices
from ml.video.errors import VideoError
from ml.video.frame import DecodedFrame
from ml.video.frame_source import Progress
from ml.video.probe import USUAL_FPS
from ml.video.ranged_file import VideoFile
from ml.video.segments import choose_segments
from ml.video.single_pictures import SegmentStart

THOROUGH_FROM = 0.8
"""Share of the progress over the later segments at which they are searched thoroughly, should nobody be found."""


@dataclass(frozen=True)
class Part:
    """What is known of one segment: nothing but that it cannot be read where `extraction` is None.

    With the first one, which further segments were chosen, and the seconds that took.
    """

    extraction: Extraction | None
    starts: tuple[SegmentStart, ...] = ()
    choosing_s: float = 0.0


class KeptParts(Protocol):
    """Parts that an attempt at the same video has finished, by name, for the next attempt to go on from."""

    def get(self, name: str) -> Part | None:
        """Return what was put, if it is still there."""

    def put(self, name: str, part: Part) -> None:
        """Keep it."""


def extract_video(
    path: VideoFile,
    *,
    detector: FaceDetector | None = None,
    video: VideoConfig | None = None,
    faces: FaceConfig | None = None,
    segments: SegmentConfig | None = None,
    progress: Progress | None = None,
    kept: KeptParts | None = None,
) -> Extraction:
    """Find the people of a video in up to `SegmentConfig.max_segments` segments, ten faces each in every segment.

    A video of one segment gets and costs what `extract_faces` gives.  Frame numbers of later segments are those that
    the mean frame rate says.  A later segment that cannot be read is left out.  What is in `kept` is not done again,
    and each segment of a longer video is put there when it is done.  Raises ml.video.errors.VideoError for a file that
    cannot be judged; `progress`: see `extract_faces`.
    """
    video, config, segments = video or VideoConfig(), faces or FaceConfig(), segments or SegmentConfig()
    detector = detector or FaceDetector(config=config)
    report = progress or (lambda _: None)
    share = 1 / segments.max_segments  # until it is known how many there are

    begun = kept.get("first") if kept is not None else None
    if begun is None or begun.extraction is None:
        begun = _begun(path, detector, video, config, segments, lambda x: report(share * x))
        if kept is not None and begun.starts:
            kept.put("first", begun)
    first, starts = begun.extraction, begun.starts
    assert first is not None
    parts = [first]
    # Who is not seen upright is sought only where nobody else is: the other views cost several times as much.
    for thorough in (False, True):
        if thorough and any(found.tracks for found in parts):
            break
        parts = [first]
        for done, start in enumerate(starts):
            name = f"{done + 1:02}{'-thorough' if thorough else ''}"
            part = kept.get(name) if kept is not None else None
            if part is None:
                low = share + (1 - share) * (THOROUGH_FROM if thorough else 0.0)
                each = (1 - share) * (1 - THOROUGH_FROM if thorough else THOROUGH_FROM) / len(starts)
                part = _part(
                    path,
                    detector,
                    replace(video, start=start.time, key=start.key),
                    config,
                    partial(_report_within, report, low + done * each, each),
                    thorough=thorough,
                )
                if kept is not None:
                    kept.put(name, part)
            if part.extraction is not None:
                parts.append(_moved(part.extraction, start, segment=len(parts)))
    report(1.0)
    if len(parts) == 1:
        return first
    return _merged(parts, begun.choosing_s, config)


def _begun(
    path: VideoFile,
    detector: FaceDetector,
    video: VideoConfig,
    config: FaceConfig,
    segments: SegmentConfig,
    progress: Progress,
) -> Part:
    """The first segment, and where the others begin."""
    first = extract_faces(path, detector=detector, video=video, faces=config, progress=progress)
    started = time.perf_counter()
    starts: list[SegmentStart] = []
    if first.frames_decoded >= video.max_frames:
        starts = choose_segments(
            path,
            video,
            segments,
            shows_face=lambda frame: _shows_face(frame, detector, config),
            threads=detector.threads,
        )
    return Part(first, tuple(starts), time.perf_counter() - started)


def _part(
    path: VideoFile,
    detector: FaceDetector,
    video: VideoConfig,
    config: FaceConfig,
    progress: Progress,
    *,
    thorough: bool,
) -> Part:
    """A later segment; one that is damaged is not there, for what could be read counts."""
    try:
        return Part(
            extract_faces(path, detector=detector, video=video, faces=config, progress=progress, other_views=thorough)
        )
    except VideoError:
        return Part(None)


def _report_within(report: Progress, low: float, length: float, done: float) -> None:
    report(low + length * done)


def _shows_face(frame: DecodedFrame, detector: FaceDetector, config: FaceConfig) -> bool:
    image = frame.rgb(long_side=config.detect_long_side)
    height, width = image.shape[:2]
    found = detector.detect([image], min_face=config.min_face_coarse)[0]
    return any(rejection(face, width=width, height=height, config=config) is None for face in found)


def _moved(found: Extraction, start: SegmentStart, *, segment: int) -> Extraction:
    """With the times and the frame numbers of the whole video."""
    frames = round(start.start_s * (found.info.fps or USUAL_FPS))
    (span,) = found.segments
    return replace(
        found,
        tracks=tuple(
            replace(
                track,
                segment=segment,
                faces=tuple(
                    replace(
                        face,
                        frame_number=face.frame_number + frames,
                        timestamp_s=round(face.timestamp_s + start.start_s, 4),
                    )
                    for face in track.faces
                ),
            )
            for track in found.tracks
        ),
        sampled_frames=tuple(
            replace(
                frame, frame_number=frame.frame_number + frames, timestamp_s=round(frame.timestamp_s + start.start_s, 4)
            )
            for frame in found.sampled_frames
        ),
        segments=(replace(span, start_s=start.start_s, end_s=round(start.start_s + span.end_s, 3)),),
    )


def _merged(parts: list[Extraction], choosing_s: float, config: FaceConfig) -> Extraction:
    """One extraction of all segments; the first one's facts stand for the file's."""
    first = parts[0]
    tracks = _linked([track for found in parts for track in found.tracks], config)
    frames = [frame for found in parts for frame in found.sampled_frames]
    chosen = linspace_indices(len(frames), max(config.evidence_frames, len(parts)))
    timings = {step: round(sum(found.timings[step] for found in parts), 3) for step in first.timings}
    timings["extract"] = round(timings["extract"] + choosing_s, 3)
    return replace(
        first,
        tracks=tuple(tracks),
        sampled_frames=() if tracks else tuple(frames[k] for k in chosen),
        thumbnail=next((found.thumbnail for found in parts if found.tracks), first.thumbnail),
        timings=timings | {"choose_segments": round(choosing_s, 3)},
        people_left_out=sum(found.people_left_out for found in parts),
        segments=tuple(span for found in parts for span in found.segments),
    )


def _linked(tracks: list[Track], config: FaceConfig) -> list[Track]:
    """Number the people over all segments; sorted by person, then by segment.

    A track is the nearest person's of the other segments, unless none is near enough
    (see `ml.faces.recognition.embedding`).
    """
    people: list[tuple[set[int], list[Embedding]]] = []
    # Of each person the segments, and an embedding in each of them.
    numbered: list[Track] = []
    for track in tracks:
        near = [
            (distance(track.embedding, mean_embedding(known)), number)
            for number, (segments, known) in enumerate(people)
            if track.segment not in segments
        ]
        closest, number = min(near, default=(float("inf"), 0))
        if closest > config.same_person_distance:
            number = len(people)
            people.append((set(), []))
        people[number][0].add(track.segment)
        people[number][1].append(track.embedding)
        numbered.append(replace(track, index=number))
    return sorted(numbered, key=lambda track: (track.index, track.segment))
