"""Columns of rows that one worker at a time holds.  `detection.services.jobs.leases` has the rules."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class Leased(models.Model):
    """A row held by whoever knows its `token`, until `lease_until` unless the holder extends it."""

    token = models.UUIDField(null=True, blank=True, editable=False, help_text="Fencing token of the running claim.")
    lease_until = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        abstract = True


class LeasedJob(Leased):
    """A job: queued, running under a lease, ended.  The model adds `state`, with `queued` and `running` among it."""

    attempts = models.PositiveSmallIntegerField(default=0, help_text="Claims; of an analysis, of its present stage.")
    published_at = models.DateTimeField(null=True, blank=True, help_text="When a worker was last told of it.")
    last_error = models.TextField(blank=True, help_text="For the operator; clients never see it.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True
