"""Where an analysis stands; `core` has the diagram."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_noop


class State(models.TextChoices):
    """States of an analysis and of its video."""

    QUEUED = "queued", gettext_noop("Queued")
    RUNNING = "running", gettext_noop("Running")
    SUCCEEDED = "succeeded", gettext_noop("Succeeded")
    NO_FACE = "no_face", gettext_noop("No face")
    FAILED = "failed", gettext_noop("Failed")
    DEAD = "dead", gettext_noop("Gave up")
    CANCELLED = "cancelled", gettext_noop("Cancelled")


class Stage(models.TextChoices):
    """Stages of an analysis."""

    EXTRACT = "extract", gettext_noop("Finding faces")
    CLASSIFY = "classify", gettext_noop("Classifying")
    AWAITING_MODEL = "awaiting_model", gettext_noop("Waiting for a model")
    DONE = "done", gettext_noop("Done")


OPEN_STATES = (State.QUEUED, State.RUNNING)
TERMINAL_STATES = (State.SUCCEEDED, State.NO_FACE, State.FAILED, State.DEAD, State.CANCELLED)
TOLD_AS_FAILED = (State.FAILED, State.DEAD, State.CANCELLED)
"""What clients see as `failed`; the error's code tells them apart."""
