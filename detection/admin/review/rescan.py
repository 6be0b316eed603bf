"""The button "Look again" of a video in which no face was found."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from detection.admin.base import safe_next
from detection.admin.review.labelling import can_label
from detection.admin.review.workspace import user_of
from detection.errors import Refused
from detection.models import Video
from detection.said import said
from detection.services.reviews.rescan import request_rescan

LOOKING = gettext_lazy("Looking again at {} with lower thresholds; it comes back when it is done.")


@require_POST
def rescan_view(request: HttpRequest, video_id: uuid.UUID) -> HttpResponse:
    """Queue an analysis with lowered thresholds and redirect to `next`."""
    if not can_label(request):
        raise PermissionDenied
    video = get_object_or_404(Video, pk=video_id)
    try:
        request_rescan(video=video, by=user_of(request))
    except Refused as refusal:
        messages.error(request, said(refusal.detail))
    else:
        messages.success(request, format_html(str(LOOKING), format_html("<strong>{}</strong>", video)))
    fallback = reverse("admin:detection_nofacevideo_changelist")
    return HttpResponseRedirect(safe_next(request, request.POST.get("next"), fallback=fallback))
