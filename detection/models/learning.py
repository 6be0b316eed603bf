"""The tables of the learning loop: where labels come from, who is held out, each training run, each change of model."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from detection.models.core import AppendOnlyError, ModelVersion, VerdictLabel, Video
from detection.models.leasing import LeasedJob


class Split(models.TextChoices):
    TRAIN = "train", "Training"
    VAL = "val", "Validation"
    HOLDOUT = "holdout", "Holdout"


class RunState(models.TextChoices):
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Succeeded"
    REFUSED = "refused", "Refused"
    FAILED = "failed", "Failed"


class PromotionKind(models.TextChoices):
    FIRST = "first", "First model"
    GATE = "gate", "Passed the gate"
    FORCED = "forced", "Forced"
    ROLLBACK = "rollback", "Rolled back"


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
    """On which side of every split an identity stands, for good: dealt once, so that the holdout is frozen."""

    name = models.CharField(max_length=160, primary_key=True)
    side = models.CharField(max_length=8, choices=Split)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return f"{self.name}: {self.side}"


class Snapshot(models.Model):
    """A frozen training set.  The manifest (one JSON object a line, by video) is in storage below `snapshots/`."""

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
    """One retraining: queued (or begun in a terminal), then running under a lease, then ended with a sentence.

    `refused` is an answer, not a fault: there was too little to learn from.  A run whose lease has expired is taken up
    again from its checkpoints, by the sweeper or by `retrain --resume`.
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


class Promotion(models.Model):
    """A change of the active model.  Append only: what was live when, by whose decision, on which figures."""

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

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnlyError("A promotion is never changed.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise AppendOnlyError("A promotion is never removed.")
