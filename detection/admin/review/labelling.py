"""The label buttons of a list's row and of a video's page.

Both end in `services.reviews.reviews.record_review`, which appends a row.  Ticked rows open a contact sheet.
"""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST
from unfold.decorators import action

from detection.admin.base import safe_next, video_url
from detection.errors import Refused
from detection.localized import within
from detection.models import ReviewLabel, Video
from detection.said import said
from detection.services.reviews.reviews import record_review

PERMISSION = "detection.add_review"
# (label, symbol) in the order of the buttons; the text is the label's own.
BUTTONS = (
    (ReviewLabel.REAL, "verified_user"),
    (ReviewLabel.FAKE, "theater_comedy"),
    (ReviewLabel.NO_FACE, "no_accounts"),
    (ReviewLabel.UNSURE, "help"),
)


def can_label(request: HttpRequest) -> bool:
    """Return whether the user may add reviews."""
    return request.user.has_perm(PERMISSION)


@require_POST
def label_view(request: HttpRequest, video_id: uuid.UUID) -> HttpResponse:
    """Record a `label`, with an optional `comment`, and redirect to `next`."""
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
        messages.error(request, said(refusal.detail))
    else:
        sentence = _("Recorded: {} is labelled {}.")
        if video.label != label:
            sentence = _("Recorded, but others say otherwise: {} stays {}.")
        strong = "<strong>{}</strong>"
        messages.success(
            request,
            format_html(
                '{} <a class="dfd-link" href="{}">{}</a>',
                format_html(
                    sentence, format_html(strong, video), format_html(strong, within(_(ReviewLabel(video.label).label)))
                ),
                reverse("admin:detection_video_change", args=(video.pk,)),
                _("Change it"),
            ),
        )
    return HttpResponseRedirect(back)


class LabellingMixin:
    """Label buttons for the rows of a video list, and an action that opens a contact sheet."""

    actions = ["contact_sheet"]
    list_before_template = "admin/detection/includes/row_form.html"

    def has_label_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may add reviews."""
        return can_label(request)

    @action(permissions=["label"], description=gettext_lazy("Label on a contact sheet"), icon="grid_view")
    def contact_sheet(self, request: HttpRequest, queryset: QuerySet[Video]) -> HttpResponse | None:
        """Open a contact sheet of the ticked rows."""
        if request.POST.get("select_across") == "1":
            messages.error(request, _("A contact sheet shows rows that were on the screen: tick those."))
            return None
        size = settings.DFD_REVIEW_SHEET_SIZE
        ids = [str(pk) for pk in queryset.values_list("pk", flat=True)]
        if len(ids) > size:
            said = _("You ticked %(ticked)s rows; the sheet shows the first %(shown)s. Come back for the others.")
            messages.warning(request, said % {"ticked": len(ids), "shown": size})
        return HttpResponseRedirect(f"{reverse('review-sheet')}?{urlencode({'ids': ','.join(ids[:size])})}")


def button_context(request: HttpRequest, video: Video) -> dict[str, Any]:
    """Return the context of includes/label_buttons.html."""
    return {
        "video": video,
        "video_url": video_url(request, video.pk),
        "can_label": can_label(request) and not getattr(video, "withheld", False),
        "buttons": [
            {"value": label.value, "text": _(label.label), "symbol": symbol, "current": video.label == label.value}
            for label, symbol in BUTTONS
        ],
    }
