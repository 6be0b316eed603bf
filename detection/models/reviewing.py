"""Reviews of videos, and claims of reviewers on videos."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_noop

from detection.models.append_only import AppendOnlyModel
from detection.models.choices import ReviewLabel, VerdictLabel
from detection.models.core import ModelVersion, Verdict, Video


class ReviewRole(models.TextChoices):
    """How an answer came about."""

    LIST = "", gettext_noop("From a list or over REST")
    OPINION = "opinion", gettext_noop("The owner's opinion")
    FIRST = "first", gettext_noop("First reading")
    SECOND = "second", gettext_noop("Second reading")
    ADJUDICATION = "adjudication", gettext_noop("Adjudication")
    GOLD = "gold", gettext_noop("Check against a known answer")
    SHEET = "sheet", gettext_noop("Contact sheet")
    UNDO = "undo", gettext_noop("Undone")


def label_of(fake_probability: float, threshold: float) -> VerdictLabel:
    """Return what a model calls a video of this score."""
    return VerdictLabel.FAKE if fake_probability >= threshold else VerdictLabel.REAL


class ReviewSet(models.QuerySet["Review"]):
    """Selections of reviews by what they count for."""

    def answers(self) -> ReviewSet:
        """Return all answers, also undone ones, without the rows that undo.

        A row without a label undoes another (a constraint says so).  Not as `undoes=None`: SQLite would use the unique
        index on
        it, and read all answers there are for the few of one video or hour.
        """
        return self.exclude(label="")

    def not_undone(self) -> ReviewSet:
        """Return the answers that were not undone."""
        return self.answers().filter(undone_by=None)

    def by_reviewers(self) -> ReviewSet:
        """Leave out opinions of owners who may not review."""
        return self.exclude(role=ReviewRole.OPINION)

    def effective(self) -> ReviewSet:
        """Return the answers that make a video's label: not undone, no owner's opinion, no check of the reviewer."""
        return self.not_undone().exclude(role__in=(ReviewRole.GOLD, ReviewRole.OPINION))

    def shown(self) -> ReviewSet:
        """Return the answers that may be shown beside the video; checks against known answers stay secret."""
        return self.not_undone().exclude(role=ReviewRole.GOLD)


class ReviewBatch(AppendOnlyModel):
    """One decision for many videos, from a contact sheet.  Append-only: a reversal is a batch that `undoes` it."""

    refusal = "A decision for many videos is never changed or removed. Revert it, and decide anew."

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    reviewer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    label = models.CharField(max_length=8, choices=ReviewLabel, blank=True)
    comment = models.CharField(max_length=2000, blank=True)
    size = models.PositiveIntegerField(help_text="How many videos it was for, as the reviewer confirmed.")
    undoes = models.OneToOneField("self", null=True, blank=True, on_delete=models.PROTECT, related_name="undone_by")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name_plural = "review batches"
        ordering = ("-created_at", "-id")
        constraints = [
            models.CheckConstraint(
                condition=(Q(undoes=None) & ~Q(label="")) | (Q(undoes__isnull=False) & Q(label="")),
                name="batch_has_a_label_or_undoes_one",
            ),
        ]
        indexes = [models.Index(fields=("-created_at", "-id"), name="batch_newest")]

    def __str__(self) -> str:
        return f"{self.size} videos: {self.label or 'reverted'}"


class Review(AppendOnlyModel):
    """A person's answer to a video.  Append-only: a changed mind is a new row, and each person's newest counts.

    Undoing is a row, too: `undoes` names the answer, and `label` is empty.
    """

    refusal = "A review is never changed or removed. Write a new one; it goes when its video goes."

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    video = models.ForeignKey(Video, on_delete=models.CASCADE, related_name="reviews")
    reviewer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="reviews")
    label = models.CharField(max_length=8, choices=ReviewLabel, blank=True)
    people = models.JSONField(
        null=True,
        blank=True,
        help_text="What was said of people by themselves, {track: PersonLabel}; null where only of the whole.",
    )
    people_version = models.PositiveIntegerField(
        null=True, blank=True, help_text="The video's when this was said: of other faces `people` says nothing."
    )
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
    batch = models.ForeignKey(ReviewBatch, null=True, blank=True, on_delete=models.PROTECT, related_name="reviews")
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
            models.Index(fields=("video", "reviewer", "-created_at", "-id"), name="review_by_video_reviewer"),
            # the list, newest first; each carries what it may be filtered by besides
            models.Index(fields=("reviewer", "-created_at", "-id", "label"), name="review_by_reviewer"),
            models.Index(fields=("label", "-created_at", "-id", "reviewer"), name="review_by_label"),
            models.Index(fields=("-created_at", "-id", "label", "reviewer"), name="review_newest"),
            # figures of reviewers: second readings, adjudications and checks of the last days
            models.Index(fields=("role", "-created_at"), name="review_by_role"),
        ]

    def __str__(self) -> str:
        return str(self.get_label_display() or self.get_role_display())

    @property
    def model_label(self) -> str:
        """Return the label that the model gave at the time: its verdict may have been made anew since."""
        if self.model_probability is None or self.model_version is None:
            return ""
        return str(label_of(self.model_probability, self.model_version.threshold))

    def people_of(self, video: Video) -> dict[str, str] | None:
        """Return `people`, or None if the video's people have been found anew since."""
        return self.people if (self.people_version or 0) == (video.people_version or 0) else None


class ReviewClaim(models.Model):
    """A reviewer has this video open: nobody else is given it until `until`.  At most one a video."""

    video = models.OneToOneField(Video, primary_key=True, on_delete=models.CASCADE, related_name="claim")
    token = models.UUIDField(unique=True)
    reviewer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="claims")
    queue = models.CharField(max_length=16)
    role = models.CharField(max_length=12, choices=ReviewRole)
    sheet = models.BooleanField(default=False, db_default=False, help_text="It is one of many on a contact sheet.")
    claimed_at = models.DateTimeField(default=timezone.now)
    until = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=("until",), name="review_claim_until")]

    def __str__(self) -> str:
        return f"{self.video_id} with {self.reviewer_id}"


class GoldVideo(models.Model):
    """A video whose answer is certain, shown among others to check reviewers, who are not told."""

    video = models.OneToOneField(Video, primary_key=True, on_delete=models.CASCADE, related_name="gold")
    label = models.CharField(max_length=8, choices=ReviewLabel)
    people = models.JSONField(null=True, blank=True, help_text="As a Review's, where it is known of people, too.")
    people_version = models.PositiveIntegerField(null=True, blank=True)
    reason = models.CharField(max_length=500, help_text="How it is known.")
    set_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("-created_at",)
        constraints = [models.CheckConstraint(condition=~Q(label="unsure"), name="gold_is_certain")]
        indexes = [models.Index(fields=("-created_at",), name="gold_newest")]

    def __str__(self) -> str:
        return f"{self.video_id}: {self.label}"


class ReviewerKeys(models.Model):
    """The keys that a reviewer chose for the workspace, {action: key}; only what differs from the defaults."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, primary_key=True, on_delete=models.CASCADE, related_name="workspace_keys"
    )
    keys = models.JSONField(default=dict)

    class Meta:
        verbose_name_plural = "reviewer keys"

    def __str__(self) -> str:
        return f"keys of {self.user_id}"
