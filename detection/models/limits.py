"""Usage that counts towards users' limits."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q


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
