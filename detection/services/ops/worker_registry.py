"""The workers' signs of life, when they have been silent for long."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from detection.models import WorkerBeat

FORGET = timedelta(days=1)


def forget_gone() -> int:
    """Workers that were killed could not say that they are gone; a day later they are of no interest."""
    return WorkerBeat.objects.filter(seen_at__lt=timezone.now() - FORGET).delete()[0]
