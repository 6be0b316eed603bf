"""What the dashboard shows of the past and of the machines: figures by the hour, and signs of life of workers."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class HourFigures(models.Model):
    """What ended within one hour, counted once when the hour was over; it stays when videos are deleted.

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
    """How a recurring chore went the last time; the row `sweep` stands for a whole round of them."""

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
    """A worker's newest sign of life, written by itself."""

    name = models.CharField(max_length=200, primary_key=True)
    queues = models.CharField(max_length=200)
    processes = models.PositiveSmallIntegerField()
    started_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name
