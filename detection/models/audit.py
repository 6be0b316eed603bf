"""The audit log: numbered entries, each bound to its predecessor by a hash."""

from __future__ import annotations

from typing import Any, NoReturn

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_noop

from detection.models.append_only import AppendOnlyError, AppendOnlyModel

BEGINNING = "0" * 64
"""Previous hash of the first entry."""


class AuditAction(models.TextChoices):
    """What an entry records."""

    LOGGED_IN = "logged_in", gettext_noop("Logged in")
    LOGIN_FAILED = "login_failed", gettext_noop("Failed to log in")
    USER_CHANGED = "user_changed", gettext_noop("User or role changed")
    TOKEN_CREATED = "token_created", gettext_noop("Token created")
    TOKEN_REVOKED = "token_revoked", gettext_noop("Token revoked")
    MEDIA_VIEWED = "media_viewed", gettext_noop("Video looked at")
    MEDIA_DOWNLOADED = "media_downloaded", gettext_noop("Original downloaded")
    VIDEO_DELETED = "video_deleted", gettext_noop("Video deleted")
    GOLD_SET = "gold_set", gettext_noop("Known answer set")
    GOLD_UNSET = "gold_unset", gettext_noop("Known answer taken back")
    PERSON_LEFT_OUT = "person_left_out", gettext_noop("Person left out of a verdict")
    PERSON_COUNTED = "person_counted", gettext_noop("Person counted again")
    MODEL_ACTIVATED = "model_activated", gettext_noop("Model made active")
    SHADOW_STARTED = "shadow_started", gettext_noop("Model put into shadow")
    SHADOW_ENDED = "shadow_ended", gettext_noop("Shadow of a model ended")
    EXPORTED = "exported", gettext_noop("Labels exported")
    RETENTION = "retention", gettext_noop("Removed by the retention policy")
    FORGOTTEN = "forgotten", gettext_noop("Video forgotten")
    ARCHIVED = "archived", gettext_noop("Audit entries archived")
    REPORT_REQUESTED = "report_requested", gettext_noop("Evidence report requested")
    REPORT_DOWNLOADED = "report_downloaded", gettext_noop("Evidence report downloaded")


class AuditSet(models.QuerySet["AuditEntry"]):
    """A query set that refuses changes."""

    def update(self, **_: Any) -> NoReturn:
        """Raise AppendOnlyError."""
        raise AppendOnlyError(AuditEntry.refusal)

    def delete(self) -> NoReturn:
        """Raise AppendOnlyError."""
        raise AppendOnlyError(AuditEntry.refusal)


class AuditEntry(AppendOnlyModel):
    """One recorded action.  Append-only; `detection.services.ops.audit` writes it in the action's own transaction.

    It holds ids, user names and addresses, but no file name and no free text.
    """

    refusal = "An entry of the audit log is never changed or removed."

    number = models.PositiveBigIntegerField(primary_key=True, help_text="1, 2, 3, ... without a gap.")
    at = models.DateTimeField(default=timezone.now, editable=False)
    action = models.CharField(max_length=20, choices=AuditAction)
    actor = models.CharField(max_length=200, blank=True, help_text="The user's name, or the program's.")
    actor_id = models.BigIntegerField(null=True, blank=True, help_text="The user's id; the user may be gone.")
    address = models.GenericIPAddressField(null=True, blank=True, help_text="Where the request came from.")
    subject = models.CharField(max_length=120, blank=True, help_text="`video:<id>`, `user:<id>`, ...")
    facts = models.JSONField(default=dict, blank=True)
    previous = models.CharField(max_length=64, help_text="The hash of the entry before this one.")
    hash = models.CharField(max_length=64, help_text="SHA-256 of `previous` and all else of this entry.")

    objects = AuditSet.as_manager()

    class Meta:
        verbose_name_plural = "audit entries"
        ordering = ("-number",)
        indexes = [
            # the list, newest first, by what it filters on
            models.Index(fields=("-at", "-number"), name="audit_newest"),
            models.Index(fields=("action", "-at", "-number"), name="audit_by_action"),
            models.Index(fields=("actor", "-at", "-number"), name="audit_by_actor"),
            # whether it is written already, and all that happened to one video
            models.Index(fields=("subject", "action", "-at"), name="audit_by_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.number} {self.action}"


class AuditArchive(models.Model):
    """A run of old entries that were moved out of the table: one JSON object a line, in a file of the storage.

    The chain goes through it: its first entry follows from the archive before, the table's first from the last archive.
    """

    first = models.PositiveBigIntegerField(primary_key=True, help_text="The number of its first entry.")
    last = models.PositiveBigIntegerField(unique=True, help_text="The number of its last entry.")
    hash = models.CharField(max_length=64, help_text="The hash of its last entry.")
    file = models.FileField(max_length=255)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("first",)
        constraints = [models.CheckConstraint(condition=models.Q(last__gte=models.F("first")), name="archive_in_order")]

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"


class AuditHead(models.Model):
    """The end of the chain, one row.  Adding an entry locks it, so numbers have no gap."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    number = models.PositiveBigIntegerField(default=0)
    hash = models.CharField(max_length=64, default=BEGINNING)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="audit_one_head")]

    def __str__(self) -> str:
        return f"{self.number} {self.hash[:12]}"
