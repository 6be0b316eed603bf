"""How good models are here: when their figures on the random audit are due, and what a worker found."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from detection import dispatch
from detection.models import LocalFigures, ModelVersion
from detection.selectors.random_audit import any_settled

EVERY = timedelta(hours=1)


def sweep() -> int:
    """Ask for the active model's figures if they are due; return how many were asked for."""
    return sum(
        ask(model_id=model_id) for model_id in ModelVersion.objects.filter(active=True).values_list("id", flat=True)
    )


def ask(*, model_id: UUID) -> bool:
    """Tell a worker to measure the model, at most once in `EVERY`; nothing is asked before there is a label."""
    now = timezone.now()
    known = LocalFigures.objects.filter(model_version_id=model_id).values_list("asked_at", flat=True).first()
    if (known is not None and known > now - EVERY) or not any_settled():
        return False
    return dispatch.wake_measuring(model_id=model_id) and _note(model_id, asked_at=now)


def store(*, model_id: UUID, figures: Mapping[str, Any]) -> None:
    """Keep what was measured, unless the model is gone by now."""
    now = timezone.now()
    _note(model_id, asked_at=now, measured_at=now, figures=dict(figures))


def _note(model_id: UUID, **values: Any) -> bool:
    try:
        with transaction.atomic():
            LocalFigures.objects.update_or_create(model_version_id=model_id, defaults=values)
    except IntegrityError:  # its model was deleted, or another sweeper was first
        return False
    return True
