"""Filters of the list of videos; an invalid value is an error, never ignored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import django_filters
from django import forms
from django.db.models import Q, QuerySet
from django_filters.fields import IsoDateTimeField
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field

from detection.models import ReviewLabel, State, VerdictLabel, Video

PUBLIC_STATES = [(state.value, state.label) for state in State if state not in (State.DEAD, State.CANCELLED)]
"""What clients see: `dead` and `cancelled` are told as `failed`, with the codes `gave_up` and `cancelled`."""


class _Boolean(forms.Field):
    def to_python(self, value: Any) -> bool | None:
        if value in (None, ""):
            return None
        try:
            return {"true": True, "1": True, "false": False, "0": False}[str(value).lower()]
        except KeyError:
            raise forms.ValidationError("This must be true or false.", code="invalid") from None


class _Moment(IsoDateTimeField):
    def to_python(self, value: Any) -> datetime | None:
        moment = super().to_python(value)
        if moment is not None:
            try:
                moment.astimezone(UTC)
            except OverflowError:  # the years 1 and 9999 may leave the calendar on the way to UTC
                raise forms.ValidationError("This is outside of the calendar.", code="invalid") from None
        return moment


class _BooleanFilter(django_filters.Filter):
    field_class = _Boolean


class _MomentFilter(django_filters.IsoDateTimeFilter):
    field_class = _Moment


class _Strict(forms.Form):
    """A filter that is named without a value is an error as well, or a client's empty variable would list all."""

    def clean(self) -> dict[str, Any]:
        for name in self.fields:
            if name in self.data and self.cleaned_data.get(name, "given") in (None, ""):
                self.add_error(name, forms.ValidationError("This must not be empty.", code="invalid"))
        return self.cleaned_data


class VideoFilters(django_filters.FilterSet):
    """Filters, combined with AND."""

    status = django_filters.ChoiceFilter(choices=PUBLIC_STATES, method="by_status", label="Where the video stands")
    verdict = django_filters.ChoiceFilter(
        field_name="verdict_label", choices=VerdictLabel.choices, label="What the standing verdict says"
    )
    label = django_filters.ChoiceFilter(
        choices=ReviewLabel.choices, label="What reviewers say; unsure while they differ"
    )
    needs_review = extend_schema_field(OpenApiTypes.BOOL)(
        _BooleanFilter(label="Whether the standing verdict asks for a person")
    )
    external_id = extend_schema_field(
        {"type": "string", "minLength": 1, "maxLength": 200, "description": "The client's own name for it, exactly"}
    )(django_filters.CharFilter(max_length=200, strip=False))
    created_after = _MomentFilter(field_name="created_at", lookup_expr="gte", label="Then or later (ISO 8601)")
    created_before = _MomentFilter(field_name="created_at", lookup_expr="lt", label="Earlier than (ISO 8601)")

    class Meta:
        model = Video
        form = _Strict
        fields: list[str] = []

    def filter_queryset(self, queryset: QuerySet[Video]) -> QuerySet[Video]:
        """Leave out withheld videos when filtering by what is withheld."""
        rows = super().filter_queryset(queryset)
        told = (self.form.cleaned_data.get(name) for name in ("verdict", "label", "needs_review"))
        return rows.filter(withheld=False) if any(value not in (None, "") for value in told) else rows

    def by_status(self, queryset: QuerySet[Video], name: str, value: str) -> QuerySet[Video]:
        """Filter by public status: `failed` includes `dead`."""
        if value == State.FAILED:
            return queryset.filter(Q(status=State.FAILED) | Q(status=State.DEAD) | Q(status=State.CANCELLED))
        return queryset.filter(status=value)
