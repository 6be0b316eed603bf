"""Tables of the learning loop: data sets, identity splits, snapshots, training runs, promotions."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_noop

from detection.models.append_only import AppendOnlyModel
from detection.models.choices import VerdictLabel
from detection.models.core import ModelVersion, Video
from detection.models.leasing import LeasedJob


class Split(models.TextChoices):
    """The split of an identity.  `ml.data.splits` has the same names; a test holds them equal."""

    TRAIN = "train", gettext_noop("Training")
    VAL = "val", gettext_noop("Validation")
    HOLDOUT = "holdout", gettext_noop("Holdout")


class RunState(models.TextChoices):
    """States of a training run."""

    QUEUED = "queued", gettext_noop("Queued")
    RUNNING = "running", gettext_noop("Running")
    SUCCEEDED = "succeeded", gettext_noop("Succeeded")
    REFUSED = "refused", gettext_noop("Refused")
    FAILED = "failed", gettext_noop("Failed")


class PromotionKind(models.TextChoices):
    """How a model became active."""

    FIRST = "first", gettext_noop("First model")
    GATE = "gate", gettext_noop("Passed the gate")
    FORCED = "forced", gettext_noop("Forced")
    ROLLBACK = "rollback", gettext_noop("Rolled back")


class DatasetVideo(models.Model):
    """A video that came from a data set, with what the set says of it.

    `identity` and `donor` are named so that one person has one name in all sets of one maker (`ff183`, `cdf32`,
    `dfd06`); a folder's or CSV's own groups are prefixed with the set's name.
    """

    video = models.OneToOneField(Video, on_delete=models.CASCADE, related_name="dataset_video")
    dataset = models.CharField(max_length=60)
    path = models.CharField(max_length=500, help_text="Below the data set's folder.")
    label = models.CharField(max_length=8, choices=VerdictLabel)
    identity = models.CharField(max_length=160, help_text="Who is seen, or the source clip where nobody knows.")
    donor = models.CharField(max_length=160, blank=True, help_text="Whose face was put in; fakes only.")
    method = models.CharField(max_length=60, blank=True)
    compression = models.CharField(max_length=20, blank=True)
    official_split = models.CharField(max_length=8, blank=True, help_text="train, val or test, as the set says.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("dataset", "path")
        constraints = [models.UniqueConstraint(fields=("dataset", "path"), name="dataset_path_once")]
        # the list, in its order, with all that it is filtered by
        indexes = [models.Index(fields=("dataset", "path", "label", "official_split"), name="dataset_list")]

    def __str__(self) -> str:
        return f"{self.dataset}: {self.path}"


class IdentitySide(models.Model):
    """The split of one identity, assigned once and for good, so that the holdout is frozen.  `side` is the split."""

    name = models.CharField(max_length=160, primary_key=True)
    side = models.CharField(max_length=8, choices=Split)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return f"{self.name}: {self.side}"


class Snapshot(models.Model):
    """A frozen training set; its manifest (one JSON object a line, by video) is in storage below `snapshots/`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    sha256 = models.CharField(max_length=64, unique=True)
    manifest = models.FileField(max_length=200)
    summary = models.JSONField(
        default=dict, help_text="Counts by side, set, label and reviewer, and what was left out."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("-created_at", "-id")

    def __str__(self) -> str:
        return self.sha256[:12]


class TrainingRun(LeasedJob):
    """One retraining: queued (or started in a terminal), running under a lease, ended with a sentence.

    `refused` is an outcome, not an error: there was too little to learn from.  A run whose lease expired is resumed
    from
    its checkpoints, by the sweeper or by `retrain --resume`.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    state = models.CharField(max_length=12, choices=RunState, default=RunState.QUEUED)
    options = models.JSONField(default=dict)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    snapshot = models.ForeignKey(Snapshot, null=True, blank=True, on_delete=models.PROTECT, related_name="runs")
    parent = models.ForeignKey(ModelVersion, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    candidate = models.ForeignKey(ModelVersion, null=True, blank=True, on_delete=models.SET_NULL, related_name="runs")
    phase = models.CharField(max_length=80, blank=True)
    progress = models.PositiveSmallIntegerField(default=0, help_text="0 to 100.")
    history = models.JSONField(default=list, blank=True, help_text="One entry an epoch.")
    metrics = models.JSONField(default=dict, blank=True)
    gate = models.JSONField(default=dict, blank=True)
    report = models.FileField(max_length=200, blank=True, help_text="The HTML report; the JSON is beside it.")
    message = models.CharField(max_length=1000, blank=True, help_text="How it ended, in a sentence.")
    worker = models.CharField(max_length=120, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = [
            models.CheckConstraint(condition=Q(progress__lte=100), name="run_progress_percent"),
            models.CheckConstraint(
                condition=Q(state__in=("queued", "running"), finished_at__isnull=True)
                | Q(state__in=("succeeded", "refused", "failed"), finished_at__isnull=False),
                name="run_finished_iff_terminal",
            ),
        ]
        indexes = [
            # the sweeper: open runs only
            models.Index(fields=("state",), name="run_open", condition=Q(state__in=("queued", "running"))),
            models.Index(fields=("-created_at", "-id"), name="run_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.created_at:%Y-%m-%d %H:%M} {self.state}"


class LocalFigures(models.Model):
    """How good a model is on this installation's random audit; a worker measures it anew about once an hour.

    `figures`: counts (`n`, `n_real`, `n_fake`, `n_groups`, `drawn`, `settled`, `waiting`), what it takes
    (`needs_videos`, `needs_groups`), `enough`, and from so many videos on the metrics of
    `ml.evaluation.metrics.evaluate_scores` and `reliability`.
    """

    model_version = models.OneToOneField(
        ModelVersion, primary_key=True, on_delete=models.CASCADE, related_name="local_figures"
    )
    figures = models.JSONField(default=dict, blank=True)
    asked_at = models.DateTimeField(default=timezone.now, help_text="When a worker was last told to measure it.")
    measured_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.model_version_id} here"


class ShadowState(models.TextChoices):
    """States of a shadow trial."""

    QUEUED = "queued", gettext_noop("On, nobody is at it")
    RUNNING = "running", gettext_noop("On, a worker is at it")
    ENDED = "ended", gettext_noop("Off")


class ShadowTrial(LeasedJob):
    """A registered version scores new uploads silently, from `created_at` until the trial ends; one at a time.

    A worker takes it for a turn, scores what was analysed since, and puts it back.  `figures` compare the version with
    the active model on the random audit (`worker.training.measuring`).
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    model_version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="shadow_trials")
    state = models.CharField(max_length=12, choices=ShadowState, default=ShadowState.QUEUED)
    open = models.BooleanField(default=True, help_text="Until it ends; one trial is open at a time.")
    started_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    ended_because = models.CharField(max_length=500, blank=True, help_text="A sentence.")
    seen_until = models.DateTimeField(
        default=timezone.now, help_text="Analyses that finished before are scored, but for what was committed late."
    )
    failures_in_row = models.PositiveSmallIntegerField(default=0)
    figures = models.JSONField(default=dict, blank=True)
    measured_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = [
            models.UniqueConstraint(fields=("open",), condition=Q(open=True), name="shadow_one_open"),
            models.CheckConstraint(
                condition=Q(open=True, state__in=("queued", "running"), finished_at__isnull=True)
                | Q(open=False, state="ended", finished_at__isnull=False),
                name="shadow_open_until_ended",
            ),
        ]
        indexes = [models.Index(fields=("model_version", "-created_at"), name="shadow_by_model")]

    def __str__(self) -> str:
        return f"{self.model_version_id} in shadow since {self.created_at:%Y-%m-%d %H:%M}"


class ShadowScore(models.Model):
    """What a version in shadow says of a video, beside the verdict that its owner was given.

    No reviewer and no client is ever shown it.  Where scoring failed `fake_probability` is null.  `segments`: the fake
    probability of each segment's most suspicious person.
    """

    video = models.ForeignKey(Video, on_delete=models.CASCADE, related_name="shadow_scores", db_index=False)
    model_version = models.ForeignKey(
        ModelVersion, on_delete=models.CASCADE, related_name="shadow_scores", db_index=False
    )
    fake_probability = models.FloatField(null=True, blank=True)
    label = models.CharField(max_length=8, choices=VerdictLabel, blank=True)
    segments = models.JSONField(null=True, blank=True)
    seconds = models.FloatField(null=True, blank=True, help_text="Reading the faces and scoring them.")
    champion = models.ForeignKey(ModelVersion, null=True, on_delete=models.SET_NULL, related_name="+")
    champion_probability = models.FloatField()
    champion_label = models.CharField(max_length=8, choices=VerdictLabel)
    champion_seconds = models.FloatField(null=True, blank=True)
    scored_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("-scored_at", "-id")
        constraints = [
            models.UniqueConstraint(fields=("video", "model_version"), name="shadow_score_once"),
            models.CheckConstraint(
                condition=Q(fake_probability__isnull=True, label="")
                | Q(fake_probability__range=(0, 1), label__in=("real", "fake")),
                name="shadow_score_with_label",
            ),
        ]
        # the page that compares: the newest of a version.  Whether a video has one: the constraint's index.
        indexes = [models.Index(fields=("model_version", "-scored_at", "-id"), name="shadow_score_newest")]

    def __str__(self) -> str:
        return f"{self.label or 'failed'} of {self.video_id}"


class Promotion(AppendOnlyModel):
    """A change of the active model.  Append-only: which model, when, by whose decision, on which metrics."""

    refusal = "A promotion is never changed or removed."

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="promotions")
    previous = models.ForeignKey(ModelVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=10, choices=PromotionKind)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    reason = models.CharField(max_length=500, blank=True)
    gate = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("-created_at", "-id")
        indexes = [models.Index(fields=("-created_at", "-id"), name="promotion_newest")]

    def __str__(self) -> str:
        return f"{self.model_version} {self.kind}"
