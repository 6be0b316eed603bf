"""Which parts of a video were looked at, what each of them scores, and how much of the video that is, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from django.utils.translation import gettext as _

from detection.localized import numeral
from detection.models import Verdict, Video
from detection.services.jobs.left_out import segment_scores

USUAL_FPS = 25.0
"""That of `ml.video.probe`, which must not be imported here; a test holds the two together."""
WHOLE = 0.98
"""Share of a video from which on it counts as the whole: durations are rounded, and sound may outlast the picture."""


@dataclass(frozen=True)
class Segment:
    """A part of a video that was looked at.

    `clip` is a name in storage, empty where there is none; `fake_probability` is that of the most fake person, None
    where nobody was found or there is no verdict; `people`: [{"track", "fake_probability"}].
    """

    index: int
    start_s: float
    end_s: float
    clip: str
    fake_probability: float | None
    people: list[dict[str, Any]]


@dataclass(frozen=True)
class Coverage:
    """How much of a video was looked at; `share` (0 to 1) and `duration_s` are None where its length is not known."""

    segments: int
    seconds: float
    duration_s: float | None
    share: float | None

    @property
    def text(self) -> str:
        """A sentence for people."""
        seconds = _seconds(self.seconds)
        if self.share is None or self.duration_s is None:
            return _("Looked at: %(time)s; the file does not say how long it is.") % {"time": seconds}
        whole = _seconds(self.duration_s)
        if self.share >= WHOLE:
            return _("Looked at: the whole video, %(time)s.") % {"time": whole}
        facts = {"time": seconds, "whole": whole, "percent": max(1, round(100 * self.share)), "n": self.segments}
        if self.segments == 1:
            return _("Looked at: the first %(time)s of %(whole)s (%(percent)s %%).") % facts
        return _("Looked at: %(n)s parts, together %(time)s of %(whole)s (%(percent)s %%).") % facts

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, the sentence included."""
        return asdict(self) | {"text": self.text}


def segments_of(video: Video, verdict: Verdict | None) -> list[Segment]:
    """In time order; one for a video that was looked at in its first frames only, none before it was looked at."""
    if not video.frames_decoded:
        return []
    clip = str(video.clip.name or "")
    if video.segments is None:
        end = video.frames_decoded / (video.fps or USUAL_FPS)
        people = [_person(person) for person in verdict.people] if verdict else []
        score = verdict.fake_probability if verdict else None  # not a still picture's, nor of who is no person
        return [Segment(0, 0.0, round(min(end, video.duration_s or end), 3), clip, score, people)]
    scored = {part["segment"]: part for part in (verdict.segments if verdict else None) or ()}
    scores = segment_scores(verdict) if verdict and scored else {}
    return [
        Segment(
            index,
            part["start_s"],
            part["end_s"],
            part["clip"] if index else clip,
            scores.get(index),
            scored.get(index, {}).get("people", []),
        )
        for index, part in enumerate(video.segments)
    ]


def coverage(video: Video) -> Coverage | None:
    """How much of the video was looked at; None before that."""
    spans = [(part.start_s, part.end_s) for part in segments_of(video, None)]
    return coverage_of(spans=spans, duration_s=video.duration_s) if spans else None


def coverage_of(*, spans: Sequence[tuple[float, float]], duration_s: float | None) -> Coverage:
    """Of parts (start, end) in seconds that do not overlap."""
    seconds = sum(end - start for start, end in spans)
    share = min(1.0, seconds / duration_s) if duration_s else None
    return Coverage(len(spans), round(seconds, 3), duration_s, None if share is None else round(share, 4))


def _person(person: dict[str, Any]) -> dict[str, Any]:
    return {"track": person["track"], "fake_probability": person["fake_probability"]}


def _seconds(seconds: float) -> str:
    """As people say it: 4.2 s, 75 s, 10 min, 1 h 3 min."""
    if seconds < 120:
        return numeral(f"{seconds:.1f}") + " s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
