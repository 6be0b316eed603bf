"""The contact sheet: many videos at once, one label for the ticked ones, confirmed with their number."""

from __future__ import annotations

from collections import defaultdict
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from detection.admin.base import video_url
from detection.admin.review.workspace import (
    MOST_CLAIMS,
    TITLES,
    call,
    may_work,
    user_of,
    uuid_of,
    uuids_of,
)
from detection.admin.review.workspace_item import media_url
from detection.errors import Refused
from detection.models import FaceFrame, ReviewBatch, ReviewLabel, SampledFrame
from detection.selectors.blindness import redact_for
from detection.services.reviews import workspace, workspace_keys
from detection.services.reviews.queues import CHOSEN, SHEET_QUEUES
from detection.services.reviews.workspace import Claimed

PICTURES = (0, 3, 6, 9)
"""Positions, of ten faces in the order of time, that stand for a video on a sheet."""


@require_GET
def page(request: HttpRequest) -> HttpResponse:
    """Serve the contact sheet."""
    if not may_work(request):
        raise PermissionDenied
    keys = workspace_keys.keys_of(user_of(request))
    wanted, chosen = request.GET.get("queue", ""), _ids(request.GET.get("ids", ""))
    data = {
        "urls": {name: reverse(f"review-{name}") for name in CALLS} | {"release": reverse("review-release")}
        | {"beat": reverse("review-beat")},
        "labels": [{"value": value, "text": _(text), "key": keys[value]} for value, text in ReviewLabel.choices],
        "comment_key": keys["comment"],
        "queues": [{"key": key, "title": TITLES[key]} for key in SHEET_QUEUES],
        "queue": CHOSEN if chosen else wanted if wanted in SHEET_QUEUES else SHEET_QUEUES[0],
        "ids": [str(video_id) for video_id in chosen],
        "lease_s": settings.DFD_REVIEW_LEASE_S,
    }  # fmt: skip
    context = {**admin.site.each_context(request), "title": _("Contact sheet"), "sheet": data}
    request.current_app = admin.site.name
    return TemplateResponse(request, "admin/detection/review/sheet.html", context)


@call
def open_call(request: HttpRequest, body: dict[str, Any]) -> dict[str, Any]:
    """Claim videos for a sheet and return them."""
    chosen = uuids_of(body.get("ids"), settings.DFD_REVIEW_SHEET_SIZE)
    queue = str(body.get("queue", ""))
    held = uuids_of(body.get("held"), MOST_CLAIMS)
    claimed = workspace.open_sheet(reviewer=user_of(request), queue=queue, chosen=chosen, held=held)
    pictures = _pictures([one.video.pk for one in claimed])
    redact_for(user_of(request), [one.video for one in claimed])
    return {
        "items": [_item(request, one, pictures.get(one.video.pk, [])) for one in claimed],
        "left_out": max(0, len(chosen) - len(claimed)),
    }


@call
def label_call(request: HttpRequest, body: dict[str, Any]) -> dict[str, Any]:
    """Record one label for the claimed videos, as one batch."""
    confirmed = body.get("confirmed")
    batch = workspace.answer_sheet(
        reviewer=user_of(request),
        tokens=uuids_of(body.get("claims"), settings.DFD_REVIEW_SHEET_SIZE),
        label=str(body.get("label", "")),
        confirmed=confirmed if isinstance(confirmed, int) else 0,
        batch_id=uuid_of(body.get("batch")),
        comment=str(body.get("comment", "")).strip(),
    )
    return {"batch": str(batch.pk), "size": batch.size, "label": batch.label}


@call
def revert_call(request: HttpRequest, body: dict[str, Any]) -> dict[str, Any]:
    """Revert a batch."""
    batch = ReviewBatch.objects.filter(pk=uuid_of(body.get("batch"))).first()
    if batch is None:
        raise Refused("not_found", "There is no such decision.", status=404)
    return {"reverted": workspace.revert_batch(batch=batch, by=user_of(request)).size}


def _item(request: HttpRequest, claimed: Claimed, pictures: list[str]) -> dict[str, Any]:
    """Return a video of the sheet; `claimed.video` must be redacted for this user."""
    video = claimed.video
    return {
        "claim": str(claimed.token),
        "id": str(video.pk),
        "name": str(video),
        "page_url": video_url(request, video.pk),
        "thumbnail_url": media_url(video, "thumbnail") if video.thumbnail else None,
        "pictures": pictures,
        "status_text": video.get_status_display(),
        "label_text": video.get_label_display() if claimed.queue == CHOSEN and video.label else "",
    }


def _pictures(videos: list[UUID]) -> dict[UUID, list[str]]:
    """Return image URLs by video: faces of its first person, else sampled frames; two queries for all videos."""
    found: dict[UUID, list[str]] = defaultdict(list)
    faces = FaceFrame.objects.filter(video__in=videos, track=0, position__in=PICTURES).order_by("video", "position")
    for video_id, face_id in faces.values_list("video_id", "pk"):
        found[video_id].append(reverse("api:face-image", kwargs={"face_id": face_id}))
    frames = SampledFrame.objects.filter(video__in=[v for v in videos if v not in found]).order_by("video", "position")
    for video_id, frame_id in frames.values_list("video_id", "pk"):
        if len(found[video_id]) < len(PICTURES):
            found[video_id].append(reverse("api:sampled-frame-image", kwargs={"frame_id": frame_id}))
    return found


def _ids(text: str) -> list[UUID]:
    """Return the ids in a query parameter, without what is no id."""
    found = []
    for part in text.split(",")[: settings.DFD_REVIEW_SHEET_SIZE]:
        try:
            found.append(UUID(part))
        except ValueError:
            continue
    return list(dict.fromkeys(found))


CALLS = {"sheet-open": open_call, "sheet-label": label_call, "sheet-revert": revert_call}
urlpatterns = [
    path("sheet/", admin.site.admin_view(page), name="review-sheet"),
    *(path(f"{name}/", admin.site.admin_view(view), name=f"review-{name}") for name, view in CALLS.items()),
]
"""Below `/admin/review/`, beside the workspace's."""
