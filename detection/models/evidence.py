"""Evidence, made on request: heat maps, previews and reports; perceptual hashes; and what files say of themselves."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_noop

from detection.models.choices import State
from detection.models.core import Video
from detection.models.leasing import LeasedJob


class EvidenceKind(models.TextChoices):
    """Kinds of evidence."""

    HEATMAPS = "heatmaps", gettext_noop("Heat maps")
    PREVIEW = "preview", gettext_noop("Preview")
    REPORT = "report", gettext_noop("Evidence report")


class EvidenceJob(LeasedJob):
    """A request for evidence, claimed under a lease like an analysis; ends as succeeded or failed.

    `result` of heat maps: `{"model": sha256, "faces": {FaceFrame id: name in storage}}`; of a report, which is its
    requester's alone: `{"basis": what it was made from, "bundle", "pdf": names in storage}`.  A preview is the video's.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    video = models.ForeignKey(Video, on_delete=models.CASCADE, related_name="evidence_jobs")
    kind = models.CharField(max_length=12, choices=EvidenceKind)
    state = models.CharField(max_length=12, choices=State, default=State.QUEUED)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    result = models.JSONField(default=dict, blank=True)
    error_detail = models.CharField(max_length=500, blank=True, help_text="A sentence for who asked.")

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = [
            models.UniqueConstraint(
                fields=("video", "kind"),
                condition=Q(state__in=("queued", "running")) & ~Q(kind="report"),
                name="evidence_one_open",
            ),
            models.UniqueConstraint(
                fields=("video", "requested_by"),
                condition=Q(state__in=("queued", "running"), kind="report"),
                name="evidence_one_open_report",
            ),
            models.CheckConstraint(
                condition=Q(state__in=("queued", "running"), finished_at__isnull=True)
                | Q(state__in=("succeeded", "failed"), finished_at__isnull=False),
                name="evidence_finished_iff_terminal",
            ),
        ]
        indexes = [
            models.Index(fields=("video", "kind", "-created_at"), name="evidence_by_video"),
            # the sweeper: open ones only
            models.Index(fields=("state",), name="evidence_open", condition=Q(state__in=("queued", "running"))),
            # reports that are due to be deleted
            models.Index(fields=("created_at",), name="evidence_reports", condition=Q(kind="report")),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.video_id}: {self.state}"


class PrintKind(models.TextChoices):
    """What a perceptual hash was computed from."""

    PICTURE = "picture", gettext_noop("Picture")
    FACE = "face", gettext_noop("Face")


class Print(models.Model):
    """A 256-bit perceptual hash of a video's picture or of one person's face.

    Each band holds 12 bits from all over the hash; hashes that share a band are compared bit by bit.
    """

    video = models.ForeignKey(Video, on_delete=models.CASCADE, related_name="prints")
    kind = models.CharField(max_length=8, choices=PrintKind)
    track = models.PositiveSmallIntegerField(default=0)
    bits = models.CharField(max_length=64, help_text="256 bits as hex.")
    band0 = models.PositiveSmallIntegerField()
    band1 = models.PositiveSmallIntegerField()
    band2 = models.PositiveSmallIntegerField()
    band3 = models.PositiveSmallIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=("video", "kind", "track"), name="print_once")]
        indexes = [models.Index(fields=("kind", f"band{k}"), name=f"print_band{k}") for k in range(4)]

    def __str__(self) -> str:
        return f"{self.kind} of {self.video_id}"


class VideoProvenance(models.Model):
    """Claims of a video's file, read when it was extracted.

    `claims`: `ml.video.provenance.metadata.Provenance`.  `credentials`: its C2PA manifest, as
    `ml.video.provenance.content_credentials.describe` says it; null where it has none.
    """

    video = models.OneToOneField(Video, primary_key=True, on_delete=models.CASCADE, related_name="provenance")
    claims = models.JSONField(default=dict)
    credentials = models.JSONField(null=True, blank=True)
    read_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"provenance of {self.video_id}"
