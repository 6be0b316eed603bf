"""Uploads that arrive in pieces, and keys by which a repeated request is known."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from detection.models.core import Video


class ResumableUpload(models.Model):
    """A file on its way.  Its bytes are below DFD_VAR/uploads, and how many have arrived is that file's size.

    Once it is complete it has a video, and stays for a day so that a client whose answer was lost can ask.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    length = models.BigIntegerField()
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


class UploadKey(models.Model):
    """An Idempotency-Key that a client has used: the same key again answers with the same video."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=200)
    video = models.ForeignKey(Video, on_delete=models.CASCADE, related_name="upload_keys")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("owner", "key"), name="upload_key_once_per_owner")]

    def __str__(self) -> str:
        return self.key
