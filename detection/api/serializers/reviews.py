"""Reviews over REST: what is sent and what is answered."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from detection.api.serializers import examples
from detection.api.serializers.fields import JsonIntegerField, JsonTextField
from detection.api.serializers.people import PersonAnswerSerializer, labels_of, people_data
from detection.api.serializers.videos import RowSerializer
from detection.models import Review, ReviewLabel, ReviewRole
from detection.services.reviews.people import MAX_PEOPLE, PeopleAnswer
from detection.services.reviews.reviews import MAX_COMMENT


@extend_schema_serializer(examples=[examples.REVIEW, examples.REVIEW_OF_PEOPLE])
class ReviewRequestSerializer(serializers.Serializer[Any]):
    """What somebody says of a video, of people in it, or of both."""

    label = serializers.ChoiceField(  # type: ignore[assignment]  # also a DRF attribute
        choices=ReviewLabel.choices, required=False, help_text="May be left out where it follows from `people`."
    )
    comment = JsonTextField(max_length=MAX_COMMENT, required=False, allow_blank=True, default="")
    people = PersonAnswerSerializer(  # type: ignore[call-arg]  # max_length is the list's
        many=True,
        required=False,
        max_length=MAX_PEOPLE,
        help_text="Answers for people by themselves; an empty list takes back what you said of them.  Left out, and"
        " with the same label as before, that stays.",
    )
    people_version = JsonIntegerField(
        required=False, min_value=0, help_text="The video's when you looked: refused if the people are others by now."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Turn `people` into what the service takes."""
        if "label" not in attrs and not attrs.get("people"):
            raise serializers.ValidationError({"label": "Say what the video is, or what its people are."}, "required")
        people, version = attrs.pop("people", None), attrs.pop("people_version", None)
        if people is not None:
            attrs["people"] = PeopleAnswer(labels_of(people), version)
        return attrs


class ReviewSerializer(RowSerializer[Review]):
    """What somebody said of a video, and what it counts for."""

    video = serializers.UUIDField(source="video_id", read_only=True)
    reviewer = serializers.CharField(source="reviewer.username", read_only=True)
    verdict = serializers.UUIDField(source="verdict_id", read_only=True, allow_null=True)
    counts_as = serializers.SerializerMethodField(
        help_text="`review` takes part in the video's label; `adjudication` settles it; `opinion` is what an owner"
        " who is no reviewer thinks: it is shown, and decides nothing."
    )
    people = serializers.SerializerMethodField(help_text="What was said of people by themselves.")
    people_version = serializers.SerializerMethodField(
        help_text="The video's at that time: of the people of another version it says nothing.  Null without `people`."
    )

    class Meta:
        model = Review
        fields = (
            "id", "video", "label", "people", "people_version", "comment", "reviewer", "counts_as", "verdict",
            "created_at",
        )  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(serializers.ChoiceField(choices=("review", "adjudication", "opinion")))
    def get_counts_as(self, review: Review) -> str:
        """Return what the review counts for."""
        named = {ReviewRole.OPINION: "opinion", ReviewRole.ADJUDICATION: "adjudication"}
        return named.get(ReviewRole(review.role), "review")

    @extend_schema_field(PersonAnswerSerializer(many=True))
    def get_people(self, review: Review) -> list[dict[str, Any]]:
        """Return what was said of people, by track."""
        return people_data(review.people)

    @extend_schema_field({"type": "integer", "nullable": True})
    def get_people_version(self, review: Review) -> int | None:
        """Return the version of the people that was meant, or None where none was."""
        return (review.people_version or 0) if review.people else None
