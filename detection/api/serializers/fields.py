"""Fields of what is sent."""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from detection.errors import Refused
from detection.services.uploads.uploads import check_metadata


class JsonBooleanField(serializers.BooleanField):
    """JSON's true or false; Django REST framework's own takes 0 and "off" as well."""

    def to_internal_value(self, data: Any) -> bool:
        """Return it; raise ValidationError for another type."""
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class JsonTextField(serializers.CharField):
    """JSON's strings; Django REST framework's own takes numbers as well."""

    def to_internal_value(self, data: Any) -> str:
        """Return it, trimmed; raise ValidationError for another type."""
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class JsonIntegerField(serializers.IntegerField):
    """JSON's whole numbers, 3.0 among them; Django REST framework's own takes strings of digits as well."""

    def to_internal_value(self, data: Any) -> int:
        """Return it; raise ValidationError for another type."""
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        return super().to_internal_value(data)


# In a form, OpenAPI means by an object: a part that holds JSON.
@extend_schema_field({"type": "object", "additionalProperties": {}})
class MetadataField(serializers.Field[dict[str, Any], str, dict[str, Any], Any]):
    """A JSON object in a form field."""

    default_error_messages = {"invalid": "This must be a JSON object."}

    def to_internal_value(self, data: str) -> dict[str, Any]:
        """Return it; raise ValidationError for what is no plain small object."""
        try:
            value = json.loads(data) if data else {}
        except (TypeError, ValueError, RecursionError):
            self.fail("invalid")
        if not isinstance(value, dict):
            self.fail("invalid")
        try:
            check_metadata(value)
        except Refused as refusal:
            raise serializers.ValidationError(refusal.detail, code="invalid") from refusal
        return value


@extend_schema_field({"type": "string", "format": "binary", "minLength": 1, "maxLength": settings.DFD_MAX_UPLOAD_BYTES})
class VideoFileField(serializers.FileField):
    """Bytes of a video; looked at and refused by the service, which has a code for each reason."""
