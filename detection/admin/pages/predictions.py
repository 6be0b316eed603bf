"""Predictions: each verdict with the faces and scores behind it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from detection.admin.filters import DateRangeFilter, LabelFilter, ModelVersionFilter, OwnerFilter, PredictionView
from detection.admin.proxies import Prediction
from detection.admin.redirects import to_video_page
from detection.admin.review.evidence import people_of_verdict, review_sentences, threshold_height, untold
from detection.admin.rows import VideoListAdmin

PEOPLE_PER_ROW = 3


@admin.register(Prediction)
class PredictionAdmin(VideoListAdmin):
    """The list of videos that have a verdict."""

    list_display = ("evidence",)
    list_filter = (
        PredictionView,
        ("verdict_label", ChoicesDropdownFilter),
        LabelFilter,
        ModelVersionFilter,
        OwnerFilter,
        ("created_at", DateRangeFilter),
    )
    list_per_page = 10
    empty_title = gettext_lazy("Nothing waits for review")
    empty_text = gettext_lazy(
        "Verdicts that are uncertain, rest on few faces or come from an experimental model wait here."
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Prediction]:
        """Return the videos with a verdict."""
        videos: QuerySet[Prediction] = super().get_queryset(request)
        # Not as `in (real, fake)`: that reads two ranges of an index and sorts them, instead of walking one in order.
        return videos.filter(verdict_label__gt="")

    @display(description=gettext_lazy("Faces and scores"))
    def evidence(self, video: Prediction) -> SafeString:
        """Show the people of the verdict, the one who decides first."""
        verdict = video.current_verdict
        people = people_of_verdict(verdict)
        # The person who decides comes first, whatever their number.
        people = tuple(sorted(people, key=lambda person: (not person.decides, person.track)))
        return self.render(
            "prediction_card",
            video,
            verdict=verdict,
            people=people[:PEOPLE_PER_ROW],
            people_left=max(0, len(people) - PEOPLE_PER_ROW),
            many=len(people) > 1,
            threshold_y=threshold_height(verdict),
            untold=untold(verdict)[0],
            reasons=review_sentences(verdict) if video.needs_review else (),
        )

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """Redirect to the page of the video."""
        return to_video_page(request, object_id)
