"""Files that must be deleted although no row names them any more."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone


class Removal(models.Model):
    """Files of a video to be deleted; written in the transaction that drops them, deleted when they are gone.

    So neither a storage that did not answer nor a killed process leaves files behind.  `packs` means that workers'
    caches
    of the video (training packs, features) must go, too.
    """

    video_id = models.UUIDField(help_text="The video may be gone.")
    paths = models.JSONField(default=list, help_text="Names of files and folders in storage.")
    packs = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("created_at", "id")
        indexes = [models.Index(fields=("created_at", "id"), name="removal_oldest")]

    def __str__(self) -> str:
        return f"{self.video_id}: {len(self.paths)} names"


class CacheHolder(models.Model):
    """A machine's folder of training packs and cached features; a Removal ends when every holder has erased its own."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    host = models.CharField(max_length=200)
    erased_until = models.DateTimeField(null=True, help_text="Removals up to here are carried out there.")
    seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("host", "id")

    def __str__(self) -> str:
        return self.host


class FolderCheck(models.Model):
    """A folder to be checked for files that a killed process left.

    Written before the files are (an upload), or when a worker is known to have died; deleted with the check.  `path` is
    a folder of no video (a model's weights, a snapshot): it is deleted unless a row names a file in it.
    """

    video_id = models.UUIDField(help_text="The video may not be there, or not yet.")
    path = models.CharField(max_length=200, blank=True, db_default="", help_text="Empty: the video's folder.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("created_at", "id")
        indexes = [models.Index(fields=("created_at", "id"), name="folder_check_oldest")]

    def __str__(self) -> str:
        return str(self.video_id)
