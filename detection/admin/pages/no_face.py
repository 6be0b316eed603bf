"""Videos without a face: the frames that were sampled, with the rejected detections, large enough to judge."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy
from unfold.decorators import display

from detection.admin.filters import DateRangeFilter, NoFaceView, OwnerFilter
from detection.admin.proxies import NoFaceVideo
from detection.admin.redirects import to_video_page
from detection.admin.review.evidence import frames_of, most_telling, rejections_of
from detection.admin.rows import VideoListAdmin
from detection.models import Analysis, State

FRAMES_PER_ROW = 6


@admin.register(NoFaceVideo)
class NoFaceAdmin(VideoListAdmin):
    """The list of videos in which no valid face was found."""

    list_display = ("evidence",)
    list_filter = (NoFaceView, OwnerFilter, ("created_at", DateRangeFilter))
    list_per_page = 10
    empty_title = gettext_lazy("No videos without a face")
    empty_text = gettext_lazy(
        "Videos in which no face is found wait here for a person to look at. There is none right now."
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[NoFaceVideo]:
        """Return the videos with their sampled frames, and whether each was rescanned."""
        videos: QuerySet[NoFaceVideo] = super().get_queryset(request)
        looked = Exists(Analysis.objects.filter(video=OuterRef("pk"), sensitive=True, state=State.NO_FACE))
        return videos.filter(status=State.NO_FACE).annotate(rescanned=looked).prefetch_related("sampled_frames")

    @display(description=gettext_lazy("What the detector saw"))
    def evidence(self, video: NoFaceVideo) -> SafeString:
        """Show sampled frames and rejected boxes."""
        frames = frames_of(video, video.sampled_frames.all())
        return self.render(
            "no_face_card",
            video,
            frames=most_telling(frames, FRAMES_PER_ROW),
            frames_left=max(0, len(frames) - FRAMES_PER_ROW),
            rejections=rejections_of(frames),
            rescanned=getattr(video, "rescanned", False),
        )

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """Redirect to the page of the video."""
        return to_video_page(request, object_id)
