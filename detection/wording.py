"""Codes of the worker in words, for pages and reports: in English, which pages translate as they show it."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext_noop

from detection.models import Assessment, ModelKind, ReviewRole

REVIEW_REASONS = {
    "near_threshold": gettext_noop("The score is close to the threshold."),
    "suspect_segment": gettext_noop(
        "One part of the video scores as fake, which chance explains where several are looked at."
    ),
    "few_faces": gettext_noop("Fewer than ten clear faces were found."),
    "experimental_model": gettext_noop("The model is experimental: it is not yet good enough to decide alone."),
    "sensitive_faces": gettext_noop("The faces were found with lowered thresholds."),
}
REJECTIONS = {
    "low_probability": gettext_noop("not sure enough"),
    "too_small": gettext_noop("too small"),
    "outside": gettext_noop("cut off by the frame"),
    "short_track": gettext_noop("in too few frames"),
    "too_many": gettext_noop("one of more than are looked at in a frame"),
    "not_a_face": gettext_noop("a pattern or a drawing"),
}


@dataclass(frozen=True)
class InWords:
    """A step of the scale: its name, and what it means."""

    title: str
    meaning: str


ASSESSMENTS: dict[str, InWords] = {
    Assessment.LIKELY_REAL: InWords(
        gettext_noop("Likely real"),
        gettext_noop("At most one in ten of the fakes that the model's words were measured on scores as low as this."),
    ),
    Assessment.UNCLEAR: InWords(
        gettext_noop("Unclear"), gettext_noop("The score is below the threshold, but not so low that it says much.")
    ),
    Assessment.SUSPICIOUS: InWords(
        gettext_noop("Suspicious"),
        gettext_noop("The score is at or above the threshold, but not so high that it is rare among real videos."),
    ),
    Assessment.LIKELY_FAKE: InWords(
        gettext_noop("Likely fake"),
        gettext_noop("At most one in fifty of the real videos that the model's words were measured on scores as high."),
    ),
}
SCALE = (Assessment.LIKELY_REAL, Assessment.UNCLEAR, Assessment.SUSPICIOUS, Assessment.LIKELY_FAKE)
LOOKS_AT: dict[str, str] = {
    ModelKind.ONNX_SEQUENCE: gettext_noop(
        "This model looks at all faces of a person together: no face has a score of its own."
    ),
    ModelKind.ONNX_FRAMES: gettext_noop(
        "This model looks at whole frames, with or without a face in them: no person has a score."
    ),
}
"""What a verdict of a model of this kind does not tell."""
NO_HEATMAPS: dict[str, str] = {
    ModelKind.ONNX_SEQUENCE: gettext_noop(
        "There are no heat maps of its verdicts: which face moved the score cannot be told apart."
    ),
    ModelKind.ONNX_FRAMES: gettext_noop("There are no heat maps of its verdicts, which are not of faces."),
}
ROLES: dict[str, str] = {
    ReviewRole.LIST: gettext_noop("from a list or over REST"),
    ReviewRole.OPINION: gettext_noop("opinion of the owner, which decides nothing"),
    ReviewRole.FIRST: gettext_noop("first reading"),
    ReviewRole.SECOND: gettext_noop("second reading, without knowledge of the first"),
    ReviewRole.ADJUDICATION: gettext_noop("settled a disagreement"),
    ReviewRole.SHEET: gettext_noop("together with others, on a contact sheet"),
}
