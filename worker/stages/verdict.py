"""The verdict on a video from the scores of its people, as the rows have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from detection.models import ModelVersion
from detection.services.jobs.results import ClassificationResult
from worker.stages.shown import Shown

if TYPE_CHECKING:
    from ml.model.decision import Decision, Look
    from ml.model.inference import Classifier, TrackScore


def verdict(
    version: ModelVersion,
    classifier: Classifier,
    shown: Shown,
    scores: Sequence[TrackScore],
    *,
    sensitive: bool = False,
    timings: dict[str, float] | None = None,
) -> ClassificationResult:
    """The verdict on one video from what was shown of it, and the scores of that.

    `sensitive` says that the faces were found with lowered thresholds, whichever analysis did that.
    """
    from ml.model.decision import Look, decide

    sequences = shown.sequences
    if shown.frames:
        return _of_frames(version, classifier, shown, scores, timings or {})
    scores = [replace(score, still=bool(run[0].still)) for (_, run), score in zip(sequences, scores, strict=True)]
    looks = [Look(track, run[0].segment_index, score) for (track, run), score in zip(sequences, scores, strict=True)]
    decision = decide(looks, classifier.info, sensitive=sensitive)
    frames: dict[int, list[dict[str, Any]]] = {person.track: [] for person in decision.people}
    for (track, faces), score in zip(sequences, scores, strict=True):
        frames[track] += [
            {
                "face": str(face.id),
                "frame_number": face.frame_number,
                "timestamp_s": face.timestamp_s,
                "fake_probability": probability,
            }
            for face, probability in zip(faces, score.frame_probabilities, strict=True)
        ]
    return ClassificationResult(
        model_version_id=version.id,
        label=decision.label,
        fake_probability=decision.fake_probability,
        threshold=decision.threshold,
        track=decision.track,
        people=[
            {
                "track": person.track,
                "fake_probability": person.fake_probability,
                **({"still": True} if person.still else {}),
                "frames": frames[person.track],
            }
            for person in decision.people
        ],
        segments=_segments(decision, looks),
        needs_review=decision.needs_review,
        review_reasons=decision.review_reasons,
        assessment=decision.assessment,
        timings=timings or {},
    )


def _of_frames(
    version: ModelVersion,
    classifier: Classifier,
    shown: Shown,
    scores: Sequence[TrackScore],
    timings: dict[str, float],
) -> ClassificationResult:
    from ml.model.decision import Look, decide

    looks = [Look(0, part.segment, score) for part, score in zip(shown.frames, scores, strict=True)]
    decision = decide(looks, classifier.info, whole_frames=True)
    several = any(look.segment for look in looks)
    return ClassificationResult(
        model_version_id=version.id,
        label=decision.label,
        fake_probability=decision.fake_probability,
        threshold=decision.threshold,
        track=0,
        people=[],
        segments=[
            {"segment": part.segment, "fake_probability": part.fake_probability, "people": []}
            for part in decision.segments
        ]
        if several
        else None,
        frames=[
            {"segment": part.segment, "frame_number": number, "timestamp_s": time_s, "fake_probability": probability}
            for part, score in zip(shown.frames, scores, strict=True)
            for (number, time_s), probability in zip(part.frames, score.frame_probabilities, strict=True)
        ],
        needs_review=decision.needs_review,
        review_reasons=decision.review_reasons,
        assessment=decision.assessment,
        timings=timings,
    )


def _segments(decision: Decision, looks: Sequence[Look]) -> list[dict[str, Any]] | None:
    if all(look.segment == 0 for look in looks):
        return None
    return [
        {
            "segment": segment.segment,
            "fake_probability": segment.fake_probability,
            "people": [
                {"track": look.track, "fake_probability": look.score.fake_probability}
                for look in looks
                if look.segment == segment.segment
            ],
        }
        for segment in decision.segments
    ]
