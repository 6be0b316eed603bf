"""Filters of the admin's lists; each stays on an indexed column of one table."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from typing import Any, ClassVar

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F, Func, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import DropdownFilter, RadioFilter, RangeDateFilter, TextFilter
from unfold.utils import parse_date_str

from detection.models import OPEN_STATES, ModelVersion, ReviewLabel, State

MOST_USERS = 100


def of_user(rows: QuerySet[Any], field: str, name: str) -> QuerySet[Any]:
    """Filter rows by the user in `field`: an exact name, else names that begin with it.

    Users are looked up first: with a join, a database would walk past the rows of everybody else.
    """
    if "\x00" in name:
        return rows.none()
    users = User.objects.order_by("username")
    ids = list(users.filter(username=name).values_list("pk", flat=True))
    ids = ids or list(users.filter(username__istartswith=name).values_list("pk", flat=True)[:MOST_USERS])
    if len(ids) == 1:
        return rows.filter(**{field: ids[0]})
    if connection.vendor == "sqlite" and ids:
        # It would sort all rows of these users; so it walks the rows in order and reads the user from the index.
        return rows.alias(_user=unsought(f"{field}_id")).filter(_user__in=ids)
    return rows.filter(**{f"{field}__in": ids})


def unsought(field: str) -> Func:
    """Return the column as an expression that SQLite does not look up in an index (a leading plus tells it so)."""
    return Func(F(field), template="+%(expressions)s")


class DateRangeFilter(RangeDateFilter):
    """Rows from one day to another, both included, as days begin in the site's time zone.

    unfold's own compares a moment with a date: Django then warns of a moment without a time zone, and of the last day
    only midnight is found.  What is no date limits nothing.
    """

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Limit the rows to the days of the request."""
        first, last = self._day("_from"), self._day("_to")
        if first is not None:
            queryset = queryset.filter(**{f"{self.parameter_name}__gte": _start_of(first)})
        if last is not None and last < date.max:
            queryset = queryset.filter(**{f"{self.parameter_name}__lt": _start_of(last + timedelta(days=1))})
        return queryset

    def _day(self, suffix: str) -> date | None:
        value = self.used_parameters.get(f"{self.parameter_name}{suffix}")
        return parse_date_str(value) if isinstance(value, str) else None


def _start_of(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))


class OwnerFilter(TextFilter):
    """Filter by the owner's name."""

    title = gettext_lazy("owner")
    parameter_name = "owner"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of that owner."""
        value = self.value()
        return of_user(queryset, "owner", value) if value else queryset


class StatusFilter(DropdownFilter):
    """Filter videos by status."""

    title = gettext_lazy("status")
    parameter_name = "status__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Offer every state."""
        return [(value, _(label)) for value, label in State.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the videos with that status."""
        value = self.value()
        if value == State.SUCCEEDED and connection.vendor == "sqlite":
            # Most videos succeed: found by this, nearly all would be walked for the few of a second filter.
            return queryset.alias(_status=unsought("status")).filter(_status=value)
        return queryset.filter(status=value) if value in State.values else queryset


class NeedsReviewFilter(RadioFilter):
    """Filter videos by whether their verdict needs review."""

    title = gettext_lazy("needs review")
    parameter_name = "needs_review"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Offer yes and no."""
        return [("yes", _("Yes")), ("no", _("No"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the videos whose verdict does or does not need review."""
        value = self.value()
        return queryset.filter(needs_review=value == "yes") if value in ("yes", "no") else queryset


class LabelFilter(DropdownFilter):
    """Filter videos by the label that people gave them."""

    title = gettext_lazy("label")
    parameter_name = "label"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Offer every label, and none."""
        return [("none", _("Not labelled")), *((value, _(text)) for value, text in ReviewLabel.choices)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the videos with that label."""
        value = self.value()
        if value == "none":
            return queryset.filter(label="")
        return queryset.filter(label=value) if value in ReviewLabel.values else queryset


class ModelVersionFilter(DropdownFilter):
    """Filter videos by the model version of their verdict."""

    title = gettext_lazy("model version")
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Offer the 50 newest model versions."""
        versions = ModelVersion.objects.order_by("-created_at")[:50]
        return [(str(version.pk), str(version)) for version in versions]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the videos judged by that version."""
        known = {value for value, _ in self.lookup_choices}
        value = self.value()
        return queryset.filter(verdict_model=value) if value in known else queryset


class ViewFilter(DropdownFilter):
    """Choose which part of a list is shown; the tabs above the list set it, and the first view is the default."""

    title = gettext_lazy("view")
    parameter_name = "view"
    all_option = None
    views: ClassVar[tuple[tuple[str, str | Promise, Q], ...]] = ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Offer the views."""
        return [(name, str(title)) for name, title, where in self.views]

    def value(self) -> str:
        """Return the name of the chosen view, or of the first one."""
        value = super().value()
        return value if value in {name for name, _, _ in self.views} else self.views[0][0]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of the chosen view."""
        return queryset.filter({name: where for name, _, where in self.views}[self.value()])


class NoFaceView(ViewFilter):
    """Views of the videos without a face."""

    # Not as "is not empty": no index serves that on Postgres, and it sees no contradiction to "is empty".
    views = (
        ("waiting", gettext_lazy("Waiting"), Q(label="")),
        ("labelled", gettext_lazy("Labelled"), Q(label__gt="")),
        ("all", gettext_lazy("All"), Q()),
    )


class PredictionView(ViewFilter):
    """Views of the predictions."""

    views = (
        ("waiting", gettext_lazy("Waiting for review"), Q(needs_review=True, label="")),
        ("labelled", gettext_lazy("Labelled"), Q(label__gt="")),
        ("all", gettext_lazy("All"), Q()),
    )


class AnalysisStateFilter(DropdownFilter):
    """Filter analyses by a state that the chosen view shows; other states are ignored."""

    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Offer the states of the chosen view."""
        shown = {"failed": (State.FAILED, State.DEAD), "open": OPEN_STATES, "all": tuple(State)}
        view = request.GET.get(AnalysisView.parameter_name, "failed")
        return [(state.value, _(state.label)) for state in shown.get(view, shown["failed"])]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the analyses in that state."""
        value = self.value()
        return queryset.filter(state=value) if value in {choice for choice, _ in self.lookup_choices} else queryset


class AnalysisView(ViewFilter):
    """Views of the analyses."""

    # A failure that a newer analysis has replaced asks for nothing any more; it is under "All".
    views = (
        ("failed", gettext_lazy("Failed and gave up"), Q(state__in=(State.FAILED, State.DEAD), replaced__in=[False])),
        ("open", gettext_lazy("Queued and running"), Q(state__in=OPEN_STATES)),
        ("all", gettext_lazy("All"), Q()),
    )
