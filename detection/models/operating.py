"""Statistics by the hour, runs of chores, heartbeats of workers, and users as a provider of logins knows them."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone


class HourFigures(models.Model):
    """What ended within one hour, counted once when the hour is over; kept when videos are deleted.

    `figures`: `{"states": {state: n}, "labels": {"real"/"fake": n}, "needs_review": n, "answers": n,
    "scores": {model id: [n of scores in [k/20, (k+1)/20)]}}`.
    """

    hour = models.DateTimeField(primary_key=True)
    figures = models.JSONField(default=dict)

    class Meta:
        ordering = ("-hour",)

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H}h"


class ChoreRun(models.Model):
    """The last run of a recurring chore; the row `sweep` stands for a whole round."""

    name = models.CharField(max_length=40, primary_key=True)
    ran_at = models.DateTimeField(null=True, help_text="When it last ended, well or not.")
    succeeded_at = models.DateTimeField(null=True)
    seconds = models.FloatField(default=0.0, help_text="How long the last run took.")
    runs = models.BigIntegerField(default=0)
    failures = models.BigIntegerField(default=0)
    last_error = models.TextField(blank=True, help_text="Of the last run; empty where it went well.")

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class WorkerBeat(models.Model):
    """A worker's newest heartbeat, written by itself."""

    name = models.CharField(max_length=200, primary_key=True)
    queues = models.CharField(max_length=200)
    processes = models.PositiveSmallIntegerField()
    started_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class ExternalIdentity(models.Model):
    """A user as the single sign-on's provider knows them: by issuer and subject, never by name or e-mail."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="external_identity")
    issuer = models.CharField(max_length=255, help_text="The provider's address, as in DFD_OIDC_ISSUER.")
    subject = models.CharField(max_length=255, help_text="The provider's own id of the user (`sub`).")

    class Meta:
        verbose_name_plural = "external identities"
        constraints = [models.UniqueConstraint(fields=("issuer", "subject"), name="external_identity_once")]

    def __str__(self) -> str:
        return self.subject
