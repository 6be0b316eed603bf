"""Values of columns: where an analysis stands, and what models and people may say of a video."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_noop


class State(models.TextChoices):
    """States of an analysis and of its video; `core` has the diagram."""

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


class VerdictLabel(models.TextChoices):
    """Labels that a model gives."""

    REAL = "real", gettext_noop("Real")
    FAKE = "fake", gettext_noop("Fake")


class Assessment(models.TextChoices):
    """A score in words: `ml.config.Assessment`, held by a test."""

    LIKELY_REAL = "likely_real", gettext_noop("Likely real")
    UNCLEAR = "unclear", gettext_noop("Unclear")
    SUSPICIOUS = "suspicious", gettext_noop("Suspicious")
    LIKELY_FAKE = "likely_fake", gettext_noop("Likely fake")


class ReviewLabel(models.TextChoices):
    """Labels that a person gives."""

    REAL = "real", gettext_noop("Real")
    FAKE = "fake", gettext_noop("Fake")
    NO_FACE = "no_face", gettext_noop("No face")
    UNSURE = "unsure", gettext_noop("Unsure")


class PersonLabel(models.TextChoices):
    """Labels that a person gives to one of the people in a video."""

    REAL = "real", gettext_noop("Real")
    FAKE = "fake", gettext_noop("Fake")
    NOT_A_PERSON = "not_a_person", gettext_noop("Not a person")
    UNSURE = "unsure", gettext_noop("Cannot tell")


class ReviewNext(models.TextChoices):
    """Who must answer next, after a first answer."""

    NOBODY = "", gettext_noop("Nobody")
    SECOND = "second", gettext_noop("A second reader")
    ADJUDICATE = "adjudicate", gettext_noop("Somebody who settles a disagreement")


class ModelKind(models.TextChoices):
    """What a model version is, and what it looks at."""

    NETWORK = "network", gettext_noop("The program's own network, over the faces of a person")
    ONNX_FACE = "onnx_face", gettext_noop("An ONNX file of others, a face at a time")
    ONNX_SEQUENCE = "onnx_sequence", gettext_noop("An ONNX file of others, a person's faces together")
    ONNX_FRAMES = "onnx_frames", gettext_noop("An ONNX file of others, whole frames with or without a face")
    ENSEMBLE = "ensemble", gettext_noop("The mean of several versions")
