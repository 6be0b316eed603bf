"""What workers pass to `jobs.finish_*`: plain data, so that neither imports the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID


@dataclass(frozen=True)
class VideoFacts:
    """Properties of the file, named as the columns of Video; width and height are pixels as shown.

    `truncated`: clearly fewer frames could be read than the file claims.
    """

    container: str
    codec: str
    width: int
    height: int
    rotation: int
    fps: float | None
    duration_s: float | None
    frames_decoded: int
    frames_claimed: int | None = None
    truncated: bool = False


@dataclass(frozen=True)
class FaceCrop:
    """One valid face; `box` is (x1, y1, x2, y2) in pixels of the upright full frame, `png` the 224 x 224 crop."""

    track: int
    position: int
    frame_number: int
    timestamp_s: float
    box: tuple[float, float, float, float]
    probability: float
    png: bytes
    segment: int = 0
    still: bool = False
    """The person's face never moves: a poster or a photo."""


@dataclass(frozen=True)
class KeptFrame:
    """A whole frame for a person to look at, with the boxes that were rejected (see models.SampledFrame)."""

    frame_number: int
    timestamp_s: float
    boxes: tuple[dict[str, Any], ...]
    jpeg: bytes


@dataclass(frozen=True)
class SegmentSpan:
    """A part of the video that was looked at; `clip` is as ExtractionResult's, None for the first segment's."""

    start_s: float
    end_s: float
    clip: Path | None = None


@dataclass(frozen=True)
class Provenance:
    """What the file says of itself, as models.VideoProvenance has it."""

    claims: Mapping[str, Any]
    credentials: dict[str, Any] | None


@dataclass(frozen=True)
class ExtractionResult:
    """One extraction; `frames` is empty where there are faces.

    `clip` is a local file that the caller removes, None where the packets could not be copied.
    """

    facts: VideoFacts
    clip: Path | None
    thumbnail: bytes
    tracks: int
    faces: tuple[FaceCrop, ...] = ()
    frames: tuple[KeptFrame, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)
    picture_print: str = ""
    """Of the thumbnail, 64 hex digits, or `-` where it has no structure; empty where it was not made."""
    face_prints: Mapping[int, str] = field(default_factory=dict)
    """By person (track)."""
    segments: tuple[SegmentSpan, ...] = ()
    """Empty where only the first segment was looked at."""
    provenance: Provenance | None = None
    """None where it was not read."""
    people_left_out: int = 0
    """Seen as well, less prominent than those in `faces`."""


@dataclass(frozen=True)
class ClassificationResult:
    """One verdict; `people` as in models.Verdict."""

    model_version_id: UUID
    label: str
    fake_probability: float
    threshold: float
    track: int
    people: list[dict[str, Any]]
    needs_review: bool
    review_reasons: tuple[str, ...] = ()
    assessment: str = ""
    timings: dict[str, float] = field(default_factory=dict)
    segments: list[dict[str, Any]] | None = None
    """As in models.Verdict, and so are `frames`."""
    frames: list[dict[str, Any]] | None = None
