"""Known answers: the videos that check their readers.  Only who settles disagreements sees that there are any."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from detection.admin.base import ReadOnlyAdmin, safe_next, video_url
from detection.admin.rows import LABEL_TONES
from detection.errors import Refused
from detection.models import GoldVideo, Video
from detection.services.reviews import gold


def may_know(request: HttpRequest) -> bool:
    return request.user.has_perm("detection.adjudicate_review")


@admin.register(GoldVideo)
class GoldVideoAdmin(ReadOnlyAdmin):
    list_display = ("created", "video_link", "known_label", "reason", "set_by")
    list_display_links = None
    list_filter = (("label", ChoicesDropdownFilter),)
    ordering = ("-created_at",)
    sortable_by = ("created",)
    actions = ()
    empty_title = "No known answer yet"
    empty_text = (
        "Open a video whose answer is certain and make it one, under “Known answer” on its page. It is then shown in"
        " the workspace now and then, to check the readers, who are not told."
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("video", "set_by")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may_know(request)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return may_know(request)

    @display(description="Video")
    def video_link(self, row: GoldVideo) -> SafeString:
        url = video_url(row.page_request, row.video_id)  # type: ignore[attr-defined]
        return format_html('<a class="dfd-link" href="{}">{}</a>', url, row.video)

    @display(description="Answer")
    def known_label(self, row: GoldVideo) -> SafeString:
        tone = LABEL_TONES.get(row.label, "grey")
        return format_html('<span class="dfd-badge dfd-badge--{}">{}</span>', tone, row.get_label_display())


@require_POST
def gold_view(request: HttpRequest, video_id: uuid.UUID) -> HttpResponse:
    """Set (`label`, `reason`) or with `label` empty unset the known answer of a video; back to its page."""
    if not may_know(request):
        raise PermissionDenied
    video = get_object_or_404(Video, pk=video_id)
    back = safe_next(
        request, request.POST.get("next"), fallback=reverse("admin:detection_video_change", args=(video_id,))
    )
    label = request.POST.get("label", "")
    try:
        if label:
            gold.set_gold(video=video, label=label, reason=request.POST.get("reason", ""), by=request.user)  # type: ignore[arg-type]
            messages.success(request, "From now on this video checks its readers.")
        else:
            gold.unset_gold(video=video, by=request.user)  # type: ignore[arg-type]
            messages.success(request, "This video checks nobody any more; its label stays.")
    except Refused as refusal:
        messages.error(request, refusal.detail)
    return HttpResponseRedirect(back)
