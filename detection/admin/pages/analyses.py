"""Analyses: what failed and why, with a button to requeue; what runs and waits."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST
from unfold.decorators import action, display

from detection.admin.base import NOTHING, ReadOnlyAdmin, badge, safe_next, video_url
from detection.admin.filters import AnalysisStateFilter, AnalysisView, DateRangeFilter
from detection.admin.rows import STATUS_TONES
from detection.errors import Refused
from detection.models import OPEN_STATES, Analysis, Video
from detection.said import said
from detection.services.jobs import analyses

OPERATORS_FIELDS = ("last_error_text", "worker")
_NAMED = Video.objects.only("original_name")


def can_requeue(request: HttpRequest) -> bool:
    """Return whether the user may requeue analyses."""
    return request.user.has_perm("detection.change_video")


def requeue(request: HttpRequest, video: Video) -> None:
    """Queue a new analysis and log it in the admin's history.  Raises Refused."""
    analysis = analyses.requeue(video=video)
    admin.site.get_model_admin(Analysis).log_change(request, analysis, "Queued again.")


@require_POST
def requeue_view(request: HttpRequest, video_id: uuid.UUID) -> HttpResponse:
    """Queue a new analysis of a video and redirect to `next`."""
    if not can_requeue(request):
        raise PermissionDenied
    video = get_object_or_404(Video, pk=video_id)
    try:
        requeue(request, video)
    except Refused as refusal:
        messages.error(request, said(refusal.detail))
    else:
        messages.success(request, format_html(_("{} is queued again."), format_html("<strong>{}</strong>", video)))
    fallback = reverse("admin:detection_analysis_changelist")
    return HttpResponseRedirect(safe_next(request, request.POST.get("next"), fallback=fallback))


@admin.register(Analysis)
class AnalysisAdmin(ReadOnlyAdmin):
    """The list of analyses, failed ones first to be seen, and the page of one."""

    list_display = ("video_cell", "state_badge", "problem", "attempts", "worker", "created", "requeue_button")
    list_display_links = None
    list_filter = (AnalysisView, AnalysisStateFilter, ("created_at", DateRangeFilter))
    list_before_template = "admin/detection/includes/row_form.html"
    ordering = ("-created_at", "-id")
    sortable_by = ("created",)
    search_fields = ("error_code__exact", "id__exact", "video__id__exact")
    search_help_text = gettext_lazy("Error code, task id or video id")
    actions = ["requeue"]
    readonly_fields = ("video_cell", "state_badge", "last_error_text", "timings_table")
    fieldsets = (
        (None, {"fields": ("video_cell", "state_badge", "stage", "progress", "attempts", "worker")}),
        (
            gettext_lazy("Times"),
            {"fields": ("created_at", "started_at", "finished_at", "not_before", "published_at", "lease_until")},
        ),
        (gettext_lazy("Failure"), {"fields": ("error_code", "error_detail", "last_error_text")}),
        (gettext_lazy("Seconds per step"), {"fields": ("timings_table",)}),
    )
    empty_title = gettext_lazy("Nothing has failed")
    empty_text = gettext_lazy(
        "An analysis that fails, or gives up after three attempts, is listed here with its reason."
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Analysis]:
        """Return the analyses with their videos' names."""
        rows: QuerySet[Analysis] = super().get_queryset(request)
        # The video is fetched apart: "failed" is sorted, and what is joined would be carried along.
        return rows.defer("last_error", "timings").prefetch_related(Prefetch("video", _NAMED))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Leave out traceback and worker, which show paths of the machine, for users who cannot requeue."""
        if can_requeue(request):
            return super().get_fieldsets(request, obj)
        return [
            (title, {**options, "fields": tuple(name for name in options["fields"] if name not in OPERATORS_FIELDS)})
            for title, options in super().get_fieldsets(request, obj)
        ]

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Search by analysis id, video id or error code."""
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            wanted = uuid.UUID(term)
        except ValueError:
            return queryset.filter(error_code=term.replace("\x00", "")), False
        return queryset.filter(pk=wanted) | queryset.filter(video=wanted), False

    def get_urls(self) -> list[URLPattern]:
        """Add the URL of the requeue button."""
        requeue = self.admin_site.admin_view(requeue_view)
        return [path("requeue/<uuid:video_id>/", requeue, name="detection_analysis_requeue"), *super().get_urls()]

    def has_requeue_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may requeue analyses."""
        return can_requeue(request)

    @action(description=gettext_lazy("Requeue"), permissions=["requeue"], icon="refresh")
    def requeue(self, request: HttpRequest, queryset: QuerySet[Analysis]) -> None:
        """Requeue the ticked rows, each in its own transaction."""
        if request.POST.get("select_across") == "1":
            messages.error(request, _("Nothing was queued: tick the rows to try again."))
            return
        queued = 0
        for video in Video.objects.filter(pk__in=queryset.order_by().values("video")):
            try:
                requeue(request, video)
                queued += 1
            except Refused as refusal:
                messages.error(request, f"{video}: {said(refusal.detail)}")
        if queued:
            sentence = ngettext("%(n)s video is queued again.", "%(n)s videos are queued again.", queued)
            messages.success(request, sentence % {"n": queued})

    @display(description=gettext_lazy("Video"))
    def video_cell(self, analysis: Analysis) -> SafeString:
        """Show the video's name as a link."""
        request = getattr(analysis, "page_request", None)
        url = (
            video_url(request, analysis.video_id)
            if request
            else reverse("admin:detection_video_change", args=(analysis.video_id,))
        )
        return format_html('<a class="dfd-link dfd-strong" href="{}">{}</a>', url, analysis.video)

    @display(description=gettext_lazy("State"))
    def state_badge(self, analysis: Analysis) -> SafeString:
        """Show the state."""
        return badge(STATUS_TONES.get(analysis.state, "grey"), analysis.get_state_display())

    @display(description=gettext_lazy("What happened"))
    def problem(self, analysis: Analysis) -> SafeString:
        """Show the error's code and sentence."""
        return render_to_string("admin/detection/includes/problem_cell.html", {"analysis": analysis})

    @display(description=gettext_lazy("Last error, for the operator"))
    def last_error_text(self, analysis: Analysis) -> SafeString | str:
        """Show the traceback of the last error."""
        if not analysis.last_error:
            return NOTHING
        return format_html('<pre class="dfd-pre">{}</pre>', analysis.last_error)

    @display(description=gettext_lazy("Timings"))
    def timings_table(self, analysis: Analysis) -> SafeString:
        """Show the seconds of each step."""
        timings = analysis.timings if isinstance(analysis.timings, dict) else {}
        rows = [(str(name), value) for name, value in timings.items() if isinstance(value, int | float)]
        return render_to_string("admin/detection/includes/pairs.html", {"pairs": rows})

    @display(description="")
    def requeue_button(self, analysis: Any) -> SafeString | str:
        """Show the requeue button of an analysis that has ended."""
        if analysis.state in OPEN_STATES or not can_requeue(analysis.page_request):
            return ""
        return render_to_string("admin/detection/includes/requeue_button.html", {"video_id": analysis.video_id})
