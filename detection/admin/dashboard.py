"""The first page: what waits, what runs, what failed, and which model decides."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from detection.admin.base import video_url
from detection.admin.numbers import decided_today, numbers, waiting_videos
from detection.admin.rows import score_context
from detection.models import ModelVersion, Video

NEXT_UP = 8


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Context of admin/detection/index.html, in a fixed number of queries."""
    if not request.user.has_perm("detection.view_video"):
        return {**context, "may_see": False}
    counts = numbers(request)
    predictions = reverse("admin:detection_prediction_changelist")
    no_face = reverse("admin:detection_nofacevideo_changelist")
    analyses = reverse("admin:detection_analysis_changelist")
    cards = [
        ("Waiting for review", counts.waiting, "familiar_face_and_zone", predictions, "primary"),
        ("No face found", counts.no_face, "no_accounts", no_face, "violet"),
        ("Queued and running", counts.running, "progress_activity", f"{analyses}?view=open", "blue"),
        ("Failed and gave up", counts.failed, "error", analyses, "red"),
    ]
    waiting = waiting_videos().select_related("current_verdict").defer("metadata", "current_verdict__people")[:NEXT_UP]
    return {
        **context,
        "may_see": True,
        "cards": [
            {"title": title, "number": number, "symbol": symbol, "url": url, "tone": tone}
            for title, number, symbol, url, tone in cards
        ],
        "model": ModelVersion.objects.filter(active=True).first(),
        "next_up": [
            {
                "video": video,
                "url": video_url(request, video.pk),
                "score": score_context(video.fake_probability, video.current_verdict),
            }
            for video in waiting
        ],
        "any_video": Video.objects.exists(),
        "decided_today": decided_today(),
        "decided_by_me": decided_today(reviewer=request.user.pk),
    }
