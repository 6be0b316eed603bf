"""Filters of the lists.  Each one stays on an indexed column of one table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from django.db.models import F, Q, QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import DropdownFilter, TextFilter

from detection.models import OPEN_STATES, ModelVersion, ReviewLabel, State


class OwnerFilter(TextFilter):
    title = "owner"
    parameter_name = "owner"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(owner__username__istartswith=value) if value else queryset


class LabelFilter(DropdownFilter):
    title = "label"
    parameter_name = "label"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [("none", "Not labelled"), *ReviewLabel.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value == "none":
            return queryset.filter(label="")
        return queryset.filter(label=value) if value in ReviewLabel.values else queryset


class ModelVersionFilter(DropdownFilter):
    title = "model version"
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        versions = ModelVersion.objects.order_by("-created_at")[:50]
        return [(str(version.pk), str(version)) for version in versions]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        known = {value for value, _ in self.lookup_choices}
        value = self.value()
        return queryset.filter(current_verdict__model_version=value) if value in known else queryset


class ViewFilter(DropdownFilter):
    """Which part of a list is shown; the tabs above the list set it, and the first view is the default one."""

    title = "view"
    parameter_name = "view"
    all_option = None
    views: ClassVar[tuple[tuple[str, str, Q], ...]] = ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(name, title) for name, title, _ in self.views]

    def value(self) -> str:
        value = super().value()
        return value if value in {name for name, _, _ in self.views} else self.views[0][0]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter({name: where for name, _, where in self.views}[self.value()])


class NoFaceView(ViewFilter):
    views = (
        ("waiting", "Waiting", Q(label="")),
        ("labelled", "Labelled", ~Q(label="")),
        ("all", "All", Q()),
    )


class PredictionView(ViewFilter):
    views = (
        ("waiting", "Waiting for review", Q(needs_review=True, label="")),
        ("labelled", "Labelled", ~Q(label="")),
        ("all", "All", Q()),
    )


class AnalysisView(ViewFilter):
    # A failure that a newer analysis has replaced asks for nothing any more; it is under "All".
    views = (
        (
            "failed",
            "Failed and gave up",
            Q(state__in=(State.FAILED, State.DEAD), video__current_analysis=F("pk")),
        ),
        ("open", "Queued and running", Q(state__in=OPEN_STATES)),
        ("all", "All", Q()),
    )
