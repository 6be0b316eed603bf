"""The list of videos, and the page of one video with its evidence."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from detection.admin.base import safe_next
from detection.admin.filters import DateRangeFilter, LabelFilter, NeedsReviewFilter, OwnerFilter, StatusFilter
from detection.admin.pages.gold import gold_view, may_know
from detection.admin.pages.reviews import decision_text, provenance
from detection.admin.review.evidence import (
    frames_of,
    people_of_faces,
    rejections_of,
    review_sentences,
    score_texts,
    threshold_height,
    untold,
    whole_frames_of,
)
from detection.admin.review.labelling import button_context, label_view
from detection.admin.review.near_duplicates import near_duplicate_context
from detection.admin.review.rescan import rescan_view
from detection.admin.review.timeline import timeline_context
from detection.admin.rows import LABEL_TONES, STATUS_TONES, VideoListAdmin, score_context
from detection.evidence_report.signing import PublicKey, current_key
from detection.localized import within
from detection.models import OPEN_STATES, Analysis, GoldVideo, Review, State, Verdict, VerdictLabel, Video
from detection.selectors import blindness
from detection.selectors.report import REPORTABLE, provenance_of
from detection.selectors.videos import original_sentence, pictures_sentence
from detection.services.jobs.left_out import models_own
from detection.services.reviews.rescan import rescanned
from detection.services.uploads.uploads import delete_video

HISTORY_LIMIT = 50


@admin.register(Video)
class VideoAdmin(VideoListAdmin):
    """The list of videos, the page of one, and deletion through the service."""

    list_display = ("video_cell", "status_badge", "score_bar", "people_label", "faces", "file_facts", "created")
    sortable_by = ("created",)
    list_filter = (
        StatusFilter,
        ("verdict_label", ChoicesDropdownFilter),
        LabelFilter,
        NeedsReviewFilter,
        OwnerFilter,
        ("created_at", DateRangeFilter),
    )
    empty_title = gettext_lazy("No videos yet")
    empty_text = gettext_lazy("Send the first one over REST: POST a file to /api/v1/videos/ with your token.")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Video]:
        """Return the videos without their large columns."""
        videos: QuerySet[Video] = super().get_queryset(request)
        return videos.defer("metadata", "current_verdict__people", "current_analysis__last_error")

    def get_urls(self) -> list[URLPattern]:
        """Add the URLs of the label, known-answer and rescan forms."""
        label = self.admin_site.admin_view(label_view)
        known = self.admin_site.admin_view(gold_view)
        again = self.admin_site.admin_view(rescan_view)
        return [
            path("<uuid:video_id>/label/", label, name="detection_video_label"),
            path("<uuid:video_id>/gold/", known, name="detection_video_gold"),
            path("<uuid:video_id>/rescan/", again, name="detection_video_rescan"),
            *super().get_urls(),
        ]

    # --- the list ---
    @display(description=gettext_lazy("Video"))
    def video_cell(self, video: Video) -> SafeString:
        """Show thumbnail and name."""
        return self.render("clip_cell", video)

    @display(description=gettext_lazy("Status"))
    def status_badge(self, video: Video) -> SafeString:
        """Show the status."""
        return self.render("status_cell", video)

    @display(description=gettext_lazy("Verdict"))
    def score_bar(self, video: Video) -> SafeString:
        """Show verdict and score."""
        return self.render("verdict_cell", video)

    @display(description=gettext_lazy("Label"))
    def people_label(self, video: Video) -> SafeString:
        """Show the label that people gave."""
        return self.render("label_cell", video)

    @display(description=gettext_lazy("Faces"))
    def faces(self, video: Video) -> SafeString:
        """Show the number of faces."""
        return self.render("faces_cell", video)

    @display(description=gettext_lazy("File"))
    def file_facts(self, video: Video) -> SafeString:
        """Show size, codec and duration."""
        return self.render("file_cell", video)

    # --- one video ---
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Serve the page of one video; its forms post to URLs of their own."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        video = self.get_object(request, object_id)
        if video is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        back = safe_next(request, request.GET.get("back"), fallback="")
        context = {
            **self.admin_site.each_context(request),
            **video_context(request, video),
            "title": str(video),
            "opts": self.opts,
            "original": video,
            "back": back or reverse("admin:detection_video_changelist"),
            "next": back or request.path,
            "can_delete": self.has_delete_permission(request, video),
            "can_analyze": request.user.has_perm("detection.change_video"),
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/detection/video/detail.html", context)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Video | None:
        """Return the video, or None."""
        video: Video | None = super().get_object(request, object_id, from_field)
        return video

    # --- deleting: rows and files, by the service ---
    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Return whether the user may delete videos."""
        return request.user.has_perm("detection.delete_video")

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Count what would be deleted with the videos; Django's own way loads every row."""
        videos = list(objs)
        counts = {
            _("videos"): len(videos),
            _("analyses"): sum(video.analyses.count() for video in videos),
            _("faces"): sum(video.faces.count() for video in videos),
            _("sampled frames"): sum(video.sampled_frames.count() for video in videos),
            _("verdicts"): sum(video.verdicts.count() for video in videos),
            _("reviews"): sum(video.reviews.count() for video in videos),
        }
        return [str(video) for video in videos], counts, set(), []

    def delete_model(self, request: HttpRequest, obj: Video) -> None:
        """Delete one video with its files."""
        delete_video(video=obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Video]) -> None:
        """Delete each video with its files."""
        for video in queryset:
            delete_video(video=video)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Leave out deletion for users who may not delete."""
        actions: dict[str, Any] = super().get_actions(request)
        if not self.has_delete_permission(request):
            actions.pop("delete_selected", None)
        return actions


def video_context(request: HttpRequest, video: Video) -> dict[str, Any]:
    """Return everything the page of a video shows, in a fixed number of queries."""
    # Whoever is to read this video is not told what the model or others say.
    blind = bool(blindness.redact_for(request.user, [video]))
    verdict = None if blind else video.current_verdict
    frames = frames_of(video, video.sampled_frames.all())
    analyses = list(video.analyses.order_by("-created_at", "-id")[:HISTORY_LIMIT])
    people = people_of_faces(video.faces.order_by("track", "position"), verdict, video.person_labels)
    looks_at, no_heatmaps = untold(verdict)
    return {
        **button_context(request, video),
        "verdict": verdict,
        "score": score_context(video.fake_probability, verdict),
        "reasons": review_sentences(verdict),
        "people": people,
        **timeline_context(video, verdict),
        "many": len(people) > 1,
        "deciding": next((person for person in people if person.decides), None),
        "threshold_y": threshold_height(verdict),
        "whole_frames": whole_frames_of(verdict),
        "untold": looks_at,
        "no_heatmaps": no_heatmaps,
        "everybody": _everybody(verdict),
        "frames": frames,
        "rejections": rejections_of(frames),
        "analysis": analyses[0] if analyses else None,
        "is_open": video.status in OPEN_STATES,
        "analyses": [
            {"row": row, "tone": STATUS_TONES.get(row.state, "grey"), "seconds": _seconds(row)} for row in analyses
        ],
        "verdicts": [] if blind else list(_verdicts(video)),
        "reviews": [] if blind else [_decision(row, request) for row in _reviews(video)],
        **near_duplicate_context(request, video, blind=blind),
        "gone": [sentence for sentence in (original_sentence(video), pictures_sentence(video)) if sentence],
        "rescanned": video.status == State.NO_FACE and rescanned(video),
        "can_report": not blind and (verdict is not None or video.status in REPORTABLE),
        "signing_key": _signing_key(),
        "provenance": provenance_of(video),
        "status_tone": STATUS_TONES.get(video.status, "grey"),
        "label_tone": LABEL_TONES.get(video.label, "grey"),
        "blind": blind,
        "knows_gold": may_know(request),
        "gold": GoldVideo.objects.filter(video=video).first() if may_know(request) else None,
    }


def _everybody(verdict: Verdict | None) -> dict[str, Any] | None:
    """Return what the model says of everybody, where reviewers left out somebody whose score would decide."""
    if verdict is None or not verdict.with_everybody:
        return None
    own = models_own(verdict)
    return {
        "label": within(_(VerdictLabel(own["label"]).label)),
        "text": score_texts(own["fake_probability"], verdict.threshold)[0],
        "people": _(" and ").join(str(track + 1) for track in verdict.left_out or ()),
    }


def _signing_key() -> PublicKey | None:
    """Return the key that reports are signed with, None where it cannot be read."""
    try:
        return current_key()
    except (OSError, ValueError):
        return None


def _verdicts(video: Video) -> QuerySet[Verdict]:
    rows = video.verdicts.select_related("model_version").defer("people")
    return rows.order_by("-created_at")[:HISTORY_LIMIT]


def _reviews(video: Video) -> QuerySet[Review]:
    rows = video.reviews.select_related("reviewer", "undoes", "batch")
    return rows.order_by("-created_at", "-id")[:HISTORY_LIMIT]


def _decision(row: Review, request: HttpRequest) -> dict[str, Any]:
    return {
        "row": row,
        "tone": LABEL_TONES.get(row.label, "grey"),
        "decision": decision_text(row),
        "how": provenance(row, request),
    }


def _seconds(analysis: Analysis) -> float | None:
    """Return the seconds from the first claim to the end, or None."""
    if analysis.started_at is None or analysis.finished_at is None:
        return None
    return (analysis.finished_at - analysis.started_at).total_seconds()
