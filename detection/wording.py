"""Codes of the worker in words, for pages and reports."""

from __future__ import annotations

from dataclasses import dataclass

from detection.models import Assessment, ModelKind, ReviewRole

REVIEW_REASONS = {
    "near_threshold": "The score is close to the threshold.",
    "suspect_segment": "One part of the video scores as fake, which chance explains where several are looked at.",
    "few_faces": "Fewer than ten clear faces were found.",
    "experimental_model": "The model is experimental: it is not yet good enough to decide alone.",
    "sensitive_faces": "The faces were found with lowered thresholds.",
}
REJECTIONS = {
    "low_probability": "not sure enough",
    "too_small": "too small",
    "outside": "cut off by the frame",
    "short_track": "in too few frames",
    "too_many": "one of more than are looked at in a frame",
    "not_a_face": "a pattern or a drawing",
}


@dataclass(frozen=True)
class InWords:
    """A step of the scale: its name, and what it means."""

    title: str
    meaning: str


ASSESSMENTS: dict[str, InWords] = {
    Assessment.LIKELY_REAL: InWords(
        "Likely real", "At most one in ten of the fakes that the model's words were measured on scores as low as this."
    ),
    Assessment.UNCLEAR: InWords("Unclear", "The score is below the threshold, but not so low that it says much."),
    Assessment.SUSPICIOUS: InWords(
        "Suspicious", "The score is at or above the threshold, but not so high that it is rare among real videos."
    ),
    Assessment.LIKELY_FAKE: InWords(
        "Likely fake", "At most one in fifty of the real videos that the model's words were measured on scores as high."
    ),
}
SCALE = (Assessment.LIKELY_REAL, Assessment.UNCLEAR, Assessment.SUSPICIOUS, Assessment.LIKELY_FAKE)
LOOKS_AT: dict[str, str] = {
    ModelKind.ONNX_SEQUENCE: "This model looks at all faces of a person together: no face has a score of its own.",
    ModelKind.ONNX_FRAMES: "This model looks at whole frames, with or without a face in them: no person has a score.",
}
"""What a verdict of a model of this kind does not tell."""
NO_HEATMAPS: dict[str, str] = {
    ModelKind.ONNX_SEQUENCE: "There are no heat maps of its verdicts: which face moved the score cannot be told apart.",
    ModelKind.ONNX_FRAMES: "There are no heat maps of its verdicts, which are not of faces.",
}
ROLES: dict[str, str] = {
    ReviewRole.LIST: "from a list or over REST",
    ReviewRole.OPINION: "opinion of the owner, which decides nothing",
    ReviewRole.FIRST: "first reading",
    ReviewRole.SECOND: "second reading, without knowledge of the first",
    ReviewRole.ADJUDICATION: "settled a disagreement",
    ReviewRole.SHEET: "together with others, on a contact sheet",
}
