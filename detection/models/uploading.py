"""Resumable uploads, idempotency keys of repeated requests, and bytes that count towards users' limits."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from detection.models.core import Video


class ResumableUpload(models.Model):
    """An upload in pieces, which are in storage below uploads/.  A request that appends holds it meanwhile.

    When complete it has a video, and is kept for a day so that a client whose response was lost can ask.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    length = models.BigIntegerField()
    arrived = models.BigIntegerField(default=0, help_text="Bytes that have arrived.")
    holder = models.UUIDField(null=True, blank=True, editable=False)
    held_until = models.DateTimeField(null=True, blank=True)
    name = models.CharField(max_length=255)
    external_id = models.CharField(max_length=200, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    idempotency_key = models.CharField(max_length=200, blank=True)
    video_id = models.UUIDField(null=True, blank=True, help_text="What it became; the video may be deleted since.")
    touched_at = models.DateTimeField(default=timezone.now, db_index=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(length__gt=0), name="resumable_upload_not_empty"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.length:,} bytes)"


class ResumablePiece(models.Model):
    """Bytes `offset` to `offset + length` of an upload, as a file in storage."""

    upload = models.ForeignKey(ResumableUpload, on_delete=models.CASCADE, related_name="pieces")
    offset = models.BigIntegerField()
    length = models.PositiveIntegerField()
    name = models.CharField(max_length=200)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("upload", "offset"), name="resumable_piece_once")]

    def __str__(self) -> str:
        return f"{self.length:,} bytes at {self.offset:,}"


class UploadKey(models.Model):
    """An Idempotency-Key that a client used: the same key again returns the same video."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=200)
    video = models.ForeignKey(Video, on_delete=models.CASCADE, related_name="upload_keys")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("owner", "key"), name="upload_key_once_per_owner")]

    def __str__(self) -> str:
        return self.key


class UploadDay(models.Model):
    """Bytes that a user sent on one day (UTC); they count even if the videos are deleted."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    day = models.DateField()
    bytes = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=("owner", "day"), name="upload_day_once_per_owner"),
            models.CheckConstraint(condition=Q(bytes__gte=0), name="upload_day_bytes_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.day}: {self.bytes}"
