"""Shared by all admin pages: read-only rows, a paginator that never counts a large table, safe return links."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib.admin import ShowFacets
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import FieldDoesNotExist
from django.core.paginator import Paginator
from django.db.models import Model
from django.db.models.constants import LOOKUP_SEP
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import Promise, cached_property
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.admin import ModelAdmin
from unfold.decorators import display

from detection.said import said

COUNT_LIMIT = 10_000
NOTHING = "-"
PAGE_HEADER = "X-DFD-Page"
USER_HEADER = "X-DFD-User"


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Count at most `COUNT_LIMIT` rows; rows beyond it are reached by a filter or a search."""

    template_name = "admin/detection/pagination.html"

    @cached_property
    def count(self) -> int:
        """Return the number of rows, at most `COUNT_LIMIT`."""
        rows: Any = self.object_list
        # Only keys: what a list shows beside its rows is not worked out for each that is counted.
        return int(rows.order_by().values("pk")[:COUNT_LIMIT].count())

    @property
    def count_is_bounded(self) -> bool:
        """Return whether there may be more rows than `count` says."""
        return self.count >= COUNT_LIMIT


class PageChangeList(ChangeList):
    """Fetch the keys of a page first, then its rows, and set `page_request` on each row.

    An index holds the keys in order, with every column that lists filter by; joined whole rows would be read for each
    row
    that is passed over or sorted.  A ModelAdmin is shared by all threads, so it cannot carry the request itself.
    """

    def get_results(self, request: HttpRequest) -> None:
        """Fill `result_list` with the rows of this page."""
        super().get_results(request)
        keys = list(self.result_list.values_list("pk", flat=True)) if self.result_count else []
        page = self.queryset.all()
        page.query.clear_where()  # said again, a filter would tempt a database to walk past all that it lets through
        rows: list[Any] = list(page.filter(pk__in=keys)) if keys else []
        for row in rows:
            row.page_request = request
        if not self.query and not self.has_active_filters:
            # Nothing is hidden, so the heading need not offer to show all.
            self.full_result_count = self.result_count
        self.result_list = rows


class ReadOnlyAdmin(ModelAdmin):
    """Show rows that only services write."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER  # a count per choice of each filter
    list_per_page = 25
    list_filter_submit = True
    list_fullwidth = True
    # "Select all 10,000" would act on rows that nobody has looked at.
    list_disable_select_all = True
    actions_selection_counter = True
    empty_value_display = NOTHING
    # What an empty list says, when nothing is filtered away.
    empty_title: str | Promise = gettext_lazy("Nothing here yet")
    empty_text: str | Promise = ""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the change list that fetches keys before rows."""
        return PageChangeList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow the list's own filters, and rows by their id or video.

        Of every other column an address could ask which rows have what value, also where the value is not shown.
        """
        name = lookup.split(LOOKUP_SEP, 1)[0]
        try:
            self.opts.get_field(name)
        except FieldDoesNotExist:
            return super().lookup_allowed(lookup, value, request)
        filters = [getattr(one, "parameter_name", one) for one in self.get_list_filter(request)]
        offered = {(one[0] if isinstance(one, tuple) else one).split(LOOKUP_SEP, 1)[0] for one in filters}
        return name in offered | {"id", "video"} and super().lookup_allowed(lookup, value, request)

    @display(description=gettext_lazy("Created"), ordering="created_at")
    def created(self, row: Any) -> SafeString | str:
        """Show when the row was created."""
        return moment(row.created_at)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the row with the request it is shown to, as `PageChangeList` does, or None."""
        row = super().get_object(request, object_id, from_field)
        if row is not None:
            row.page_request = request
        return row

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Serve the row's history; its sentences are stored in English."""
        response: HttpResponse = super().history_view(request, object_id, extra_context)
        for entry in (getattr(response, "context_data", None) or {}).get("action_list", ()):
            entry.change_message = said(entry.change_message)
        return response

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: rows are added by services."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse: rows are changed by services."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse, unless a subclass allows it."""
        return False


def badge(tone: str, text: object) -> SafeString:
    """Render a short text in a coloured pill; `tone` is a suffix of the CSS class `dfd-badge--`."""
    return format_html('<span class="dfd-badge dfd-badge--{}">{}</span>', tone, text)


def video_link(row: Any) -> SafeString:
    """Render a link to the page of a row's video, with the way back to the page that the row is shown on."""
    return format_html('<a class="dfd-link" href="{}">{}</a>', video_url(row.page_request, row.video_id), row.video)


def moment(value: datetime | None) -> SafeString | str:
    """Render a point in time: short text, with the exact time in `datetime` and `title`."""
    if value is None:
        return NOTHING
    local = timezone.localtime(value)
    return format_html(
        '<time class="dfd-nowrap" datetime="{}" title="{}">{}</time>',
        value.isoformat(),
        local.strftime("%Y-%m-%d %H:%M:%S %Z"),
        date_format(local, _("j M Y, H:i T")),
    )


def video_url(request: HttpRequest, video_id: object) -> str:
    """Return the URL of a video's page, with a link back to the list (filters, page, search) that it was opened from.

    A page that was itself opened from a list passes that list on, so that URLs do not grow.  A POST (a call of a
    script)
    names its page in the header `PAGE_HEADER`, as its own URL is not a page.
    """
    if request.method == "POST":
        page = safe_next(
            request, request.headers.get(PAGE_HEADER), fallback=reverse("admin:detection_video_changelist")
        )
    else:
        page = safe_next(request, request.GET.get("back"), fallback=request.get_full_path())
    return video_url_from(page, video_id)


def video_url_from(back: str, video_id: object) -> str:
    """Return the URL of a video's page with `back` as the page to return to."""
    return f"{reverse('admin:detection_video_change', args=(video_id,))}?{urlencode({'back': back})}"


def safe_next(request: HttpRequest, candidate: str | None, *, fallback: str) -> str:
    """Return `candidate` if it is a page of this host, else `fallback`."""
    if candidate and url_has_allowed_host_and_scheme(
        candidate, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    ):
        return candidate
    return fallback
