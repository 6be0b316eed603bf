"""What is said of the people in a video, over REST."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from detection.api.serializers.fields import JsonIntegerField
from detection.models import PersonLabel


class PersonAnswerSerializer(serializers.Serializer[Any]):
    """What one of the people in a video is."""

    track = JsonIntegerField(min_value=0, max_value=32767, help_text="The person, as of the faces.")
    label = serializers.ChoiceField(  # type: ignore[assignment]  # also a DRF attribute
        choices=PersonLabel.choices,
        help_text="`not_a_person`: a poster, a screen, a drawing, a wrong detection; `unsure`: cannot tell.",
    )


class WithEverybodySerializer(serializers.Serializer[Any]):
    """What the model says of everybody, also of those who are no people."""

    label = serializers.CharField()  # type: ignore[assignment]
    fake_probability = serializers.FloatField(min_value=0, max_value=1)
    track = serializers.IntegerField()
    needs_review = serializers.BooleanField()
    review_reasons = serializers.ListField(child=serializers.CharField())
    assessment = serializers.CharField(allow_blank=True)


def people_data(people: Mapping[str, str] | None) -> list[dict[str, Any]]:
    """Return {track: PersonLabel} as PersonAnswerSerializer has it, by track."""
    return [{"track": int(track), "label": label} for track, label in sorted_people(people)]


def sorted_people(people: Mapping[str, str] | None) -> list[tuple[str, str]]:
    """Return (track, label) by track."""
    return sorted((people or {}).items(), key=lambda one: int(one[0]))


def labels_of(people: list[dict[str, Any]]) -> dict[int, str]:
    """Return what was sent as {track: PersonLabel}.  Raises ValidationError where a person is named twice."""
    labels = {one["track"]: str(one["label"]) for one in people}
    if len(labels) < len(people):
        raise serializers.ValidationError({"people": "A person is named twice."}, code="invalid")
    return labels
