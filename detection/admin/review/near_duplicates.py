"""Near-duplicates for pages: in the workspace without anything that could sway, on a video's page with everything."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _

from detection.admin.base import video_url
from detection.models import DatasetVideo, Video
from detection.selectors.blindness import redact_for
from detection.selectors.near_duplicates import NearDuplicate, near_duplicates


def near_duplicate_context(request: HttpRequest, video: Video, *, blind: bool) -> dict[str, Any]:
    """Return the context of includes/near_duplicates.html; `blind` leaves out verdicts and labels."""
    near = near_duplicates(video)
    redact_for(request.user, [one.video for one in near])
    return {
        "near": [
            {
                "video": one.video,
                "name": _name(one.video, blind=blind),
                "how": _(one.how),
                "url": video_url(request, one.video.pk),
                "dataset": "" if blind else dataset_of(one.video),
            }
            for one in near
        ],
        "near_sheet_url": sheet_url(video, near),
    }


def near_duplicate_payload(request: HttpRequest, video: Video, *, labels: bool) -> dict[str, Any]:
    """Return near-duplicates for the workspace, without verdicts.

    With `labels`, to settle a disagreement, people's labels are included.
    """
    near = near_duplicates(video)
    if labels:  # but not of those that the reader may be asked about next
        redact_for(request.user, [one.video for one in near])
    return {
        "near": [
            {
                "id": str(one.video.pk),
                "name": _name(one.video, blind=not labels),
                "page_url": video_url(request, one.video.pk),
                "thumbnail_url": _thumbnail(one.video),
                "how": _(one.how),
                "label_text": one.video.get_label_display() if labels and one.video.label else "",
            }
            for one in near
        ],
        "near_sheet_url": sheet_url(video, near),
    }


def sheet_url(video: Video, near: list[NearDuplicate]) -> str | None:
    """Return the URL of a contact sheet with the video and its near-duplicates, without data sets' videos."""
    ids = [str(one.video.pk) for one in near if not dataset_of(one.video)]
    return f"{reverse('review-sheet')}?ids={','.join([str(video.pk), *ids])}" if ids else None


def dataset_of(video: Video) -> str:
    """Return the name of the data set that a video comes from, or an empty string."""
    try:
        return video.dataset_video.dataset
    except DatasetVideo.DoesNotExist:
        return ""


def _name(video: Video, *, blind: bool) -> str:
    """Return the video's name; `blind` hides a data set's file names, which tell their labels."""
    return _("A data set's video") if blind and dataset_of(video) else str(video)


def _thumbnail(video: Video) -> str | None:
    return reverse("api:video-media", kwargs={"video_id": video.pk, "kind": "thumbnail"}) if video.thumbnail else None
