"""The verdict on a video from the scores of its people, as the rows have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from detection.models import FaceFrame, ModelVersion
from detection.services.jobs.results import ClassificationResult

if TYPE_CHECKING:
    from ml.model.decision import Decision, Look
    from ml.model.inference import Classifier, TrackScore

Sequences = Sequence[tuple[int, Sequence[FaceFrame]]]
"""Each person (track) with the faces of one segment, by person and then in time order."""


def verdict(
    version: ModelVersion,
    classifier: Classifier,
    sequences: Sequences,
    scores: Sequence[TrackScore],
    *,
    sensitive: bool = False,
    timings: dict[str, float] | None = None,
) -> ClassificationResult:
    """The verdict on one video from its sequences and their scores.

    `sensitive` says that the faces were found with lowered thresholds, whichever analysis did that.
    """
    from ml.model.decision import Look, decide

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
