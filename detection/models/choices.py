"""Labels and their like: what models and people may say of a video."""

from __future__ import annotations

from django.db import models


class VerdictLabel(models.TextChoices):
    """Labels that a model gives."""

    REAL = "real", "Real"
    FAKE = "fake", "Fake"


class Assessment(models.TextChoices):
    """A score in words: `ml.config.Assessment`, held by a test."""

    LIKELY_REAL = "likely_real", "Likely real"
    UNCLEAR = "unclear", "Unclear"
    SUSPICIOUS = "suspicious", "Suspicious"
    LIKELY_FAKE = "likely_fake", "Likely fake"


class ReviewLabel(models.TextChoices):
    """Labels that a person gives."""

    REAL = "real", "Real"
    FAKE = "fake", "Fake"
    NO_FACE = "no_face", "No face"
    UNSURE = "unsure", "Unsure"


class PersonLabel(models.TextChoices):
    """Labels that a person gives to one of the people in a video."""

    REAL = "real", "Real"
    FAKE = "fake", "Fake"
    NOT_A_PERSON = "not_a_person", "Not a person"
    UNSURE = "unsure", "Cannot tell"


class ReviewNext(models.TextChoices):
    """Who must answer next, after a first answer."""

    NOBODY = "", "Nobody"
    SECOND = "second", "A second reader"
    ADJUDICATE = "adjudicate", "Somebody who settles a disagreement"


class ModelKind(models.TextChoices):
    """What a model version is, and what it looks at."""

    NETWORK = "network", "The program's own network, over the faces of a person"
    ONNX_FACE = "onnx_face", "An ONNX file of others, a face at a time"
    ONNX_SEQUENCE = "onnx_sequence", "An ONNX file of others, a person's faces together"
    ONNX_FRAMES = "onnx_frames", "An ONNX file of others, whole frames with or without a face"
    ENSEMBLE = "ensemble", "The mean of several versions"
