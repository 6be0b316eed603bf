"""Representation of the faces of a video over REST."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from detection.api.serializers.videos import RowSerializer, probability_field
from detection.models import FaceFrame


class BoxSerializer(serializers.Serializer[FaceFrame]):
    """Pixels of the upright full frame."""

    x1 = serializers.FloatField()
    y1 = serializers.FloatField()
    x2 = serializers.FloatField()
    y2 = serializers.FloatField()


class FaceSerializer(RowSerializer[FaceFrame]):
    """Needs `scores` in its context: see selectors.frame_scores."""

    segment = serializers.IntegerField(source="segment_index", read_only=True, help_text="Of the video's `segments`.")
    timestamp = serializers.FloatField(source="timestamp_s", read_only=True, help_text="Seconds from the start.")
    box = BoxSerializer(source="*", read_only=True)
    probability = probability_field("The detector's, that it is a face.")
    fake_probability = serializers.SerializerMethodField(
        help_text="This frame's score in the current verdict; null where there is none."
    )
    image = serializers.HyperlinkedIdentityField(view_name="api:face-image", lookup_url_kwarg="face_id")
    still_picture = serializers.BooleanField(
        source="still",
        read_only=True,
        allow_null=True,
        help_text="Of a face that never moves: a poster or a photo.  Null where nobody looked.",
    )

    class Meta:
        model = FaceFrame
        fields = (
            "id", "track", "segment", "frame_number", "timestamp", "box", "probability", "fake_probability", "image",
            "still_picture",
        )  # fmt: skip
        read_only_fields = fields

    @extend_schema_field({"type": "number", "format": "double", "minimum": 0, "maximum": 1, "nullable": True})
    def get_fake_probability(self, face: FaceFrame) -> float | None:
        """Return the score of this face in the current verdict."""
        return self.context["scores"].get(str(face.pk))
