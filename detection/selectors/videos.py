"""Reads of videos, analyses, faces and models, by what a user may see.

A video is visible to its owner and to users with `detection.view_video`.  For everybody else it does not exist, so
ids cannot be probed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import BooleanField, Count, ExpressionWrapper, F, Min, QuerySet
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from detection.errors import Refused
from detection.models import (
    OPEN_STATES,
    Analysis,
    DatasetVideo,
    FaceFrame,
    ModelVersion,
    Promotion,
    PromotionKind,
    Review,
    ReviewNext,
    SampledFrame,
    Stage,
    State,
    TrainingRun,
    VerdictLabel,
    Video,
)
from detection.selectors import blindness
from detection.selectors.permissions import User, has

# --- videos and tasks ------------------------------------------------------------------------------------------------


def visible_videos(*, user: User) -> QuerySet[Video]:
    """Return the videos that the user may see; none for an anonymous user."""
    if not user.is_authenticated:
        return Video.objects.none()
    if has(user, "detection.view_video"):
        return Video.objects.all()
    return Video.objects.filter(owner_id=user.pk)


def videos_with_answers(*, user: User) -> QuerySet[Video]:
    """Return visible videos with everything that their representation shows, in one query.

    `withheld` says of each whether the user must not be told the verdict and labels (see `blindness`).
    """
    videos = visible_videos(user=user).select_related("owner", "current_analysis", "current_verdict__model_version")
    return videos.annotate(withheld=ExpressionWrapper(blindness.is_withheld_expression(user), BooleanField()))


_COLUMNS_NOT_SHOWN = (
    "sensitive", "token", "lease_until", "not_before", "published_at", "worker", "last_error", "timings", "replaced",
    *(f"verdict__model_version__{field}" for field in (
        "file", "config", "metrics", "threshold", "temperature", "shift", "training_data_sha256", "trained_on",
        "license", "parent", "active", "created_at", "promoted_at",
    )),
)  # fmt: skip


_FACTS = ("clip", "duration_s", "fps", "frames_decoded", "segments")
"""Columns of a video that say how much of it was looked at."""


def visible_analysis(*, user: User, task_id: UUID) -> Analysis | None:
    """Return the analysis with its verdict, or None unless the user may see its video.

    `withheld` says whether the verdict must not be told (see `blindness`); `video_facts` is a video with nothing but
    what `selectors.segments` needs.  An owner's poll is the most frequent request: it looks up no permission, and reads
    no column that the API does not show.
    """
    tasks = Analysis.objects.select_related("verdict__model_version").defer(*_COLUMNS_NOT_SHOWN)
    tasks = tasks.annotate(
        owner_id=F("video__owner_id"),
        review_next=F("video__review_next"),
        **{f"video_{name}": F(f"video__{name}") for name in _FACTS},
        claimed=ExpressionWrapper(blindness.has_unanswered_claim(user, video="video_id"), BooleanField()),
    )
    try:
        task = tasks.get(pk=task_id)
    except Analysis.DoesNotExist:
        return None
    if not user.is_authenticated:
        return None
    if task.owner_id != user.pk and not has(user, "detection.view_video"):
        return None
    facts = {name: getattr(task, f"video_{name}") for name in _FACTS}
    task.video_facts = Video(pk=task.video_id, **facts)  # type: ignore[attr-defined]
    second = task.review_next == ReviewNext.SECOND and blindness.is_withheld(user, task.video_id)
    task.withheld = task.claimed or second  # type: ignore[attr-defined]
    return task


def open_analyses(*, owner_id: int) -> int:
    """Count the queued or running analyses of the owner's videos."""
    return Analysis.objects.filter(video__owner_id=owner_id, state__in=OPEN_STATES).count()


def waiting_for_extraction(*, at_most: int) -> int:
    """Count the analyses that wait for or are in extraction, up to `at_most`."""
    return Analysis.objects.filter(state__in=OPEN_STATES, stage=Stage.EXTRACT)[:at_most].count()


def has_open_analysis(*, video: Video) -> bool:
    """Return whether an analysis of the video is queued or running."""
    return Analysis.objects.filter(video=video, state__in=OPEN_STATES).exists()


# --- what belongs to a video -----------------------------------------------------------------------------------------


def faces_of(*, video: Video) -> QuerySet[FaceFrame]:
    """Return the video's faces, by person, then in time order."""
    return FaceFrame.objects.filter(video=video).order_by("track", "position")


def frame_scores(*, video: Video) -> dict[str, float]:
    """Map each face's id to its score in the current verdict, where it has one of its own."""
    if video.current_verdict is None:
        return {}
    return {
        str(frame["face"]): float(frame["fake_probability"])
        for person in video.current_verdict.people
        for frame in person["frames"]
        if frame["fake_probability"] is not None
    }


def reviews_of(*, video: Video) -> QuerySet[Review]:
    """Return the reviews that may be shown, also the owner's opinion, newest first, with reviewers."""
    return Review.objects.shown().filter(video=video).select_related("reviewer").order_by("-created_at", "-id")


def visible_face(*, user: User, face_id: UUID) -> FaceFrame | None:
    """Return the face, or None unless the user may see its video."""
    return FaceFrame.objects.filter(pk=face_id, video__in=visible_videos(user=user)).first()


def visible_sampled_frame(*, user: User, frame_id: UUID) -> SampledFrame | None:
    """Return the sampled frame, or None unless the user may see its video."""
    return SampledFrame.objects.filter(pk=frame_id, video__in=visible_videos(user=user)).first()


# --- models ----------------------------------------------------------------------------------------------------------


def model_versions() -> QuerySet[ModelVersion]:
    """Return all model versions, newest first."""
    return ModelVersion.objects.order_by("-created_at", "-id")


def active_model() -> ModelVersion | None:
    """Return the active model version, or None."""
    return ModelVersion.objects.filter(active=True).first()


def newest_judged_run(*, model: ModelVersion) -> TrainingRun | None:
    """Return the newest run that made this model and put it through the gate, or None."""
    runs = TrainingRun.objects.filter(candidate=model).exclude(gate={})
    return runs.defer("history", "metrics", "last_error").order_by("-created_at", "-id").first()


def model_before() -> ModelVersion | None:
    """Return the model that a rollback would activate, or None.

    The history is the list of promotions, without those that were rolled back.
    """
    stack: list[Promotion] = []
    for row in Promotion.objects.defer("gate").select_related("model_version").order_by("created_at", "id"):
        if row.kind == PromotionKind.ROLLBACK and stack:
            stack.pop()
        else:
            stack.append(row)
    return stack[-2].model_version if len(stack) > 1 else None


def dataset_names() -> list[str]:
    """Return the names of imported data sets."""
    names = DatasetVideo.objects.order_by("dataset").values_list("dataset", flat=True).distinct()
    return list(names[:100])


# --- for those who run it --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OperationalCounts:
    """Counts for /metrics; `active_model` is (id, name, "true"/"false" for experimental) or None."""

    videos: dict[str, int]
    open_analyses: dict[tuple[str, str], int]
    verdicts: dict[str, int]
    awaiting_review: int
    oldest_queued_s: float
    active_model: tuple[str, str, str] | None


def operational_counts() -> OperationalCounts:
    """Count videos, verdicts and open analyses exactly, in five queries.

    Counts are not cached between scrapes: every web process must report the same.  One query walks a narrow index made
    for
    it from end to end (docs/measurements.md#the-admin-over-a-million-videos), so it counts rows, not keys.
    """
    videos, verdicts = dict.fromkeys(State.values, 0), dict.fromkeys(VerdictLabel.values, 0)
    both = Video.objects.order_by().values_list("status", "verdict_label")
    for status, verdict, count in both.annotate(count=Count("*")):
        videos[status] += count
        if verdict:
            verdicts[verdict] += count
    open_rows = Analysis.objects.filter(state__in=OPEN_STATES).order_by()
    oldest = open_rows.filter(state=State.QUEUED).aggregate(oldest=Min("created_at"))["oldest"]
    model = active_model()
    return OperationalCounts(
        videos=videos,
        open_analyses={
            (state, stage): count
            for state, stage, count in open_rows.values_list("state", "stage").annotate(Count("pk"))
        },
        verdicts=verdicts,
        awaiting_review=Video.objects.filter(needs_review=True, label="").count(),
        oldest_queued_s=(timezone.now() - oldest).total_seconds() if oldest else 0.0,
        active_model=(str(model.pk), model.name, str(model.experimental).lower()) if model else None,
    )


# --- what the retention policy has removed ---------------------------------------------------------------------------


def original_sentence(video: Video) -> str:
    """Return when the original was removed, or an empty string."""
    when = video.original_removed_at
    return _("The original was removed by the retention policy on %(day)s.") % {"day": _day(when)} if when else ""


def pictures_sentence(video: Video) -> str:
    """Return when the pictures were removed, or an empty string."""
    when = video.pictures_removed_at if video.extracted_at else None
    return _("The pictures were removed by the retention policy on %(day)s.") % {"day": _day(when)} if when else ""


def check_original(video: Video, *, then: str = "", status: int = 410) -> None:
    """Raise Refused `original_expired` if the original was removed; `then` is a sentence about what can be done."""
    if sentence := original_sentence(video):
        raise Refused("original_expired", f"{sentence} {then}".strip(), status=status)


def check_pictures(video: Video) -> None:
    """Raise Refused `pictures_expired` (410) if the pictures were removed."""
    if sentence := pictures_sentence(video):
        raise Refused("pictures_expired", sentence, status=410)


def _day(when: datetime) -> str:
    return date_format(when, _("j F Y"))
