"""What is to be gone from disks though no row names it, or none any more."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone


class Removal(models.Model):
    """Files of a video that are to be removed.  Written in the transaction that lets them go; gone when they are.

    So a storage that did not answer, or a process that was killed, leaves nothing behind for good.  `packs` says that
    what workers have cached of the video (training packs, features) has to go, too.
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
    """A machine's folder of training packs and cached features.  A Removal is over when each has erased its own."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    host = models.CharField(max_length=200)
    erased_until = models.DateTimeField(null=True, help_text="Removals up to here are carried out there.")
    seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("host", "id")

    def __str__(self) -> str:
        return self.host


class FolderCheck(models.Model):
    """The folder of a video is to be looked through: a process that was killed may have left files there.

    Written before files are (an upload), or where a worker is known to have died; gone with the look.  `path` is a
    folder that is no video's (of a model's weights, of a snapshot): it goes whole unless a row names a file in it.
    """

    video_id = models.UUIDField(help_text="The video may not be there, or not yet.")
    path = models.CharField(max_length=200, blank=True, db_default="", help_text="Empty: the video's folder.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("created_at", "id")
        indexes = [models.Index(fields=("created_at", "id"), name="folder_check_oldest")]

    def __str__(self) -> str:
        return str(self.video_id)
