"""Columns of a verdict, and those that its video mirrors so that lists filter and sort on one table."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import F, OuterRef, QuerySet, Subquery

from detection.models import State, Verdict, Video
from detection.services.jobs import left_out
from detection.services.jobs.results import ClassificationResult

NO_VERDICT: dict[str, Any] = {
    "current_verdict": None, "verdict_label": "", "fake_probability": None, "margin": None,
    "verdict_model_id": None,
}  # fmt: skip
"""What a video mirrors that has none."""


def verdict_fields(
    result: ClassificationResult, *, now: datetime, extracted_at: datetime | None = None
) -> dict[str, Any]:
    """Return the columns of a verdict on everybody (see `without_no_persons`), without video and model.

    `extracted_at`: of the faces that it is on.  It is never older than those, whatever the clocks of two machines say,
    or one that was put back: see `take_off_outdated`.
    """
    return {
        "label": result.label,
        "fake_probability": result.fake_probability,
        "threshold": result.threshold,
        "track": result.track,
        "people": result.people,
        "segments": result.segments,
        "frames": result.frames,
        "needs_review": result.needs_review,
        "review_reasons": list(result.review_reasons),
        "assessment": result.assessment,
        "left_out": None,
        "with_everybody": None,
        "created_at": now if extracted_at is None else max(now, extracted_at),
    }


def without_no_persons(verdict: Verdict, labels: Mapping[str, str] | None) -> bool:
    """Leave out whom `Video.person_labels` call no person; return whether the row has to be saved for that.

    A verdict on whole frames is nobody's, and stays.
    """
    if verdict.frames is not None:
        return False
    tracks = left_out.no_persons(labels)
    if tracks == (verdict.left_out or []):
        return False
    left_out.leave_out(verdict, tracks)
    return True


def mirrored(verdict: Verdict) -> dict[str, Any]:
    """Return the columns of the video that shows this verdict."""
    return {
        "status": State.SUCCEEDED,
        "current_verdict": verdict,
        "verdict_model_id": verdict.model_version_id,
        **outcome(verdict),
    }


def outcome(verdict: Verdict) -> dict[str, Any]:
    """Return the columns of the video that change when its verdict is decided anew."""
    return {
        "verdict_label": verdict.label,
        "fake_probability": verdict.fake_probability,
        "margin": abs(verdict.fake_probability - verdict.threshold),
        "needs_review": verdict.needs_review,
    }


def catch_up() -> int:
    """Complete what processes of the previous version left out of videos that they judged; return how many."""
    model = Subquery(Verdict.objects.filter(id=OuterRef("current_verdict")).values("model_version"))
    missing = Video.objects.filter(current_verdict__isnull=False, verdict_model=None)
    return missing.update(verdict_model=model)


def take_off_outdated(videos: QuerySet[Video]) -> None:
    """Take a verdict off these videos where it is on faces that were replaced since; for an end without another."""
    videos.filter(current_verdict__created_at__lt=F("extracted_at")).update(needs_review=False, **NO_VERDICT)
