"""Reviews: every answer, newest first; append-only, so there is nothing to edit."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import ChoicesDropdownFilter, TextFilter
from unfold.decorators import display

from detection.admin.base import NOTHING, PageChangeList, ReadOnlyAdmin, badge, video_link
from detection.admin.filters import DateRangeFilter, of_user
from detection.admin.review.workspace import TITLES
from detection.admin.rows import LABEL_TONES
from detection.localized import numeral, within
from detection.models import PersonLabel, Review, ReviewRole, VerdictLabel
from detection.selectors.blindness import is_withheld, without_withheld
from detection.services.reviews.queues import CHOSEN


class ReviewerFilter(TextFilter):
    """Filter reviews by the reviewer's name."""

    title = gettext_lazy("reviewer")
    parameter_name = "reviewer"

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Return the reviews of that reviewer."""
        value = self.value()
        return of_user(queryset, "reviewer", value) if value else queryset


def decision_text(review: Review) -> str:
    """Return the label, and those of people by themselves, or that one was undone."""
    if review.undoes:
        return _("Took back: %(label)s") % {"label": review.undoes.get_label_display()}
    people = sorted((review.people or {}).items(), key=lambda one: int(one[0]))
    said = ", ".join(f"{int(track) + 1} {within(_(PersonLabel(label).label))}" for track, label in people)
    return f"{review.get_label_display()} ({said})" if said else review.get_label_display()


def provenance(review: Review, request: HttpRequest) -> str:
    """Return how the answer came about; a check against a known answer is told only to users who may adjudicate."""
    hidden = review.role == ReviewRole.GOLD and not request.user.has_perm("detection.adjudicate_review")
    role = _(ReviewRole.FIRST.label) if hidden else review.get_role_display()
    if review.batch and not review.undoes_id:
        return _("%(role)s, one of %(n)s") % {"role": role, "n": review.batch.size}
    return str(role)


class ReviewChangeList(PageChangeList):
    """Leave out answers on videos that are withheld from the user: that there is one tells, too."""

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Return the rows without those of withheld videos."""
        return without_withheld(super().get_queryset(request, *args, **kwargs), request.user, video="video")


@admin.register(Review)
class ReviewAdmin(ReadOnlyAdmin):
    """The list of reviews and the page of one."""

    list_display = ("created", "video_link", "label_badge", "reviewer", "how", "comment_text", "model_verdict")
    list_display_links = None
    list_filter = (("label", ChoicesDropdownFilter), ReviewerFilter, ("created_at", DateRangeFilter))
    list_select_related = ("model_version", "undoes", "batch")
    ordering = ("-created_at", "-id")
    sortable_by = ("created",)
    actions = ()
    fields = (
        "video", "decision", "reviewer", "how", "in_queue", "comment", "score_shown", "model_verdict", "model_version",
        "created_at",
    )  # fmt: skip
    readonly_fields = ("decision", "how", "in_queue", "model_verdict")
    empty_title = gettext_lazy("No decision yet")
    empty_text = gettext_lazy(
        "Label a video under No face or Predictions: each decision is kept here, and none is ever changed."
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        """Return the reviews with videos and reviewers."""
        return (
            super()
            .get_queryset(request)
            .prefetch_related("video", "reviewer")
            .defer(*(f"model_version__{name}" for name in ("config", "metrics", "trained_on")))
        )

    @display(description=gettext_lazy("Video"))
    def video_link(self, review: Review) -> SafeString:
        """Link to the video."""
        return video_link(review)

    @display(description=gettext_lazy("Label"))
    def label_badge(self, review: Review) -> SafeString:
        """Show the label."""
        return badge(LABEL_TONES.get(review.label, "grey"), decision_text(review))

    @display(description=gettext_lazy("Decision"))
    def decision(self, review: Review) -> str:
        """Say the label, and those of people by themselves, or that one was undone."""
        return decision_text(review)

    @display(description=gettext_lazy("Queue"))
    def in_queue(self, review: Review) -> str:
        """Name the queue of the workspace or sheet that the video was shown in."""
        if review.queue == CHOSEN:
            return _("Chosen in a list")
        return str(TITLES.get(review.queue, NOTHING))

    @display(description=gettext_lazy("Comment"))
    def comment_text(self, review: Review) -> str:
        """Show the comment."""
        return review.comment or NOTHING

    @display(description=gettext_lazy("How"))
    def how(self, review: Review) -> str:
        """Show role, batch size and seconds."""
        seconds = "" if review.seconds is None else ", " + numeral(f"{review.seconds:.1f} s")
        return f"{provenance(review, review.page_request)}{seconds}"  # type: ignore[attr-defined]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the change list that leaves withheld rows out."""
        return ReviewChangeList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the review; raise PermissionDenied while its video is withheld from the user."""
        review = super().get_object(request, object_id, from_field)
        if review is not None and is_withheld(request.user, review.video_id):
            raise PermissionDenied  # it is told when they have answered themselves
        return review

    @display(description=gettext_lazy("Model verdict"))
    def model_verdict(self, review: Review) -> str:
        """Show the label and score that the model gave at the time, and whether the reviewer saw them."""
        if not review.model_label:
            return NOTHING
        shown = "" if review.score_shown else _(", not shown")
        score = numeral(f"{review.model_probability:.2f}")
        return f"{_(VerdictLabel(review.model_label).label)} ({score}{shown})"
