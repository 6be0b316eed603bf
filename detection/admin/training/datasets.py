"""Imported data sets: their videos, with what the sets say of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter
from unfold.decorators import display

from detection.admin.base import NOTHING, PageChangeList, ReadOnlyAdmin, badge, video_url
from detection.admin.rows import LABEL_TONES
from detection.admin.search import beginning
from detection.models import DatasetVideo, IdentitySide, Split
from detection.selectors.videos import dataset_names

SPLITS = (("train", gettext_lazy("Training")), ("val", gettext_lazy("Validation")), ("test", gettext_lazy("Test")))


class DatasetFilter(DropdownFilter):
    """Filter by data set."""

    title = gettext_lazy("data set")
    parameter_name = "dataset"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Offer every imported data set."""
        return [(name, name) for name in dataset_names()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the videos of that data set."""
        value = self.value()
        return queryset.filter(dataset=value) if value else queryset


class SplitFilter(DropdownFilter):
    """Filter by the data set's own split."""

    title = gettext_lazy("split of the data set")
    parameter_name = "split"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        """Offer the splits, and none."""
        return [*((value, str(text)) for value, text in SPLITS), ("none", _("Says nothing"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the videos in that split."""
        value = self.value()
        if value == "none":
            return queryset.filter(official_split="")
        return queryset.filter(official_split=value) if value in dict(SPLITS) else queryset


class DatasetChangeList(PageChangeList):
    """Looks up the splits of the identities on this page, in one query."""

    def get_results(self, request: HttpRequest) -> None:
        """Set `split_here` on each row of the page."""
        super().get_results(request)
        rows: Any = self.result_list
        splits = dict(IdentitySide.objects.filter(name__in=[row.identity for row in rows]).values_list("name", "side"))
        for row in rows:
            row.split_here = splits.get(row.identity, "")


@admin.register(DatasetVideo)
class DatasetVideoAdmin(ReadOnlyAdmin):
    """The list of data sets' videos."""

    list_display = (
        "path_cell",
        "dataset",
        "label_badge",
        "identity_text",
        "donor_text",
        "method",
        "split",
        "split_here",
    )
    list_display_links = None
    list_filter = (DatasetFilter, ("label", ChoicesDropdownFilter), SplitFilter)
    ordering = ("dataset", "path")
    sortable_by = ()
    search_fields = ("path",)  # shows the box; `get_search_results` decides
    search_help_text = gettext_lazy("Beginning of the path")
    actions = ()
    empty_title = gettext_lazy("No data set has been imported")
    empty_text = gettext_lazy(
        "manage.py import_dataset FOLDER brings in FaceForensics++, Celeb-DF, DFDC or a folder of your own."
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the change list that looks up splits."""
        return DatasetChangeList

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Search by the beginning of the path."""
        term = search_term.strip()
        if not term or "\x00" in term:
            return queryset, False
        return queryset.filter(beginning("path", term)), False

    @display(description=gettext_lazy("Path"))
    def path_cell(self, row: DatasetVideo) -> SafeString:
        """Show the path, as a link for users who may view videos."""
        request = getattr(row, "page_request", None)
        if request is None or not request.user.has_perm("detection.view_video"):
            return format_html('<span class="dfd-wrap">{}</span>', row.path)
        url = video_url(request, row.video_id)
        return format_html('<a class="dfd-link dfd-wrap" href="{}">{}</a>', url, row.path)

    @display(description=gettext_lazy("Label"))
    def label_badge(self, row: DatasetVideo) -> SafeString:
        """Show the label."""
        return badge(LABEL_TONES.get(row.label, "grey"), row.get_label_display())

    @display(description=gettext_lazy("Identity"))
    def identity_text(self, row: DatasetVideo) -> SafeString:
        """Show who is seen."""
        return format_html('<span class="dfd-mono dfd-wrap">{}</span>', row.identity)

    @display(description=gettext_lazy("Donor"))
    def donor_text(self, row: DatasetVideo) -> SafeString | str:
        """Show whose face was put in."""
        return format_html('<span class="dfd-mono dfd-wrap">{}</span>', row.donor) if row.donor else NOTHING

    @display(description=gettext_lazy("Its own split"))
    def split(self, row: DatasetVideo) -> str:
        """Show the data set's own split."""
        return str(dict(SPLITS).get(row.official_split, row.official_split) or NOTHING)

    @display(description=gettext_lazy("Split here"))
    def split_here(self, row: Any) -> str:
        """Show the split of the identity in this installation."""
        split = getattr(row, "split_here", "")
        return _(Split(split).label) if split in Split.values else NOTHING
