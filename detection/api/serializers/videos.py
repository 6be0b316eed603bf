"""Representations of videos, analyses, verdicts and reviews over REST, and request bodies."""

from __future__ import annotations

from copy import copy
from typing import Any, TypeVar

from django.conf import settings
from django.db.models import Model
from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers
from rest_framework.reverse import reverse

from detection.api.filters import PUBLIC_STATES
from detection.api.serializers import examples
from detection.api.serializers.fields import JsonBooleanField, MetadataField, VideoFileField
from detection.api.serializers.people import PersonAnswerSerializer, WithEverybodySerializer, people_data
from detection.api.serializers.segments import CoverageSerializer, SegmentSerializer, coverage_data, segments_data
from detection.models import (
    TOLD_AS_FAILED,
    Analysis,
    Assessment,
    ModelVersion,
    ReviewLabel,
    State,
    Verdict,
    Video,
)
from detection.selectors.blindness import redact
from detection.services.uploads.uploads import MAX_EXTERNAL_ID


def probability_field(help_text: str) -> serializers.FloatField:
    """Return a field of a number from 0 to 1 that is only read."""
    return serializers.FloatField(min_value=0.0, max_value=1.0, read_only=True, help_text=help_text)


_made: dict[type, dict[str, Any]] = {}

Row = TypeVar("Row", bound=Model)


class RowSerializer(serializers.ModelSerializer[Row]):
    """A ModelSerializer whose fields are built once per class and copied, which makes polls cheaper.

    Not for serializers with a `many` field: such a field and its child refer to each other.
    """

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        if type(self) not in _made:
            _made[type(self)] = super().get_fields()
        return {name: copy(field) for name, field in _made[type(self)].items()}


# --- errors ---------------------------------------------------------------------------------------------------------


class FieldProblemSerializer(serializers.Serializer[Any]):
    field = serializers.CharField(help_text="Empty where no single field is meant.")
    code = serializers.CharField()
    detail = serializers.CharField()


@extend_schema_serializer(examples=[examples.PROBLEM])
class ProblemSerializer(serializers.Serializer[Any]):
    """An error (RFC 9457).  `code` is stable for programs, `detail` is a sentence for people."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    code = serializers.CharField()
    instance = serializers.CharField()
    errors = FieldProblemSerializer(many=True, required=False)  # type: ignore[assignment]  # also a DRF property


# --- what is sent -----------------------------------------------------------------------------------------------------


class UploadSerializer(serializers.Serializer[Any]):
    """The form of an upload."""

    file = VideoFileField(
        allow_empty_file=True,
        help_text=f"The video, at most {settings.DFD_MAX_UPLOAD_BYTES:,} bytes.  What it is, is read from its content.",
        error_messages={"required": "No file was submitted, or its name is not UTF-8."},
    )
    external_id = serializers.CharField(
        max_length=MAX_EXTERNAL_ID, required=False, allow_blank=True, default="", trim_whitespace=False,
        help_text="Your own name for it.",
    )  # fmt: skip
    metadata = MetadataField(
        required=False,
        help_text='Your own facts as a JSON object, e.g. `{"camera": 3}`; at most 16 KiB, never interpreted.',
    )


class AnalyzeSerializer(serializers.Serializer[Any]):
    reuse_faces = JsonBooleanField(
        default=True, help_text="True scores the stored faces again; false looks for faces anew."
    )


# --- what is answered -------------------------------------------------------------------------------------------------


class ModelVersionSerializer(RowSerializer[ModelVersion]):
    """A detector that was registered, and how good it is; `kind` says what it is and what it looks at."""

    metrics = serializers.DictField(read_only=True)

    class Meta:
        model = ModelVersion
        fields = (
            "id", "name", "sha256", "kind", "active", "experimental", "threshold", "temperature", "metrics",
            "license", "source", "training_data_sha256", "parent", "created_at", "promoted_at",
        )  # fmt: skip
        read_only_fields = fields


class ModelReferenceSerializer(RowSerializer[ModelVersion]):
    """The set of weights that a verdict is of."""

    class Meta:
        model = ModelVersion
        fields = ("id", "name", "sha256", "experimental")
        read_only_fields = fields


class ScoredFrameSerializer(serializers.Serializer[Any]):
    face = serializers.UUIDField()
    frame_number = serializers.IntegerField()
    timestamp = serializers.FloatField(help_text="Seconds from the start.")
    fake_probability = serializers.FloatField(
        min_value=0, max_value=1, allow_null=True, help_text="Null where the model sees all faces of a person together."
    )
    image = serializers.URLField()


class ScoredWholeFrameSerializer(serializers.Serializer[Any]):
    segment = serializers.IntegerField(help_text="Of the video's `segments`.")
    frame_number = serializers.IntegerField()
    timestamp = serializers.FloatField(help_text="Seconds from the start.")
    fake_probability = serializers.FloatField(
        min_value=0, max_value=1, allow_null=True, help_text="Null where the model sees the frames together."
    )


class ScoredTrackSerializer(serializers.Serializer[Any]):
    track = serializers.IntegerField()
    fake_probability = serializers.FloatField(min_value=0, max_value=1, help_text="Calibrated.")
    still_picture = serializers.BooleanField(
        help_text="A poster or a photo: a face that never moves.  It decides nothing while somebody alive is there."
    )
    frames = ScoredFrameSerializer(many=True)


class VerdictSerializer(RowSerializer[Verdict]):
    """What a model version says of a video: the score of its most suspicious person, and what it rests on."""

    fake_probability = probability_field(
        "Calibrated; the highest track's, and over several segments theirs combined; still pictures count only where"
        " there is nobody else."
    )
    threshold = probability_field("From here on it is called fake.")
    assessment = serializers.ChoiceField(
        choices=[("", "The model does not say"), *Assessment.choices],
        read_only=True,
        help_text="How far the model can be told; empty where it does not say.",
    )
    review_reasons = serializers.ListField(
        child=serializers.CharField(),
        read_only=True,
        help_text="E.g. `near_threshold`, `few_faces`, `experimental_model`, `sensitive_faces`; there may be others.",
    )
    model_version = ModelReferenceSerializer(read_only=True)
    track = serializers.IntegerField(
        source="deciding_track",
        read_only=True,
        allow_null=True,
        help_text="The person whose score it is; null where the model looks at whole frames.",
    )
    faces = serializers.SerializerMethodField(
        help_text="By person; empty where the model looks at whole frames, which has nothing to do with who is there."
    )
    frames = serializers.SerializerMethodField(
        help_text="The whole frames that the model looked at; null of a model that looks at faces."
    )
    left_out = serializers.SerializerMethodField(
        help_text="Tracks that reviewers call no person: they decide nothing while somebody else is there."
    )
    with_everybody = serializers.SerializerMethodField(
        help_text="What the model says with those, too; null where that is this verdict."
    )

    class Meta:
        model = Verdict
        fields = (
            "id", "label", "fake_probability", "threshold", "assessment", "track", "needs_review", "review_reasons",
            "left_out", "with_everybody", "model_version", "faces", "frames", "created_at",
        )  # fmt: skip
        read_only_fields = fields

    @extend_schema_field({"type": "array", "items": {"type": "integer"}})
    def get_left_out(self, verdict: Verdict) -> list[int]:
        return verdict.left_out or []

    @extend_schema_field(WithEverybodySerializer(allow_null=True))
    def get_with_everybody(self, verdict: Verdict) -> dict[str, Any] | None:
        return verdict.with_everybody

    @extend_schema_field(ScoredTrackSerializer(many=True))
    def get_faces(self, verdict: Verdict) -> list[dict[str, Any]]:
        request = self.context.get("request")
        return [
            {
                "track": person["track"],
                "fake_probability": person["fake_probability"],
                "still_picture": bool(person.get("still", False)),
                "frames": [
                    {
                        "face": frame["face"],
                        "frame_number": frame["frame_number"],
                        "timestamp": frame["timestamp_s"],
                        "fake_probability": frame["fake_probability"],
                        "image": reverse("api:face-image", kwargs={"face_id": frame["face"]}, request=request),
                    }
                    for frame in person["frames"]
                ],
            }
            for person in verdict.people
        ]

    @extend_schema_field(ScoredWholeFrameSerializer(many=True, allow_null=True))
    def get_frames(self, verdict: Verdict) -> list[dict[str, Any]] | None:
        if verdict.frames is None:
            return None
        return [
            {
                "segment": frame["segment"],
                "frame_number": frame["frame_number"],
                "timestamp": frame["timestamp_s"],
                "fake_probability": frame["fake_probability"],
            }
            for frame in verdict.frames
        ]


class TaskErrorSerializer(serializers.Serializer[Any]):
    """Why a task has failed."""

    code = serializers.CharField(
        help_text="E.g. `corrupt_video`, `no_video_stream`, `resolution_too_large`: the file; `cancelled`: its owner;"
        " `gave_up`: each attempt died.  There may be others."
    )
    detail = serializers.CharField(help_text="A sentence for people.")


class TaskSummarySerializer(RowSerializer[Analysis]):
    """A task without its verdict: as it is shown within a video, which has the verdict itself."""

    url = serializers.HyperlinkedIdentityField(view_name="api:task", lookup_url_kwarg="task_id")
    video = serializers.UUIDField(source="video_id", read_only=True)
    state = serializers.ChoiceField(choices=PUBLIC_STATES, source="public_state", read_only=True)
    progress = serializers.IntegerField(min_value=0, max_value=100, read_only=True)
    error = serializers.SerializerMethodField()

    class Meta:
        model = Analysis
        fields: tuple[str, ...] = (
            "id", "url", "video", "state", "stage", "progress", "attempts", "error", "created_at", "started_at",
            "finished_at",
        )  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(TaskErrorSerializer(allow_null=True))
    def get_error(self, task: Analysis) -> dict[str, str] | None:
        # A task that will be tried again has failed attempts, but no error yet.
        if task.public_state != State.FAILED:
            return None
        return {"code": task.error_code, "detail": task.error_detail}


@extend_schema_serializer(examples=[examples.RUNNING_TASK, examples.FAILED_TASK])
class TaskSerializer(TaskSummarySerializer):
    """A task with its verdict, once it has one."""

    verdict = VerdictSerializer(read_only=True, allow_null=True)
    segments = serializers.SerializerMethodField(help_text="The parts that were looked at, in time order.")
    coverage = serializers.SerializerMethodField(help_text="How much of the video was looked at; null before that.")

    class Meta(TaskSummarySerializer.Meta):
        fields = (*TaskSummarySerializer.Meta.fields, "verdict", "segments", "coverage")
        read_only_fields = fields

    @extend_schema_field(SegmentSerializer(many=True))
    def get_segments(self, task: Analysis) -> list[dict[str, Any]]:
        return segments_data(self._video(task), task.verdict, self.context.get("request"))

    @extend_schema_field(CoverageSerializer(allow_null=True))
    def get_coverage(self, task: Analysis) -> dict[str, Any] | None:
        return coverage_data(self._video(task))

    def _video(self, task: Analysis) -> Video:
        facts: Video | None = getattr(task, "video_facts", None)
        return facts or task.video

    def to_representation(self, instance: Analysis) -> dict[str, Any]:
        if getattr(instance, "withheld", False):
            instance = copy(instance)
            instance.verdict = None
        return super().to_representation(instance)


class MediaSerializer(serializers.Serializer[Any]):
    original = serializers.URLField(allow_null=True)
    clip = serializers.URLField(allow_null=True, help_text="The first 150 frames, as they are.")
    thumbnail = serializers.URLField(allow_null=True)


class VideoSerializer(RowSerializer[Video]):
    """An uploaded video, its newest task and the verdict that stands."""

    url = serializers.HyperlinkedIdentityField(view_name="api:video", lookup_url_kwarg="video_id")
    owner = serializers.CharField(source="owner.username", read_only=True)
    metadata = serializers.DictField(read_only=True)
    status = serializers.SerializerMethodField(help_text="The newest task's state.")
    task = TaskSummarySerializer(source="current_analysis", read_only=True, allow_null=True)
    verdict = VerdictSerializer(source="current_verdict", read_only=True, allow_null=True)
    segments = serializers.SerializerMethodField(help_text="The parts that were looked at, in time order.")
    coverage = serializers.SerializerMethodField(help_text="How much of it was looked at; null before that.")
    label = serializers.SerializerMethodField(help_text="What reviewers say; unsure while they differ.")  # type: ignore[assignment]
    people = serializers.SerializerMethodField(help_text="And of its people, by track; unsure while they differ.")
    people_version = serializers.SerializerMethodField(
        help_text="Counts how often the tracks came to be other people's, after a new look for faces."
    )
    media = serializers.SerializerMethodField()
    withheld = serializers.BooleanField(
        read_only=True,
        default=False,
        help_text="True where you are to read this video and have not answered yet: `verdict`, `needs_review` and"
        " `label` then tell nothing.",
    )

    class Meta:
        model = Video
        fields = (
            "id", "url", "owner", "external_id", "metadata", "original_name", "sha256", "size_bytes",
            "container", "codec", "width", "height", "rotation", "fps", "duration_s", "frames_decoded",
            "frames_claimed", "truncated", "tracks", "people_left_out",
            "segments", "coverage", "status", "task", "verdict", "needs_review", "label", "people", "people_version",
            "withheld", "media",
            "original_removed_at", "pictures_removed_at", "created_at", "updated_at",
        )  # fmt: skip
        read_only_fields = fields

    def to_representation(self, instance: Video) -> dict[str, Any]:
        if getattr(instance, "withheld", False):
            instance = redact(copy(instance))
        return super().to_representation(instance)

    @extend_schema_field(serializers.ChoiceField(choices=PUBLIC_STATES))
    def get_status(self, video: Video) -> str:
        return State.FAILED.value if video.status in TOLD_AS_FAILED else str(video.status)

    @extend_schema_field(serializers.ChoiceField(choices=ReviewLabel.choices, allow_null=True))
    def get_label(self, video: Video) -> str | None:
        return video.label or None

    @extend_schema_field(PersonAnswerSerializer(many=True))
    def get_people(self, video: Video) -> list[dict[str, Any]]:
        return people_data(video.person_labels)

    def get_people_version(self, video: Video) -> int:
        return video.people_version or 0

    @extend_schema_field(SegmentSerializer(many=True))
    def get_segments(self, video: Video) -> list[dict[str, Any]]:
        return segments_data(video, video.current_verdict, self.context.get("request"))

    @extend_schema_field(CoverageSerializer(allow_null=True))
    def get_coverage(self, video: Video) -> dict[str, Any] | None:
        return coverage_data(video)

    @extend_schema_field(MediaSerializer)
    def get_media(self, video: Video) -> dict[str, str | None]:
        def url(kind: str) -> str:
            kwargs = {"video_id": video.pk, "kind": kind}
            return reverse("api:video-media", kwargs=kwargs, request=self.context.get("request"))

        return {
            "original": url("original") if video.file else None,
            "clip": url("clip") if video.clip else None,
            "thumbnail": url("thumbnail") if video.thumbnail else None,
        }
