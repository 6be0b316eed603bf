"""Known answers: videos that check their reviewers.  Only users who may adjudicate see that there are any."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from detection.admin.base import ReadOnlyAdmin, badge, safe_next, video_link
from detection.admin.rows import LABEL_TONES
from detection.errors import Refused
from detection.models import GoldVideo, Video
from detection.said import said
from detection.services.reviews import gold


def may_know(request: HttpRequest) -> bool:
    """Return whether the user may see and set known answers."""
    return request.user.has_perm("detection.adjudicate_review")


@admin.register(GoldVideo)
class GoldVideoAdmin(ReadOnlyAdmin):
    """The list of known answers."""

    list_display = ("created", "video_link", "known_label", "reason", "set_by")
    list_display_links = None
    list_filter = (("label", ChoicesDropdownFilter),)
    ordering = ("-created_at",)
    sortable_by = ("created",)
    actions = ()
    empty_title = gettext_lazy("No known answer yet")
    empty_text = gettext_lazy(
        "Open a video whose answer is certain and make it one, under “Known answer” on its page. It is then shown in"
        " the workspace now and then, to check the readers, who are not told."
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        """Return the rows with their videos and who set them."""
        return super().get_queryset(request).prefetch_related("video", "set_by")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether the user may see known answers."""
        return may_know(request)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may see known answers."""
        return may_know(request)

    @display(description=gettext_lazy("Video"))
    def video_link(self, row: GoldVideo) -> SafeString:
        """Link to the video."""
        return video_link(row)

    @display(description=gettext_lazy("Answer"))
    def known_label(self, row: GoldVideo) -> SafeString:
        """Show the known answer."""
        return badge(LABEL_TONES.get(row.label, "grey"), row.get_label_display())


@require_POST
def gold_view(request: HttpRequest, video_id: uuid.UUID) -> HttpResponse:
    """Set (`label`, `reason`) or, with `label` empty, unset the known answer of a video; redirect to its page."""
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
            messages.success(request, _("From now on this video checks its readers."))
        else:
            gold.unset_gold(video=video, by=request.user)  # type: ignore[arg-type]
            messages.success(request, _("This video checks nobody any more; its label stays."))
    except Refused as refusal:
        messages.error(request, said(refusal.detail))
    return HttpResponseRedirect(back)
