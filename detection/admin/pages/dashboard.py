"""The overview page: what waits and for how long, what was done, reviewer agreement, and workers."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from detection.admin.base import video_url
from detection.admin.charts.agreement import agreement_chart, model_chart
from detection.admin.charts.overview import answers_chart, drift_chart, outcomes_chart
from detection.admin.numbers import Number, decided_today, numbers, waiting_videos
from detection.admin.review.workspace import TITLES, waiting_in
from detection.admin.review.workspace_item import WHY
from detection.models import OPEN_STATES, ModelVersion, Video
from detection.selectors import dashboard as overview
from detection.selectors.blindness import without_withheld
from detection.selectors.chores import sweep_health
from detection.selectors.local_figures import here
from detection.selectors.reviewer_agreement import agreement
from detection.services.reviews.queues import oldest_in

NEXT_UP = 6
PERIOD = timedelta(days=30)
MOST_ANSWERS = 4000
"""Most answers of the period read for the agreement; the page of the reviewers reads more."""
SYMBOLS = {
    "disagreement": ("call_split", "amber"),
    "audit": ("casino", "blue"),
    "uncertain": ("familiar_face_and_zone", "primary"),
    "no_face": ("no_accounts", "violet"),
    "failed": ("error", "red"),
}


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Return the context of admin/detection/index.html, in a fixed number of queries."""
    if not request.user.has_perm("detection.view_video"):
        return {**context, "may_see": False}
    assert isinstance(request.user, User)
    now = timezone.now()
    days, counted_until = overview.days(now=now)
    model = ModelVersion.objects.filter(active=True).defer("config", "trained_on").first()
    drift = overview.drift(model=model, now=now) if model else None
    sees_answers = request.user.has_perm("detection.view_review")
    people = agreement(since=now - PERIOD, most=MOST_ANSWERS) if sees_answers else None
    waiting = without_withheld(waiting_videos(), request.user).only("id", "original_name", "thumbnail")[:NEXT_UP]
    return {
        **context,
        "may_see": True,
        "cards": [*_queues(request.user, now), _running(request, now)],
        "charts": [outcomes_chart(days), answers_chart(days), *([drift_chart(drift)] if drift else [])],
        "intervals": [
            *([agreement_chart(people, PERIOD.days)] if people else []),
            *([model_chart(model.metrics)] if model else []),
        ],
        "late": counted_until is not None and now - counted_until > timedelta(hours=2),
        "counted_until": counted_until,
        "workers": overview.workers_alive(now=now),
        "sweep": sweep_health(now=now),
        "model": model,
        "here": here(model=model) if model else None,
        "next_up": [{"video": video, "url": video_url(request, video.pk)} for video in waiting],
        "any_video": Video.objects.exists(),
        "decided_today": decided_today(),
        "decided_by_me": decided_today(reviewer=request.user.pk),
    }


def _queues(user: User, now: datetime) -> list[dict[str, Any]]:
    """Return a card for each review queue: how many videos wait, and since when the oldest does."""
    cards = []
    for queue, (symbol, tone) in SYMBOLS.items():
        oldest = oldest_in(queue=queue)
        cards.append(
            {
                "title": TITLES[queue],
                "why": WHY[queue],
                "number": waiting_in(queue, user),
                "age": age(oldest, now),
                "symbol": symbol,
                "tone": tone,
                "url": f"{reverse('review')}?queue={queue}",
            }
        )
    return cards


def _running(request: HttpRequest, now: datetime) -> dict[str, Any]:
    running: Number = numbers(request).running
    oldest = min(filter(None, (_first(Video.objects.filter(status=status)) for status in OPEN_STATES)), default=None)
    return {
        "title": _("Queued and running"),
        "why": _("Videos that workers have not finished with."),
        "number": running,
        "age": age(oldest, now),
        "symbol": "progress_activity",
        "tone": "blue",
        "url": f"{reverse('admin:detection_analysis_changelist')}?view=open",
    }


def _first(videos: Any) -> datetime | None:
    first: datetime | None = videos.order_by("created_at").values_list("created_at", flat=True).first()
    return first


def age(moment: datetime | None, now: datetime) -> str:
    """Return "oldest 3 hours", or an empty string."""
    return _("oldest %(age)s") % {"age": timesince(moment, now, depth=1)} if moment else ""
