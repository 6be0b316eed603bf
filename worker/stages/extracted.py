"""What an extraction found, as clips, pictures and rows that a service can store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from detection.services.jobs.results import ExtractionResult, FaceCrop, KeptFrame, SegmentSpan, VideoFacts
from worker.stages.images import encode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml.faces.extract import Extraction
    from ml.video.ranged_file import VideoFile

log = structlog.get_logger(__name__)


def trimmed(path: VideoFile, folder: Path, extraction: Extraction, limits: object) -> list[Path | None]:
    """Each segment by packet copy, or None where the packets cannot be copied: the faces are what counts."""
    from ml.config import VideoConfig
    from ml.video.decode import VideoError
    from ml.video.trim import clip_suffix, trim

    assert isinstance(limits, VideoConfig)
    clips: list[Path | None] = []
    for number, segment in enumerate(extraction.segments):
        out = folder / f"clip{number or ''}{clip_suffix(extraction.info)}"
        try:
            trim(path, out, replace(limits, start=segment.start, key=segment.key))
            clips.append(out)
        except VideoError as error:
            log.warning("clip_not_made", segment=number, reason=error.detail)
            clips.append(None)
    return clips


def extraction_result(
    extraction: Extraction, clips: Sequence[Path | None], *, trim_s: float, threads: int = 1
) -> ExtractionResult:
    """Encode the images of an extraction and compute its perceptual hashes, as data for the service."""
    from ml.faces.perceptual_hash import face_hash, image_hash
    from ml.video.prefetch import parallel_map

    info = extraction.info
    crops = [face.crop for track in extraction.tracks for face in track.faces]
    pngs = parallel_map(partial(encode, ".png"), crops, threads)
    positions: dict[int, Iterator[int]] = defaultdict(count)  # a person's faces, over all segments
    people: dict[int, list[NDArray[np.uint8]]] = defaultdict(list)
    for track in extraction.tracks:
        people[track.index] += [face.crop for face in track.faces]
    faces = tuple(
        FaceCrop(
            track=track.index,
            segment=track.segment,
            position=next(positions[track.index]),
            frame_number=face.frame_number,
            timestamp_s=face.timestamp_s,
            box=face.box,
            probability=face.probability,
            png=next(pngs),
            still=track.still,
        )
        for track in extraction.tracks
        for face in track.faces
    )
    frames = tuple(
        KeptFrame(
            frame_number=frame.frame_number,
            timestamp_s=frame.timestamp_s,
            boxes=tuple(
                dict(zip(("x1", "y1", "x2", "y2"), map(float, box.box), strict=True))
                | {"probability": float(box.probability), "reason": box.reason}
                for box in frame.boxes
            ),
            jpeg=encode(".jpg", frame.image),
        )
        for frame in extraction.sampled_frames
    )
    return ExtractionResult(
        facts=VideoFacts(
            container=info.container,
            codec=info.codec,
            width=info.width,
            height=info.height,
            rotation=info.rotation,
            fps=info.fps,
            duration_s=info.duration_s,
            frames_decoded=extraction.frames_decoded,
            frames_claimed=extraction.frames_claimed,
            truncated=extraction.truncated,
        ),
        clip=clips[0],
        thumbnail=encode(".jpg", extraction.thumbnail),
        tracks=len(people),
        people_left_out=extraction.people_left_out,
        faces=faces,
        frames=frames,
        timings=extraction.timings | {"trim": round(trim_s, 3)},
        picture_print=image_hash(extraction.thumbnail),
        face_prints={person: face_hash(crops) for person, crops in people.items()},
        segments=tuple(
            SegmentSpan(segment.start_s, segment.end_s, clip if number else None)
            for number, (segment, clip) in enumerate(zip(extraction.segments, clips, strict=True))
        )
        if len(extraction.segments) > 1
        else (),
    )
