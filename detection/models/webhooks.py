"""Webhooks of clients, and deliveries to them."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_noop

from detection.models.leasing import Leased


class Webhook(Leased):
    """A client's URL.  One worker at a time sends to it, under a lease like an analysis.

    The secret signs deliveries, so it is stored in plain text; it grants no access here.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="webhooks")
    url = models.CharField(max_length=500)
    secret = models.CharField(max_length=80, editable=False)
    failures = models.PositiveSmallIntegerField(default=0, help_text="Attempts in a row that failed.")
    last_error = models.CharField(max_length=300, blank=True, help_text="Empty once an attempt has succeeded.")
    not_before = models.DateTimeField(default=timezone.now, help_text="Backoff: nothing is sent before this.")
    doorbell = models.UUIDField(
        null=True, blank=True, editable=False, help_text="What the message carries that is on its way to a worker."
    )
    told_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="When that message was last sent.")
    disabled_at = models.DateTimeField(null=True, blank=True)
    removed_at = models.DateTimeField(
        null=True, blank=True, help_text="Removed by its owner; the row goes once no transaction can refer to it."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("-created_at", "-id")

    def __str__(self) -> str:
        return self.url


class DeliveryState(models.TextChoices):
    """States of a delivery."""

    WAITING = "waiting", gettext_noop("Waiting")
    DELIVERED = "delivered", gettext_noop("Delivered")
    FAILED = "failed", gettext_noop("Given up")


class WebhookDelivery(models.Model):
    """One event for one webhook: the bytes to send, and every attempt.

    `log`: `[{"at" (ISO 8601), "seconds", "status" (of HTTP, or null), "error" (a sentence, "" on success)}]`, oldest
    first.  Video and task are ids only: the record outlives both.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    event = models.CharField(max_length=40)
    video_id = models.UUIDField()
    task_id = models.UUIDField()
    body = models.TextField()
    state = models.CharField(max_length=12, choices=DeliveryState, default=DeliveryState.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    not_before = models.DateTimeField(default=timezone.now)
    log = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "webhook deliveries"
        ordering = ("-created_at", "-id")
        constraints = [
            models.CheckConstraint(
                condition=Q(state="waiting", ended_at__isnull=True) | Q(~Q(state="waiting"), ended_at__isnull=False),
                name="webhook_delivery_ended_iff_not_waiting",
            ),
        ]
        indexes = [
            models.Index(fields=("webhook", "state", "not_before"), name="webhook_delivery_due"),
            models.Index(fields=("-created_at", "-id"), name="webhook_delivery_newest"),
            models.Index(fields=("state", "-created_at"), name="webhook_delivery_by_state"),
            models.Index(fields=("ended_at",), name="webhook_delivery_ended"),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.id}"
