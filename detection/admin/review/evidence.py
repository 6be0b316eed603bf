"""Evidence as the templates need it: people with faces and scores, frames with rejected boxes.

The JSON columns were written by workers from uploaded files: values of the wrong shape are dropped here, so that no
template meets them.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _

from detection.localized import numeral
from detection.models import FaceFrame, PersonLabel, SampledFrame, Verdict, Video
from detection.wording import LOOKS_AT, NO_HEATMAPS, REJECTIONS, REVIEW_REASONS

MAX_BOXES = 24  # a frame with more is a crowd or an attack; the first are the most probable
SPARK_HEIGHT = 24  # of a box 100 wide
NEAR = 0.15  # a score this close to the threshold is coloured as undecided: ml's `uncertain_margin`, held by a test


@dataclass(frozen=True)
class ScoredFace:
    """One face of a person, with its score and the level that colours it."""

    image_url: str
    frame_number: int | None
    timestamp_s: float | None
    score: float | None
    level: str  # "low", "near", "high" or "" (no score yet): how it is coloured

    @property
    def percent(self) -> float:
        """Return the score in percent, 0 without one."""
        return (self.score or 0.0) * 100


@dataclass(frozen=True)
class ScoredFrame:
    """A whole frame that a model looked at; `score` is None where it saw the frames together."""

    timestamp_s: float
    score: float | None
    level: str


@dataclass(frozen=True)
class Person:
    """One person (track) of a video, with faces, score and sparkline."""

    track: int
    score: float | None
    level: str
    threshold: float
    decides: bool  # the verdict is this person's score
    faces: tuple[ScoredFace, ...]
    sparkline: str  # points of an SVG polyline in a 100 x 24 box; empty with fewer than two scores
    still: bool = False  # a poster or a photo: the face never moves
    said: str = ""  # the PersonLabel that reviewers settled on

    @property
    def text(self) -> str:
        """Return the score as text, or an empty string."""
        return "" if self.score is None else score_texts(self.score, self.threshold)[0]

    @property
    def number(self) -> int:
        """Return the person's number, counted from 1."""
        return self.track + 1

    @property
    def said_text(self) -> str:
        """Return what reviewers say of the person, or an empty string."""
        return _(PersonLabel(self.said).label) if self.said in PersonLabel.values else ""


@dataclass(frozen=True)
class Box:
    """A rejected detection, in pixels of the full frame."""

    x: float
    y: float
    width: float
    height: float
    probability: float | None
    reason: str
    sentence: str


@dataclass(frozen=True)
class Frame:
    """A sampled frame with the boxes that can be drawn on it."""

    image_url: str
    frame_number: int
    timestamp_s: float
    width: int | None
    height: int | None
    boxes: tuple[Box, ...]
    unplaced: int  # boxes that cannot be drawn, as the size of the frame is not known


def score_level(score: float | None, threshold: float) -> str:
    """Return how a score is coloured: low, near (within `NEAR` of the threshold) or high; empty without a score."""
    if score is None:
        return ""
    if abs(score - threshold) < NEAR:
        return "near"
    return "high" if score >= threshold else "low"


def score_texts(score: float, threshold: float) -> tuple[str, str]:
    """Return score and threshold as text, with three digits where two would make them look equal."""
    digits = 3 if abs(score - threshold) < 0.01 else 2
    return numeral(f"{score:.{digits}f}"), numeral(f"{threshold:.{digits}f}")


def people_of_verdict(verdict: Verdict | None) -> tuple[Person, ...]:
    """Return the people of a verdict, by track, from the ids and scores in its JSON; makes no query."""
    if verdict is None:
        return ()
    people = []
    for entry in _dicts(verdict.people):
        track = _integer(entry.get("track"))
        if track is None:
            continue
        faces = []
        for frame in _dicts(entry.get("frames")):
            face_id = _uuid(frame.get("face"))
            if face_id is not None:
                score = _probability(frame.get("fake_probability"))
                faces.append(
                    ScoredFace(
                        image_url=reverse("api:face-image", kwargs={"face_id": face_id}),
                        frame_number=_integer(frame.get("frame_number")),
                        timestamp_s=_number(frame.get("timestamp_s")),
                        score=score,
                        level=score_level(score, verdict.threshold),
                    )
                )
        score = _probability(entry.get("fake_probability"))
        people.append(_person(track, score, faces, verdict, still=entry.get("still") is True))
    return tuple(people)


def people_of_faces(
    faces: Iterable[FaceFrame], verdict: Verdict | None, labels: Mapping[str, str] | None = None
) -> tuple[Person, ...]:
    """Return the people found in a video, by track, with the scores that `verdict` has for these faces.

    `labels` is what reviewers settled on, {track: PersonLabel}.
    """
    scores: dict[str, float | None] = {}
    totals: dict[int, float | None] = {}
    for entry in _dicts(verdict.people) if verdict else []:
        track = _integer(entry.get("track"))
        if track is not None:
            totals[track] = _probability(entry.get("fake_probability"))
        for frame in _dicts(entry.get("frames")):
            scores[str(frame.get("face"))] = _probability(frame.get("fake_probability"))
    by_track: dict[int, list[ScoredFace]] = {}
    still: set[int] = set()
    for face in faces:
        still |= {face.track} if face.still else set()
        score = scores.get(str(face.pk))
        by_track.setdefault(face.track, []).append(
            ScoredFace(
                image_url=reverse("api:face-image", kwargs={"face_id": face.pk}),
                frame_number=face.frame_number,
                timestamp_s=face.timestamp_s,
                score=score,
                level=score_level(score, verdict.threshold) if verdict else "",
            )
        )
    return tuple(
        replace(
            _person(track, totals.get(track), found, verdict, still=track in still),
            said=str((labels or {}).get(str(track), "")),
        )
        for track, found in sorted(by_track.items())
    )


def frames_of(video: Video, frames: Iterable[SampledFrame]) -> tuple[Frame, ...]:
    """Return sampled frames with their boxes."""
    result = []
    for frame in frames:
        boxes = boxes_of(frame.boxes, width=video.width, height=video.height)
        placed = bool(video.width and video.height)
        result.append(
            Frame(
                image_url=reverse("api:sampled-frame-image", kwargs={"frame_id": frame.pk}),
                frame_number=frame.frame_number,
                timestamp_s=frame.timestamp_s,
                width=video.width,
                height=video.height,
                boxes=boxes if placed else (),
                unplaced=0 if placed else len(_dicts(frame.boxes)),
            )
        )
    return tuple(result)


def most_telling(frames: Sequence[Frame], limit: int) -> tuple[Frame, ...]:
    """Return at most `limit` frames in time order, preferring those with boxes."""
    chosen = sorted(frames, key=lambda frame: not frame.boxes)[:limit]
    return tuple(sorted(chosen, key=lambda frame: frame.frame_number))


def boxes_of(raw: Any, *, width: int | None, height: int | None) -> tuple[Box, ...]:
    """Return the boxes of one frame, clipped to it; entries without area inside the frame are dropped."""
    if not width or not height:
        return ()
    boxes = []
    for entry in _dicts(raw)[:MAX_BOXES]:
        corners = [_number(entry.get(name)) for name in ("x1", "y1", "x2", "y2")]
        if any(corner is None for corner in corners):
            continue
        x1, y1, x2, y2 = (float(corner) for corner in corners if corner is not None)
        x1, x2 = max(0.0, min(x1, width)), max(0.0, min(x2, width))
        y1, y2 = max(0.0, min(y1, height)), max(0.0, min(y2, height))
        if x2 <= x1 or y2 <= y1:
            continue
        reason = str(entry.get("reason", ""))[:40]
        boxes.append(
            Box(
                x=round(x1, 1),
                y=round(y1, 1),
                width=round(x2 - x1, 1),
                height=round(y2 - y1, 1),
                probability=_probability(entry.get("probability")),
                reason=reason if reason in REJECTIONS else "other",
                sentence=_(REJECTIONS.get(reason, reason or "rejected")),
            )
        )
    return tuple(boxes)


def rejections_of(frames: Sequence[Frame]) -> tuple[tuple[str, str, int], ...]:
    """Return the legend of some frames: (reason, sentence, count), most frequent first."""
    counts: dict[tuple[str, str], int] = {}
    for frame in frames:
        for box in frame.boxes:
            counts[box.reason, box.sentence] = counts.get((box.reason, box.sentence), 0) + 1
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return tuple((reason, sentence, count) for (reason, sentence), count in ordered)


def threshold_height(verdict: Verdict | None) -> str:
    """Return the y coordinate of the threshold's line in a sparkline."""
    return f"{SPARK_HEIGHT * (1 - verdict.threshold):.1f}" if verdict else "0"


def review_sentences(verdict: Verdict | None) -> tuple[str, ...]:
    """Return why a verdict needs review, as sentences."""
    reasons = verdict.review_reasons if verdict else []
    if not isinstance(reasons, list):
        return ()
    return tuple(_(REVIEW_REASONS.get(str(reason), str(reason)[:80])) for reason in reasons)


def whole_frames_of(verdict: Verdict | None) -> tuple[ScoredFrame, ...]:
    """Return the frames that a model of whole frames looked at, in order."""
    found = []
    for frame in _dicts(verdict.frames) if verdict else []:
        time_s, score = _number(frame.get("timestamp_s")), _probability(frame.get("fake_probability"))
        if verdict is not None and time_s is not None:
            found.append(ScoredFrame(time_s, score, score_level(score, verdict.threshold)))
    return tuple(found)


def untold(verdict: Verdict | None) -> tuple[str, str]:
    """Return what a verdict of its model's kind does not tell, and why there are no heat maps; empty where it does."""
    kind = verdict.model_version.kind if verdict else ""
    looks_at, no_heatmaps = LOOKS_AT.get(kind, ""), NO_HEATMAPS.get(kind, "")
    return _(looks_at) if looks_at else "", _(no_heatmaps) if no_heatmaps else ""


def _person(
    track: int, score: float | None, faces: list[ScoredFace], verdict: Verdict | None, *, still: bool = False
) -> Person:
    return Person(
        track=track,
        score=score,
        level=score_level(score, verdict.threshold) if verdict else "",
        threshold=verdict.threshold if verdict else 0.5,
        decides=verdict is not None and verdict.deciding_track == track,
        faces=tuple(faces),
        sparkline=_sparkline([face.score for face in faces if face.score is not None]),
        still=still,
    )


def _sparkline(scores: list[float]) -> str:
    if len(scores) < 2:
        return ""
    step = 100 / (len(scores) - 1)
    return " ".join(f"{index * step:.1f},{SPARK_HEIGHT * (1 - score):.1f}" for index, score in enumerate(scores))


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value) if abs(value) < 1e12 else math.inf
    return number if math.isfinite(number) else None


def _integer(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number >= 0 else None


def _probability(value: Any) -> float | None:
    number = _number(value)
    return number if number is not None and 0 <= number <= 1 else None


def _uuid(value: Any) -> uuid.UUID | None:
    try:
        return uuid.UUID(str(value))
    except ValueError:
        return None
