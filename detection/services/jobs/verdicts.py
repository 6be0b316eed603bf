"""A verdict's columns, and what of them a video mirrors, so that lists filter and sort on one table."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import OuterRef, Subquery

from detection.models import State, Verdict, Video
from detection.services.jobs.results import ClassificationResult

NO_VERDICT: dict[str, Any] = {
    "current_verdict": None, "verdict_label": "", "fake_probability": None, "margin": None,
    "verdict_model_id": None,
}  # fmt: skip
"""What a video mirrors that has none."""


def verdict_fields(result: ClassificationResult, *, now: datetime) -> dict[str, Any]:
    """All of a Verdict but whose it is."""
    return {
        "label": result.label,
        "fake_probability": result.fake_probability,
        "threshold": result.threshold,
        "track": result.track,
        "people": result.people,
        "needs_review": result.needs_review,
        "review_reasons": list(result.review_reasons),
        "assessment": result.assessment,
        "created_at": now,
    }


def mirrored(verdict: Verdict) -> dict[str, Any]:
    """What the video that shows this verdict says."""
    return {
        "status": State.SUCCEEDED,
        "current_verdict": verdict,
        "verdict_model_id": verdict.model_version_id,
        "verdict_label": verdict.label,
        "fake_probability": verdict.fake_probability,
        "margin": abs(verdict.fake_probability - verdict.threshold),
        "needs_review": verdict.needs_review,
    }


def catch_up() -> int:
    """Fill in what processes of the version before have left out of videos that they judged; returns of how many."""
    model = Subquery(Verdict.objects.filter(id=OuterRef("current_verdict")).values("model_version"))
    missing = Video.objects.filter(current_verdict__isnull=False, verdict_model=None)
    return missing.update(verdict_model=model)
