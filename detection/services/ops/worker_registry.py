"""Delete heartbeats of workers that are gone."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from detection.models import WorkerBeat

FORGET = timedelta(days=1)


def delete_gone() -> int:
    """Delete heartbeats older than a day; a killed worker cannot delete its own."""
    return WorkerBeat.objects.filter(seen_at__lt=timezone.now() - FORGET).delete()[0]
