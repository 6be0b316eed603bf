"""What may be read by whom, and the reads of more than a row.  Nothing here writes.

A video may be seen by its owner and by who has `detection.view_video` (reviewers).  Everyone else is told that it does
not exist, so ids cannot be tried out.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db.models import BooleanField, Count, ExpressionWrapper, F, Min, QuerySet
from django.utils import timezone

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
    """The videos that the user may see; an anonymous one sees none."""
    if not user.is_authenticated:
        return Video.objects.none()
    if has(user, "detection.view_video"):
        return Video.objects.all()
    return Video.objects.filter(owner_id=user.pk)


def videos_with_answers(*, user: User) -> QuerySet[Video]:
    """Visible videos with all that their representation shows, in one query however many there are.

    `withheld` says of each whether the user must not be told what the model and others say of it (see `blindness`).
    """
    videos = visible_videos(user=user).select_related("owner", "current_analysis", "current_verdict__model_version")
    return videos.annotate(withheld=ExpressionWrapper(blindness.is_withheld_expression(user), BooleanField()))


_NOT_OF_A_TASK = (
    "sensitive", "token", "lease_until", "not_before", "published_at", "worker", "last_error", "timings", "replaced",
    *(f"verdict__model_version__{field}" for field in (
        "file", "config", "metrics", "threshold", "temperature", "training_data_sha256", "trained_on", "license",
        "parent", "active", "created_at", "promoted_at",
    )),
)  # fmt: skip


def visible_task(*, user: User, task_id: UUID) -> Analysis | None:
    """The task with its verdict, or None where its video is not the user's to see.

    `withheld` says whether the verdict must not be told (see `blindness`).  The poll of an owner is the commonest
    request there is: their permissions are not looked up for it, and columns that the API does not show are not read.
    """
    tasks = Analysis.objects.select_related("verdict__model_version").defer(*_NOT_OF_A_TASK)
    tasks = tasks.annotate(
        owner_id=F("video__owner_id"),
        review_next=F("video__review_next"),
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
    second = task.review_next == ReviewNext.SECOND and blindness.is_withheld(user, task.video_id)
    task.withheld = task.claimed or second  # type: ignore[attr-defined]
    return task


def open_analyses(*, owner_id: int) -> int:
    """How many analyses of the owner's videos are queued or running."""
    return Analysis.objects.filter(video__owner_id=owner_id, state__in=OPEN_STATES).count()


def waiting_for_extraction(*, at_most: int) -> int:
    """How many analyses of all users wait for a worker's first look or have it now; counts no further than asked."""
    return Analysis.objects.filter(state__in=OPEN_STATES, stage=Stage.EXTRACT)[:at_most].count()


def has_open_analysis(*, video: Video) -> bool:
    return Analysis.objects.filter(video=video, state__in=OPEN_STATES).exists()


# --- what belongs to a video -----------------------------------------------------------------------------------------


def faces_of(*, video: Video) -> QuerySet[FaceFrame]:
    """By person, then in time order."""
    return FaceFrame.objects.filter(video=video).order_by("track", "position")


def frame_scores(*, video: Video) -> dict[str, float]:
    """Per face (its id as a string) the score that the standing verdict gives it."""
    if video.current_verdict is None:
        return {}
    return {
        str(frame["face"]): float(frame["fake_probability"])
        for person in video.current_verdict.people
        for frame in person["frames"]
    }


def reviews_of(*, video: Video) -> QuerySet[Review]:
    """Those that stand, also the owner's opinion, newest first, with who said it."""
    return Review.objects.shown().filter(video=video).select_related("reviewer").order_by("-created_at", "-id")


def visible_face(*, user: User, face_id: UUID) -> FaceFrame | None:
    return FaceFrame.objects.filter(pk=face_id, video__in=visible_videos(user=user)).first()


def visible_sampled_frame(*, user: User, frame_id: UUID) -> SampledFrame | None:
    return SampledFrame.objects.filter(pk=frame_id, video__in=visible_videos(user=user)).first()


# --- models ----------------------------------------------------------------------------------------------------------


def model_versions() -> QuerySet[ModelVersion]:
    """Newest first."""
    return ModelVersion.objects.order_by("-created_at", "-id")


def active_model() -> ModelVersion | None:
    return ModelVersion.objects.filter(active=True).first()


def newest_judged_run(*, model: ModelVersion) -> TrainingRun | None:
    """The newest run that made this model and put it through the gate."""
    runs = TrainingRun.objects.filter(candidate=model).exclude(gate={})
    return runs.defer("history", "metrics", "last_error").order_by("-created_at", "-id").first()


def model_before() -> ModelVersion | None:
    """The model that a rollback would bring back; None where there is none.

    The way back is the list of promotions, without those that were rolled back.
    """
    stack: list[Promotion] = []
    for row in Promotion.objects.defer("gate").select_related("model_version").order_by("created_at", "id"):
        if row.kind == PromotionKind.ROLLBACK and stack:
            stack.pop()
        else:
            stack.append(row)
    return stack[-2].model_version if len(stack) > 1 else None


def dataset_names() -> list[str]:
    """Of the data sets that were imported."""
    names = DatasetVideo.objects.order_by("dataset").values_list("dataset", flat=True).distinct()
    return list(names[:100])


# --- for those who run it --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OperatingFigures:
    """Counts by label; `active_model` is (id, name, "true"/"false" for experimental) or None."""

    videos: dict[str, int]
    open_analyses: dict[tuple[str, str], int]
    verdicts: dict[str, int]
    awaiting_review: int
    oldest_queued_s: float
    active_model: tuple[str, str, str] | None


def operating_figures() -> OperatingFigures:
    """What /metrics tells: five queries.

    The counts are exact, and are not kept from one scrape to the next: every web process is to tell the same.  One of
    them reads an index from end to end, made for this alone, as narrow as can be: 70 ms for a million videos.
    So it counts rows and not keys, which are not in it.
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
    return OperatingFigures(
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
