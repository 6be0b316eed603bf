"""The finished segments of a long video, kept in storage: a killed worker's successor goes on with the next one."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from detection.services.jobs import attempt_files, orphan_files
from detection.services.jobs.analyses import AnalysisClaim
from ml.config import RejectionReason
from ml.faces.detector import RejectedBox
from ml.faces.extract import Extraction, Face, SampledFrame, Segment, Track
from ml.faces.extract_video import Part
from ml.video.probe import VideoInfo
from ml.video.single_pictures import SegmentStart

log = structlog.get_logger(__name__)

FORMAT = 1
"""Of the stored bytes: another version's are not read, but made anew."""


class KeptSegments:
    """Those of one analysis (see `ml.faces.extract_video.KeptParts`).

    Storage is asked only where an earlier attempt has come anywhere, so that short videos cost nothing.
    """

    def __init__(self, claim: AnalysisClaim) -> None:
        self._video_id, self._analysis_id = claim.video_id, claim.id
        self._again = claim.progress > 0
        self._noted = False

    def get(self, name: str) -> Part | None:
        """Return what an earlier attempt has finished."""
        if not self._again:
            return None
        data = attempt_files.kept_part(video_id=self._video_id, analysis_id=self._analysis_id, name=name)
        part = None if data is None else part_of(data)
        if part is not None:
            log.info("segment_known", segment=name)
        return part

    def put(self, name: str, part: Part) -> None:
        """Store it."""
        if not self._noted:
            orphan_files.watch(video_id=self._video_id)  # should nobody come to the end who deletes it
            self._noted = True
        attempt_files.keep_part(video_id=self._video_id, analysis_id=self._analysis_id, name=name, data=bytes_of(part))


def bytes_of(part: Part) -> bytes:
    """Write a part: a SHA-256, then an archive of NumPy arrays, of which `facts` is JSON."""
    images: dict[str, NDArray[Any]] = {}

    def image(array: NDArray[Any]) -> str:
        name = f"image{len(images)}"
        images[name] = array
        return name

    found = part.extraction
    facts: dict[str, Any] = {
        "format": FORMAT,
        "starts": [[start.time, start.start_s, start.key] for start in part.starts],
        "choosing_s": part.choosing_s,
        "extraction": found
        and {
            "info": asdict(found.info),
            "frames_decoded": found.frames_decoded,
            "frames_claimed": found.frames_claimed,
            "people_left_out": found.people_left_out,
            "timings": found.timings,
            "thumbnail": image(found.thumbnail),
            "segments": [asdict(segment) for segment in found.segments],
            "tracks": [
                {
                    "index": track.index,
                    "embedding": image(track.embedding),
                    "still": track.still,
                    "segment": track.segment,
                    "faces": [
                        {
                            "frame_number": face.frame_number,
                            "timestamp_s": face.timestamp_s,
                            "box": [float(side) for side in face.box],
                            "probability": float(face.probability),
                            "landmarks": [[float(x), float(y)] for x, y in face.landmarks],
                            "crop": image(face.crop),
                        }
                        for face in track.faces
                    ],
                }
                for track in found.tracks
            ],
            "sampled_frames": [
                {
                    "frame_number": frame.frame_number,
                    "timestamp_s": frame.timestamp_s,
                    "image": image(frame.image),
                    "boxes": [[[float(s) for s in box.box], float(box.probability), box.reason] for box in frame.boxes],
                }
                for frame in found.sampled_frames
            ],
        },
    }
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, facts=np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8), **images)
    data = out.getvalue()
    return hashlib.sha256(data).digest() + data


def part_of(data: bytes) -> Part | None:
    """Read what `bytes_of` wrote; None where it is incomplete, or another version's."""
    digest, data = data[:32], data[32:]
    if hashlib.sha256(data).digest() != digest:
        return None
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        facts = json.loads(arrays["facts"].tobytes())
        if facts["format"] != FORMAT:
            return None
        starts = tuple(SegmentStart(*start) for start in facts["starts"])
        found = facts["extraction"]
        return Part(found and _extraction(found, arrays), starts, facts["choosing_s"])


def _extraction(found: dict[str, Any], arrays: Any) -> Extraction:
    return Extraction(
        info=VideoInfo(**found["info"]),
        frames_decoded=found["frames_decoded"],
        frames_claimed=found["frames_claimed"],
        people_left_out=found["people_left_out"],
        timings=found["timings"],
        thumbnail=arrays[found["thumbnail"]],
        segments=tuple(Segment(**segment) for segment in found["segments"]),
        tracks=tuple(
            Track(
                index=track["index"],
                embedding=arrays[track["embedding"]],
                still=track["still"],
                segment=track["segment"],
                faces=tuple(
                    Face(
                        frame_number=face["frame_number"],
                        timestamp_s=face["timestamp_s"],
                        box=tuple(face["box"]),
                        probability=face["probability"],
                        landmarks=tuple(tuple(point) for point in face["landmarks"]),
                        crop=arrays[face["crop"]],
                    )
                    for face in track["faces"]
                ),
            )
            for track in found["tracks"]
        ),
        sampled_frames=tuple(
            SampledFrame(
                frame_number=frame["frame_number"],
                timestamp_s=frame["timestamp_s"],
                image=arrays[frame["image"]],
                boxes=tuple(
                    RejectedBox(tuple(box), probability, RejectionReason(reason))
                    for box, probability, reason in frame["boxes"]
                ),
            )
            for frame in found["sampled_frames"]
        ),
    )
