"""The label action: one click in a row, a bulk action over ticked rows, or a form with a comment on the video's page.

All three end in one call of `services.reviews.record_review` per video, which appends a Review row.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.html import format_html
from django.views.decorators.http import require_POST
from unfold.decorators import action

from detection.admin.base import safe_next, video_url
from detection.errors import Refused
from detection.models import ReviewLabel, Video
from detection.services.reviews import record_review

PERMISSION = "detection.add_review"
# (label, symbol) in the order of the buttons; the text is the label's own.
BUTTONS = (
    (ReviewLabel.REAL, "verified_user"),
    (ReviewLabel.FAKE, "theater_comedy"),
    (ReviewLabel.NO_FACE, "no_accounts"),
    (ReviewLabel.UNSURE, "help"),
)


def can_label(request: HttpRequest) -> bool:
    return request.user.has_perm(PERMISSION)


@require_POST
def label_view(request: HttpRequest, video_id: uuid.UUID) -> HttpResponse:
    """Record one label (`label`, optional `comment`) and go back to `next`: the list as it was, or the video's page."""
    if not can_label(request):
        raise PermissionDenied
    label = request.POST.get("label", "")
    if label not in ReviewLabel.values:
        raise Http404("No such label.")
    video = get_object_or_404(Video, pk=video_id)
    back = safe_next(request, request.POST.get("next"), fallback=reverse("admin:detection_video_changelist"))
    try:
        record_review(video=video, reviewer=request.user, label=label, comment=request.POST.get("comment", "").strip())
    except Refused as refusal:
        messages.error(request, refusal.detail)
    else:
        messages.success(
            request,
            format_html(
                "Recorded: <strong>{}</strong> is labelled <strong>{}</strong>. "
                '<a class="dfd-link" href="{}">Change it</a>',
                video,
                ReviewLabel(label).label.lower(),
                reverse("admin:detection_video_change", args=(video.pk,)),
            ),
        )
    return HttpResponseRedirect(back)


def _bulk_action(label: ReviewLabel, symbol: str) -> Callable[..., None]:
    def act(self: LabellingMixin, request: HttpRequest, queryset: QuerySet[Video]) -> None:
        self.label_many(request, queryset, label)

    act.__name__ = f"label_{label.value}"
    return action(act, permissions=["label"], description=f"Label as: {label.label.lower()}", icon=symbol)


class LabellingMixin:
    """Bulk label actions for an admin of videos, and what its rows need for their one-click buttons."""

    actions = [f"label_{label.value}" for label, _ in BUTTONS]
    list_before_template = "admin/detection/includes/row_form.html"

    label_real = _bulk_action(*BUTTONS[0])
    label_fake = _bulk_action(*BUTTONS[1])
    label_no_face = _bulk_action(*BUTTONS[2])
    label_unsure = _bulk_action(*BUTTONS[3])

    def has_label_permission(self, request: HttpRequest) -> bool:
        return can_label(request)

    def label_many(self, request: HttpRequest, queryset: QuerySet[Video], label: ReviewLabel) -> None:
        if request.POST.get("select_across") == "1":
            messages.error(request, "Nothing was recorded: labels are given to rows that were on the screen.")
            return
        recorded = 0
        for video in queryset:
            try:
                record_review(video=video, reviewer=request.user, label=label.value)
                recorded += 1
            except Refused as refusal:
                messages.error(request, f"{video}: {refusal.detail}")
        if recorded:
            subject = "1 video is" if recorded == 1 else f"{recorded} videos are"
            messages.success(request, f"Recorded: {subject} labelled {label.label.lower()}.")


def button_context(request: HttpRequest, video: Video) -> dict[str, Any]:
    """Context of includes/label_buttons.html."""
    return {
        "video": video,
        "video_url": video_url(request, video.pk),
        "can_label": can_label(request),
        "buttons": [
            {"value": label.value, "text": label.label, "symbol": symbol, "current": video.label == label.value}
            for label, symbol in BUTTONS
        ],
    }
