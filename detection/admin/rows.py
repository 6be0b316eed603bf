"""Change lists of videos: what a row shows is fetched once a page and rendered by templates."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from detection.admin.base import PageChangeList, ReadOnlyAdmin
from detection.admin.filters import ViewFilter
from detection.admin.review.evidence import score_level, score_texts
from detection.admin.review.labelling import LabellingMixin, button_context
from detection.admin.search import SEARCH_HELP, search_videos, too_many
from detection.models import FaceFrame, Verdict
from detection.selectors.blindness import redact_for, without_withheld

STATUS_TONES = {
    "queued": "grey",
    "running": "blue",
    "succeeded": "green",
    "no_face": "violet",
    "failed": "red",
    "dead": "red",
    "cancelled": "grey",
}
TELLING = {"verdict_label", "label", "needs_review"}
"""Filters by what may be withheld from the reader."""
LABEL_TONES = {"real": "green", "fake": "red", "no_face": "violet", "unsure": "amber"}


class VideoChangeList(PageChangeList):
    """Count the faces of the rows on a page in one query, and redact what the reader must not be told."""

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Leave out withheld videos when the list is filtered by what is withheld."""
        rows = super().get_queryset(request, *args, **kwargs)
        # A list that is filtered by it would tell it; one with views always is, whichever is the default.
        viewed = any(isinstance(one, ViewFilter) for one in self.filter_specs)
        if viewed or TELLING & {name.split("__", 1)[0] for name in request.GET}:
            return without_withheld(rows, request.user)
        return rows

    def get_results(self, request: HttpRequest) -> None:
        """Set `faces_found` and `withheld` on each row of the page."""
        super().get_results(request)
        rows: Any = self.result_list
        counts = dict(
            FaceFrame.objects.filter(video__in=[row.pk for row in rows])
            .order_by()
            .values_list("video")
            .annotate(Count("pk"))
        )
        withheld = redact_for(request.user, rows)
        for row in rows:
            row.faces_found = counts.get(row.pk, 0)
            row.withheld = row.pk in withheld


class VideoListAdmin(LabellingMixin, ReadOnlyAdmin):
    """Base of the three lists of videos; the permission to view videos opens all of them."""

    ordering = ("-created_at", "-id")
    list_select_related = ("current_verdict__model_version", "current_analysis")
    list_display_links = None
    sortable_by: tuple[str, ...] = ()
    search_fields = ("original_name",)  # shows the box; `search_videos` decides
    search_help_text = SEARCH_HELP
    actions = LabellingMixin.actions

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may view videos."""
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether the user may view videos."""
        return request.user.has_perm("detection.view_video")

    def get_queryset(self, request: HttpRequest) -> Any:
        """Return the videos without their large columns."""
        # The owner is fetched apart: joined, a database may walk the owners first and sort all of their videos.
        videos = super().get_queryset(request).prefetch_related("owner")
        return videos.defer("metadata", "current_analysis__last_error")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the change list that counts faces and redacts."""
        return VideoChangeList

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Search by id, hash, external id or name (`detection.admin.search`)."""
        found, complete = search_videos(queryset, search_term)
        if not complete:
            messages.info(request, too_many())
        return found, False

    def render(self, name: str, video: Any, **context: Any) -> SafeString:
        """Render one cell of a row from its template in includes/."""
        return render_to_string(
            f"admin/detection/includes/{name}.html",
            {
                **button_context(video.page_request, video),
                "score": score_context(video.fake_probability, video.current_verdict),
                "status_tone": STATUS_TONES.get(video.status, "grey"),
                "label_tone": LABEL_TONES.get(video.label, "grey"),
                **context,
            },
        )


def score_context(score: float | None, verdict: Verdict | None) -> dict[str, Any] | None:
    """Return the context of includes/score.html: a score against its threshold."""
    if score is None or verdict is None:
        return None
    text, threshold = score_texts(score, verdict.threshold)
    return {
        "value": score,
        "text": text,
        "threshold_text": threshold,
        "percent": round(score * 100, 1),
        "threshold": verdict.threshold,
        "threshold_percent": round(verdict.threshold * 100, 1),
        "level": score_level(score, verdict.threshold),
    }
