"""One scored video, as evaluation, report and gate see it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ScoredVideo:
    """A labelled video with one model's score."""

    key: str
    """Names the video for a person: an id, or a path in a data set."""
    label: int
    """ml.config.Label."""
    score: float
    """Calibrated fake probability, by the rule of the verdict (`ml.model.decision.combine`)."""
    component: str
    """People who are linked; bootstraps draw whole components."""
    name: str = ""
    """File name, if it differs from `key`."""
    dataset: str = ""
    method: str = ""
    """Forgery method; empty for reals."""
    compression: str = ""
    height: int | None = None
    """Height of the frame in pixels."""
    face_px: float | None = None
    """Median of the longer side of the most suspicious person's face boxes, pixels of the full frame."""
