"""Calls that request heat maps, previews and reports; the page polls each second until they are made."""

from __future__ import annotations

from itertools import groupby
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.http import HttpRequest
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from detection.admin.review.workspace import call, user_of
from detection.admin.review.workspace_item import media_url
from detection.errors import Refused
from detection.models import EvidenceJob, EvidenceKind, State, Video
from detection.said import said
from detection.selectors import videos as selectors
from detection.services.jobs import evidence

SENTENCES = {State.QUEUED: gettext_lazy("Waiting for a worker …"), State.RUNNING: gettext_lazy("A worker is at it …")}
BY_SUFFIX = {".mp4": "H.264", ".webm": "WebM"}


def may_look(request: HttpRequest) -> bool:
    """Return whether the user may view videos."""
    return request.user.has_perm("detection.view_video")


def evidence_call(request: HttpRequest, body: dict[str, Any]) -> dict[str, Any]:
    """Request `kind` of evidence for `video`; `again: true` retries what failed."""
    kind = str(body.get("kind", ""))
    if kind not in EvidenceKind.values:
        raise Refused("unknown_kind", f"There is no evidence of kind {kind[:20]!r}.")
    video = _video(request, body.get("video"))
    job = evidence.request(video=video, kind=kind, by=user_of(request), again=body.get("again") is True)
    done = job.state == State.SUCCEEDED
    heatmaps = _heatmaps(video) if done and kind == EvidenceKind.HEATMAPS else {}
    preview = done and kind == EvidenceKind.PREVIEW
    return {
        "state": job.state,
        "sentence": _sentence(job),
        "heatmaps": heatmaps,
        "people": _people(video) if heatmaps else [],
        "preview_url": media_url(video, "preview") if preview else None,
        "note": _note(video) if preview else "",
    }


def _video(request: HttpRequest, reference: Any) -> Video:
    try:
        videos = selectors.visible_videos(user=user_of(request)).filter(pk=UUID(str(reference)))
    except ValueError:
        videos = Video.objects.none()
    video = videos.select_related("current_verdict__model_version").defer("metadata", "current_verdict__people").first()
    if video is None:
        raise Refused("not_found", "There is no such video any more.", status=404)
    return video


def _sentence(job: EvidenceJob) -> str:
    if job.state == State.FAILED:
        return said(job.error_detail)
    return str(SENTENCES.get(State(job.state), ""))


def _heatmaps(video: Video) -> dict[str, str]:
    """Map each face's id to the URL of its heat map."""
    names = evidence.heatmap_names(video)
    return {face: reverse("api:face-heatmap", kwargs={"face_id": face}) for face in names}


def _people(video: Video) -> list[dict[str, Any]]:
    """Return the faces that have heat maps, by person."""
    faces = video.faces.order_by("track", "position")
    return [
        {
            "number": track + 1,
            "faces": [
                {
                    "id": str(face.pk),
                    "image_url": reverse("api:face-image", kwargs={"face_id": face.pk}),
                    "timestamp_s": face.timestamp_s,
                }
                for face in group
            ],
        }
        for track, group in groupby(faces, key=lambda face: face.track)
    ]


def _note(video: Video) -> str:
    codec = next((text for suffix, text in BY_SUFFIX.items() if str(video.preview.name).endswith(suffix)), "")
    copy = _("This is a copy in %(codec)s") % {"codec": codec} if codec else _("This is a copy")
    own = f" ({video.codec})" if video.codec else ""
    why = _("made because this browser cannot play the file itself")
    return f"{copy}, {why}{own}. " + _("Finer traces may be lost in it: where they count, download the original.")


urlpatterns = [
    path(
        "",
        admin.site.admin_view(call(evidence_call, may=may_look, otherwise=gettext_lazy("You may not see videos."))),
        name="review-evidence",
    ),
]
"""At `/admin/review/evidence/`."""
