"""How the parts of a video that were looked at, and how much of it they are, look over REST."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.reverse import reverse

from detection.models import Verdict, Video
from detection.selectors.segments import Segment, coverage, segments_of


class SegmentPersonSerializer(serializers.Serializer[Any]):
    """A person in a segment."""

    track = serializers.IntegerField()
    fake_probability = serializers.FloatField(min_value=0, max_value=1, help_text="Of this person in this segment.")


class SegmentSerializer(serializers.Serializer[Any]):
    """A part of the video that was looked at."""

    start_s = serializers.FloatField(help_text="Seconds from the start of the video.")
    end_s = serializers.FloatField()
    fake_probability = serializers.FloatField(
        min_value=0, max_value=1, allow_null=True, help_text="Its highest person's; null where nobody was found."
    )
    people = SegmentPersonSerializer(many=True)
    clip = serializers.URLField(allow_null=True, help_text="Its frames, as they are.")


class CoverageSerializer(serializers.Serializer[Any]):
    """How much of the video was looked at."""

    segments = serializers.IntegerField()
    seconds = serializers.FloatField(help_text="Of all segments together.")
    duration_s = serializers.FloatField(allow_null=True)
    share = serializers.FloatField(min_value=0, max_value=1, allow_null=True)
    text = serializers.CharField(help_text="The same as a sentence.")


def segments_data(video: Video, verdict: Verdict | None, request: Request | None) -> list[dict[str, Any]]:
    """As SegmentSerializer has it."""
    return [
        {
            "start_s": segment.start_s,
            "end_s": segment.end_s,
            "fake_probability": segment.fake_probability,
            "people": segment.people,
            "clip": clip_url(video, segment, request),
        }
        for segment in segments_of(video, verdict)
    ]


def coverage_data(video: Video) -> dict[str, Any] | None:
    """As CoverageSerializer has it; None before the video was looked at."""
    seen = coverage(video)
    return seen.as_dict() if seen else None


def clip_url(video: Video, segment: Segment, request: Request | None = None) -> str | None:
    """Where the segment's clip is read; None where there is none."""
    if not segment.clip:
        return None
    if segment.index == 0:
        return reverse("api:video-media", kwargs={"video_id": video.pk, "kind": "clip"}, request=request)
    return reverse("api:segment-clip", kwargs={"video_id": video.pk, "number": segment.index}, request=request)
