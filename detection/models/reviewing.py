"""What people say of videos, and who has which video before them."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from detection.models.core import AppendOnlyError, ModelVersion, ReviewLabel, Verdict, Video


class ReviewRole(models.TextChoices):
    """How somebody came to answer."""

    LIST = "", "From a list or over REST"
    FIRST = "first", "First reading"
    SECOND = "second", "Second reading"
    ADJUDICATION = "adjudication", "Adjudication"
    UNDO = "undo", "Undone"


class ReviewSet(models.QuerySet["Review"]):
    def standing(self) -> ReviewSet:
        """Answers that count: neither taken back, nor the taking back itself."""
        return self.filter(undoes=None, undone_by=None)


class Review(models.Model):
    """What a person says of a video.  Append only: changing one's mind is a new row, and the newest counts.

    Taking an answer back is a row too: `undoes` names it, and `label` is empty.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    video = models.ForeignKey(Video, on_delete=models.CASCADE, related_name="reviews")
    reviewer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="reviews")
    label = models.CharField(max_length=8, choices=ReviewLabel, blank=True)
    comment = models.CharField(max_length=2000, blank=True)
    verdict = models.ForeignKey(
        Verdict, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", help_text="The one shown."
    )
    model_version = models.ForeignKey(ModelVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    model_probability = models.FloatField(null=True, blank=True, help_text="What the model said at the time.")
    score_shown = models.BooleanField(default=True, help_text="Whether the reviewer had seen the model's score.")
    seconds = models.FloatField(null=True, blank=True, help_text="From seeing the video to answering.")
    queue = models.CharField(max_length=16, blank=True, help_text="Why the video was shown.")
    role = models.CharField(max_length=12, choices=ReviewRole, blank=True)
    undoes = models.OneToOneField("self", null=True, blank=True, on_delete=models.CASCADE, related_name="undone_by")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = ReviewSet.as_manager()

    class Meta:
        ordering = ("-created_at", "-id")
        permissions = [("adjudicate_review", "Can settle disagreements of reviewers")]
        constraints = [
            models.CheckConstraint(
                condition=(Q(undoes=None) & ~Q(label="")) | (Q(undoes__isnull=False) & Q(label="")),
                name="review_has_a_label_or_undoes_one",
            ),
            models.CheckConstraint(condition=Q(seconds__isnull=True) | Q(seconds__gte=0), name="review_seconds"),
        ]
        indexes = [
            models.Index(fields=("video", "-created_at"), name="review_by_video"),
            models.Index(fields=("reviewer", "-created_at"), name="review_by_reviewer"),
            models.Index(fields=("-created_at", "-id"), name="review_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.label or 'undone'} by {self.reviewer_id}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnlyError("A review is never changed. Write a new one.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise AppendOnlyError("A review is never removed by itself; it goes when its video goes.")


class ReviewClaim(models.Model):
    """Somebody has this video before them: nobody else is given it until `until`.  At most one a video."""

    video = models.OneToOneField(Video, primary_key=True, on_delete=models.CASCADE, related_name="claim")
    token = models.UUIDField(unique=True)
    reviewer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="claims")
    queue = models.CharField(max_length=16)
    role = models.CharField(max_length=12, choices=ReviewRole)
    claimed_at = models.DateTimeField(default=timezone.now)
    until = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=("until",), name="review_claim_until")]

    def __str__(self) -> str:
        return f"{self.video_id} with {self.reviewer_id}"
