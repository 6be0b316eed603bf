"""Where an analysis stands; `core` has the diagram."""

from __future__ import annotations

from django.db import models


class State(models.TextChoices):
    """States of an analysis and of its video."""

    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Succeeded"
    NO_FACE = "no_face", "No face"
    FAILED = "failed", "Failed"
    DEAD = "dead", "Gave up"
    CANCELLED = "cancelled", "Cancelled"


class Stage(models.TextChoices):
    """Stages of an analysis."""

    EXTRACT = "extract", "Finding faces"
    CLASSIFY = "classify", "Classifying"
    AWAITING_MODEL = "awaiting_model", "Waiting for a model"
    DONE = "done", "Done"


OPEN_STATES = (State.QUEUED, State.RUNNING)
TERMINAL_STATES = (State.SUCCEEDED, State.NO_FACE, State.FAILED, State.DEAD, State.CANCELLED)
TOLD_AS_FAILED = (State.FAILED, State.DEAD, State.CANCELLED)
"""What clients see as `failed`; the error's code tells them apart."""
