"""Where in a video people were looked for, and what each part scores, for the timeline of the pages."""

from __future__ import annotations

from typing import Any

from django.urls import reverse

from detection.admin.review.evidence import score_level, score_texts
from detection.models import Verdict, Video
from detection.selectors.segments import Segment, coverage, segments_of


def timeline_context(video: Video, verdict: Verdict | None) -> dict[str, Any]:
    """`coverage`: how much was looked at, as a sentence; `timeline`: what timeline.js draws, None of one segment."""
    seen = coverage(video)
    segments = segments_of(video, verdict)
    return {
        "coverage": seen.text if seen else "",
        "timeline": {
            "duration_s": max(video.duration_s or 0.0, segments[-1].end_s),
            "segments": [_segment(video, segment, verdict) for segment in segments],
        }
        if len(segments) > 1
        else None,
    }


def _segment(video: Video, segment: Segment, verdict: Verdict | None) -> dict[str, Any]:
    score = segment.fake_probability
    return {
        "start_s": segment.start_s,
        "end_s": segment.end_s,
        "clip_url": _clip_url(video, segment),
        "score": score,
        "text": score_texts(score, verdict.threshold)[0] if verdict and score is not None else "",
        "level": score_level(score, verdict.threshold) if verdict else "",
        "people": [person["track"] + 1 for person in segment.people],
    }


def _clip_url(video: Video, segment: Segment) -> str | None:
    if not segment.clip:
        return None
    if segment.index == 0:
        return reverse("api:video-media", kwargs={"video_id": video.pk, "kind": "clip"})
    return reverse("api:segment-clip", kwargs={"video_id": video.pk, "number": segment.index})
