"""Videos, their analyses and verdicts, what people say of them, and the models that judge them.

An Analysis is one task, and moves like this (only `detection.services.jobs` moves it):

    queued/extract ──claim──> running/extract ──faces──> queued/classify ──claim──> running/classify ──> succeeded
          ^                      │  │   │                   │        ^                    │  │
          │      lease expired,  │  │   └── no valid face   │ no     │ a model is         │  └── bad weights: back to
          └──── attempts left ───┘  │       ──> no_face (*) │ model  │ registered         │      queued, with backoff
                                    │                       v        │                    │
                 bad input ──> failed                queued/awaiting_model                │
                                    └────── attempts used up ──> dead <───────────────────┘

(*) or to queued/classify, where the active model looks at whole frames and needs no face.
`dead` is shown to clients as `failed` with the code `gave_up`; "requeue" in admin starts a new Analysis.
From every open state its owner can move it to `cancelled`, which clients see as `failed` with the code `cancelled`.
A data set's video (it has a DatasetVideo) goes from running/extract straight to succeeded, without a verdict.
"""

from __future__ import annotations

import random
import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone

from detection.models.choices import (
    TOLD_AS_FAILED,
    Assessment,
    ModelKind,
    ReviewLabel,
    ReviewNext,
    Stage,
    State,
    VerdictLabel,
)
from detection.models.indexes import DOUBTFUL, PREFIX_THEN_TIME, PRESENT, newest
from detection.models.leasing import LeasedJob

AUDIT_RANKS = 10_000


def audit_rank() -> int:
    """Draw a rank; the lowest ranks form the random audit."""
    return random.randrange(AUDIT_RANKS)  # nosec B311 # a sample, not a secret


OLDEST = ("created_at", "id")


class Video(models.Model):
    """An uploaded file with its properties, and mirrors of its newest analysis, verdict and label.

    All files of a video are in storage below `videos/<id>/`.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="videos")
    external_id = models.CharField(max_length=200, blank=True, help_text="The client's own name for it.")
    metadata = models.JSONField(default=dict, blank=True, help_text="The client's own facts; never interpreted.")
    original_name = models.CharField(max_length=255, help_text="As uploaded; shown, never trusted.")
    name_key = models.GeneratedField(
        expression=Lower("original_name"), output_field=models.CharField(max_length=255), db_persist=True
    )
    sha256 = models.CharField(max_length=64)
    size_bytes = models.BigIntegerField()
    file = models.FileField(max_length=200)
    clip = models.FileField(max_length=200, blank=True, help_text="The first 150 frames, copied, not re-encoded.")
    thumbnail = models.FileField(max_length=200, blank=True)
    preview = models.FileField(
        max_length=200,
        blank=True,
        db_default="",  # while it is being upgraded, processes of the version before add rows without it
        help_text="The clip as H.264, for browsers that cannot play its own codec.",
    )

    # Facts of the picture, known once a worker has opened the file.
    container = models.CharField(max_length=80, blank=True)
    codec = models.CharField(max_length=40, blank=True)
    width = models.PositiveIntegerField(null=True, blank=True, help_text="Pixels, as shown (after rotation).")
    height = models.PositiveIntegerField(null=True, blank=True)
    rotation = models.SmallIntegerField(null=True, blank=True, help_text="Degrees, as the container says.")
    fps = models.FloatField(null=True, blank=True)
    duration_s = models.FloatField(null=True, blank=True)
    frames_decoded = models.PositiveIntegerField(null=True, blank=True, help_text="Of the first segment.")
    segments = models.JSONField(
        null=True,
        blank=True,
        help_text="Where it was looked at: [{start_s, end_s, clip}] in time order; null where in its first 150 frames"
        " only.  The first one's clip is the video's.",
    )
    frames_claimed = models.PositiveIntegerField(null=True, blank=True, help_text="As the file says; at most 150.")
    truncated = models.BooleanField(null=True, blank=True, help_text="Clearly fewer decoded than claimed.")
    tracks = models.PositiveSmallIntegerField(null=True, blank=True, help_text="People found.")
    people_left_out = models.PositiveSmallIntegerField(null=True, blank=True, help_text="Seen, but not judged.")
    people_version = models.PositiveIntegerField(
        null=True, blank=True, help_text="How often its faces came to be other people's (`track`) than before."
    )
    fingerprint = models.CharField(
        max_length=64, blank=True, help_text="Perceptual hash of the thumbnail (hex); `-` where it has no structure."
    )
    extracted_at = models.DateTimeField(null=True, blank=True)

    # Mirrors, written in the transaction that writes what they mirror, so that lists filter on one table.
    status = models.CharField(max_length=12, choices=State, default=State.QUEUED)
    current_analysis = models.ForeignKey("Analysis", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    current_verdict = models.ForeignKey("Verdict", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    verdict_model = models.ForeignKey(
        "ModelVersion", null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    verdict_label = models.CharField(max_length=8, choices=VerdictLabel, blank=True)
    fake_probability = models.FloatField(null=True, blank=True)
    needs_review = models.BooleanField(default=False)
    label = models.CharField(
        max_length=8,
        choices=ReviewLabel,
        blank=True,
        help_text="What reviewers or a data set say; unsure while they differ.",
    )
    person_labels = models.JSONField(null=True, blank=True, help_text="And of its people: {track: PersonLabel}.")

    margin = models.FloatField(null=True, blank=True, help_text="Distance of the score from its threshold.")
    review_next = models.CharField(max_length=12, choices=ReviewNext, blank=True)
    audit_rank = models.PositiveSmallIntegerField(
        default=audit_rank, editable=False, help_text="Drawn once: the lowest ranks are the random audit."
    )

    original_removed_at = models.DateTimeField(
        null=True, blank=True, help_text="The upload, its clip and preview: by the retention policy."
    )
    pictures_removed_at = models.DateTimeField(
        null=True, blank=True, help_text="Faces, frames, thumbnail and prints: by the retention policy."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = [
            models.UniqueConstraint(fields=("owner", "sha256"), name="video_content_once_per_owner"),
            models.CheckConstraint(condition=Q(size_bytes__gt=0), name="video_not_empty"),
            models.CheckConstraint(
                condition=Q(fake_probability__isnull=True) | Q(fake_probability__range=(0, 1)),
                name="video_probability_in_0_1",
            ),
        ]
        indexes = [
            # admin and reviewers: every list, newest first, by what it filters on
            newest("video_newest"),
            newest("video_by_status", "status"),
            newest("video_by_needs_review", condition=DOUBTFUL),
            newest("video_by_verdict", "verdict_label"),
            newest("video_by_label", "label"),
            newest("video_by_model", "verdict_model"),
            newest("video_waiting", "label", also=("pictures_removed_at",), condition=DOUBTFUL),
            newest("video_waiting_of_owner", "owner", "label", condition=DOUBTFUL),
            # a list and, from the oldest on, two queues of the workspace
            newest("video_by_status_label", "status", "label", also=("pictures_removed_at",)),
            # the workspace: the next video of each other queue, and how many there are, without a look at the table
            models.Index(fields=("label", "margin", "id"), name="video_uncertain", condition=DOUBTFUL & PRESENT),
            models.Index(fields=("label", "audit_rank", "id", "status"), name="video_audit", condition=PRESENT),
            models.Index(fields=("review_next", "created_at", "id"), name="video_review_next", condition=PRESENT),
            # the random audit, settled or not: how good a model is here
            models.Index(
                fields=("audit_rank", "id"), name="video_by_audit_rank", condition=Q(verdict_model__isnull=False)
            ),
            # a client: its own videos, and one by its own name
            newest("video_owner_newest", "owner"),
            models.Index(fields=("owner", "external_id", "-created_at", "-id"), name="video_owner_external_id"),
            # the retention policy: the oldest that still have something to lose
            models.Index(fields=OLDEST, name="video_with_original", condition=Q(original_removed_at=None)),
            models.Index(fields=OLDEST, name="video_with_pictures", condition=PRESENT),
            # /metrics: how many there are of each, in one walk
            models.Index(fields=("status", "verdict_label"), name="video_counts"),
            # admin's search: the first characters of a hash, of a name (any case), of a client's name.  The operator
            # classes are Postgres': without them it serves no LIKE 'x%' unless its collation is C.
            models.Index(fields=("sha256",), name="video_by_sha256"),
            models.Index(fields=("name_key", "-created_at"), name="video_by_name", opclasses=PREFIX_THEN_TIME),
            models.Index(
                fields=("external_id", "-created_at"), name="video_by_external_id", opclasses=PREFIX_THEN_TIME
            ),
        ]

    def __str__(self) -> str:
        return self.original_name or str(self.id)

    @property
    def folder(self) -> str:
        """Return the folder in storage that holds all files of this video."""
        return f"videos/{self.id}"


class Analysis(LeasedJob):
    """One analysis of one video, through extraction and classification; see the module's diagram.

    The REST API calls it a task.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    video = models.ForeignKey(Video, on_delete=models.CASCADE, related_name="analyses")
    state = models.CharField(max_length=12, choices=State, default=State.QUEUED)
    stage = models.CharField(max_length=16, choices=Stage, default=Stage.EXTRACT)
    progress = models.PositiveSmallIntegerField(default=0, help_text="0 to 100, over both stages.")
    sensitive = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Somebody asked to look again, with lower thresholds for what counts as a face.",
    )
    not_before = models.DateTimeField(default=timezone.now, help_text="Backoff: no claim before this.")
    worker = models.CharField(max_length=120, blank=True, help_text="Who claimed it last.")
    error_code = models.CharField(max_length=40, blank=True)
    error_detail = models.CharField(max_length=500, blank=True, help_text="A sentence for the client.")
    timings = models.JSONField(default=dict, blank=True, help_text="Seconds per step.")
    verdict = models.ForeignKey("Verdict", null=True, blank=True, on_delete=models.SET_NULL, related_name="analyses")
    started_at = models.DateTimeField(null=True, blank=True)
    replaced = models.BooleanField(
        default=False, db_default=False, help_text="It failed, and a newer one has begun since."
    )

    class Meta:
        verbose_name_plural = "analyses"
        ordering = ("-created_at", "-id")
        constraints = [
            models.UniqueConstraint(
                fields=("video",), condition=Q(state__in=("queued", "running")), name="analysis_one_open_per_video"
            ),
            models.CheckConstraint(condition=Q(progress__lte=100), name="analysis_progress_percent"),
            models.CheckConstraint(
                condition=~Q(state="running") | Q(token__isnull=False, lease_until__isnull=False),
                name="analysis_running_holds_a_lease",
            ),
            models.CheckConstraint(
                condition=Q(state__in=("queued", "running"), finished_at__isnull=True)
                | Q(
                    state__in=("succeeded", "no_face", "failed", "dead", "cancelled"),
                    finished_at__isnull=False,
                ),
                name="analysis_finished_iff_terminal",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=("failed", "dead", "cancelled")) | ~Q(error_code=""),
                name="analysis_failure_has_a_code",
            ),
        ]
        indexes = [
            # the sweeper: open rows only, which stay few when there are millions of finished ones
            models.Index(
                fields=("state", "not_before"), name="analysis_open", condition=Q(state__in=("queued", "running"))
            ),
            models.Index(fields=("video", "-created_at"), name="analysis_by_video"),
            # SQLite knows not how many rows have a state, and would as soon look for a video's among all of these
            models.Index(fields=("video", "state", "-created_at", "-id"), name="analysis_by_video_state"),
            models.Index(fields=("state", "-created_at", "-id"), name="analysis_by_state"),
            models.Index(fields=("state", "replaced", "-created_at", "-id"), name="analysis_replaced"),
            models.Index(fields=("-created_at", "-id"), name="analysis_newest"),
            models.Index(fields=("error_code", "-created_at", "-id"), name="analysis_by_error"),
            # the hourly figures: what has ended in an hour
            models.Index(fields=("finished_at",), name="analysis_finished"),
            models.Index(fields=("state", "finished_at"), name="analysis_state_finished"),
        ]

    def __str__(self) -> str:
        return f"{self.video_id} {self.state}/{self.stage}"

    @property
    def public_state(self) -> str:
        """Return the state as the API names it; an analysis between its stages is still `running`."""
        if self.state in TOLD_AS_FAILED:
            return str(State.FAILED)
        if self.state == State.QUEUED and self.stage == Stage.CLASSIFY and self.started_at is not None:
            return str(State.RUNNING)
        return str(self.state)


class ModelVersion(models.Model):
    """A registered detector; its file is in storage below `models/`, named by its sha256."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100)
    sha256 = models.CharField(max_length=64, unique=True)
    file = models.FileField(max_length=200)
    config = models.JSONField(default=dict)
    metrics = models.JSONField(default=dict, blank=True)
    threshold = models.FloatField()
    temperature = models.FloatField(default=1.0)
    shift = models.FloatField(
        default=0.0,
        db_default=0.0,
        help_text="Of the log-odds, after the temperature; other than 0 where the version was recalibrated.",
    )
    experimental = models.BooleanField(default=True)
    training_data_sha256 = models.CharField(max_length=64, blank=True)
    trained_on = models.JSONField(default=list, blank=True, help_text="Identities that its training has seen.")
    license = models.CharField(max_length=100, blank=True, default="", db_default="", help_text="SPDX name.")
    kind = models.CharField(
        max_length=20, choices=ModelKind, default=ModelKind.NETWORK, db_default=ModelKind.NETWORK.value
    )
    source = models.CharField(
        max_length=300, blank=True, default="", db_default="", help_text="Where a detector of others comes from."
    )
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="children")
    active = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    promoted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = [
            models.UniqueConstraint(fields=("active",), condition=Q(active=True), name="model_one_active"),
            models.CheckConstraint(condition=Q(threshold__gt=0, threshold__lt=1), name="model_threshold_in_0_1"),
            models.CheckConstraint(condition=Q(temperature__gt=0), name="model_temperature_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.sha256[:8]})"


class Verdict(models.Model):
    """What one model version says of one video; `fake_probability` is that of the highest track.

    Or of whole frames: then `frames` is `[{"segment", "frame_number", "timestamp_s", "fake_probability"}]`, `people` is
    empty, and no `track` is meant.  A face or frame has null for a score where the model saw all of them together.
    Over several segments it is their scores combined (see `ml.model.decision`).
    `people`: `[{"track", "fake_probability", "frames": [{"face" (FaceFrame id), "frame_number", "timestamp_s",
    "fake_probability"}]}]`, by track; `"still": true` beside the score of a still picture.
    `segments`: `[{"segment", "fake_probability", "people": [{"track", "fake_probability"}]}]` of those with a face;
    null where there is one segment only.
    `left_out`: tracks that reviewers call no person, which decide nothing; `with_everybody`: what the model says of
    all, `{"label", "fake_probability", "track", "needs_review", "review_reasons", "assessment"}`, where that is no
    longer the verdict.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    video = models.ForeignKey(Video, on_delete=models.CASCADE, related_name="verdicts")
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="verdicts")
    label = models.CharField(max_length=8, choices=VerdictLabel)
    fake_probability = models.FloatField()
    threshold = models.FloatField()
    track = models.PositiveSmallIntegerField(help_text="The person whose score it is.")
    people = models.JSONField(default=list)
    segments = models.JSONField(null=True, blank=True)
    frames = models.JSONField(null=True, blank=True)
    left_out = models.JSONField(null=True, blank=True)
    with_everybody = models.JSONField(null=True, blank=True)
    needs_review = models.BooleanField(default=False)
    review_reasons = models.JSONField(default=list, blank=True)
    assessment = models.CharField(max_length=16, choices=Assessment, blank=True, default="", db_default="")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = [
            models.UniqueConstraint(fields=("video", "model_version"), name="verdict_once_per_model"),
            models.CheckConstraint(condition=Q(fake_probability__range=(0, 1)), name="verdict_probability_in_0_1"),
            models.CheckConstraint(
                condition=Q(label="fake", fake_probability__gte=models.F("threshold"))
                | Q(label="real", fake_probability__lt=models.F("threshold")),
                name="verdict_label_follows_threshold",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.label} {self.fake_probability:.2f}"

    @property
    def deciding_track(self) -> int | None:
        """Return the person whose score it is; None where it is of whole frames."""
        return self.track if self.frames is None else None
