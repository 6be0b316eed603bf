"""Decisions for many videos at once, each with its videos and a revert button."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from detection.admin.base import ReadOnlyAdmin, badge, video_url_from
from detection.admin.filters import DateRangeFilter
from detection.admin.review.labelling import can_label
from detection.admin.rows import LABEL_TONES
from detection.errors import Refused
from detection.models import Review, ReviewBatch
from detection.said import said
from detection.selectors.blindness import withheld_ids
from detection.services.reviews.workspace import revert_batch

SHOWN = 200


@admin.register(ReviewBatch)
class ReviewBatchAdmin(ReadOnlyAdmin):
    """The list of bulk decisions and the page of one."""

    list_display = ("created", "summary", "reviewer", "comment", "revert_button")
    list_display_links = ("summary",)
    list_filter = (("label", ChoicesDropdownFilter), ("created_at", DateRangeFilter))
    list_before_template = change_form_before_template = "admin/detection/includes/row_form.html"
    ordering = ("-created_at", "-id")
    sortable_by = ("created",)
    actions = ()
    fields = ("created_at", "summary", "reviewer", "comment", "revert_button", "videos")
    readonly_fields = ("summary", "revert_button", "videos")
    empty_title = gettext_lazy("No decision for many videos yet")
    empty_text = gettext_lazy(
        "Tick videos on a contact sheet (Review, Contact sheet): each such decision is kept here as one event."
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        """Return the batches with their reviewers and reversals."""
        return super().get_queryset(request).select_related("undone_by", "undoes").prefetch_related("reviewer")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether the user may view reviews."""
        return request.user.has_perm("detection.view_review")

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may view reviews."""
        return self.has_view_permission(request)

    def get_urls(self) -> list[URLPattern]:
        """Add the URL of the revert button."""
        revert = self.admin_site.admin_view(revert_view)
        return [path("<uuid:batch_id>/revert/", revert, name="detection_reviewbatch_revert"), *super().get_urls()]

    @display(description=gettext_lazy("Decision"))
    def summary(self, batch: ReviewBatch) -> SafeString:
        """Show the number of videos and the label."""
        videos = ngettext("%(n)s video", "%(n)s videos", batch.size) % {"n": batch.size}
        if batch.undoes:
            return format_html(_("{} taken back: {}"), videos, batch.undoes.get_label_display())
        return format_html("{} {}", videos, badge(LABEL_TONES.get(batch.label, "grey"), batch.get_label_display()))

    @display(description=gettext_lazy("Revert"))
    def revert_button(self, batch: ReviewBatch) -> SafeString | str:
        """Show the revert button, or when the batch was reverted."""
        if batch.undoes:
            return _("A reversal")
        if hasattr(batch, "undone_by"):
            return _("Reverted %(when)s") % {"when": f"{batch.undone_by.created_at:%Y-%m-%d %H:%M}"}
        return format_html(
            '<button type="submit" form="dfd-row-form" formaction="{}" class="dfd-button">{}</button>',
            reverse("admin:detection_reviewbatch_revert", args=(batch.pk,)),
            _("Revert all of it"),
        )

    @display(description=gettext_lazy("Videos"))
    def videos(self, batch: ReviewBatch) -> SafeString:
        """List at most `SHOWN` videos of the batch, without those withheld from the user."""
        rows = list(Review.objects.filter(batch=batch).select_related("video").only("video__original_name")[:SHOWN])
        withheld = withheld_ids(batch.page_request.user, [row.video_id for row in rows])  # type: ignore[attr-defined]
        rows = [row for row in rows if row.video_id not in withheld]  # here the label of all is told
        back = reverse("admin:detection_reviewbatch_change", args=(batch.pk,))
        return format_html_join(
            "",
            '<div><a class="dfd-link" href="{}">{}</a></div>',
            ((video_url_from(back, row.video_id), row.video) for row in rows),
        )


@require_POST
def revert_view(request: HttpRequest, batch_id: uuid.UUID) -> HttpResponse:
    """Revert a batch and redirect to the list."""
    if not can_label(request):
        raise PermissionDenied
    batch = get_object_or_404(ReviewBatch, pk=batch_id)
    try:
        revert = revert_batch(batch=batch, by=request.user)  # type: ignore[arg-type]
    except Refused as refusal:
        messages.error(request, said(refusal.detail))
    else:
        sentence = ngettext(
            "Reverted: the label of %(n)s video is taken back.",
            "Reverted: the labels of %(n)s videos are taken back.",
            revert.size,
        )
        messages.success(request, sentence % {"n": revert.size})
    return HttpResponseRedirect(reverse("admin:detection_reviewbatch_changelist"))
