"""The verdict on a video from the scores of its people, as the rows have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from detection.models import ModelVersion
from detection.services.jobs.results import ClassificationResult
from worker.stages.shown import Shown

if TYPE_CHECKING:
    from ml.model.decision import Decision, Judgement
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
    from ml.model.decision import Subject, judge

    whole_frames = bool(shown.frames)
    subjects = [Subject(part.segment) for part in shown.frames] or [
        Subject(run[0].segment_index, track, bool(run[0].still)) for track, run in shown.sequences
    ]
    judgement = judge(
        subjects, scores, classifier.info, sensitive=sensitive and not whole_frames, whole_frames=whole_frames
    )
    decision = judgement.decision
    return ClassificationResult(
        model_version_id=version.id,
        label=decision.label,
        fake_probability=decision.fake_probability,
        threshold=decision.threshold,
        track=decision.track,
        people=[] if whole_frames else _people(decision, shown, scores),
        segments=_segments(judgement, whole_frames=whole_frames),
        frames=_frames(shown, scores) if whole_frames else None,
        needs_review=decision.needs_review,
        review_reasons=decision.review_reasons,
        assessment=decision.assessment,
        timings=timings or {},
    )


def _people(decision: Decision, shown: Shown, scores: Sequence[TrackScore]) -> list[dict[str, Any]]:
    frames: dict[int, list[dict[str, Any]]] = {person.track: [] for person in decision.people}
    for (track, faces), score in zip(shown.sequences, scores, strict=True):
        frames[track] += [
            {
                "face": str(face.id),
                "frame_number": face.frame_number,
                "timestamp_s": face.timestamp_s,
                "fake_probability": probability,
            }
            for face, probability in zip(faces, score.frame_probabilities, strict=True)
        ]
    return [
        {
            "track": person.track,
            "fake_probability": person.fake_probability,
            **({"still": True} if person.still else {}),
            "frames": frames[person.track],
        }
        for person in decision.people
    ]


def _frames(shown: Shown, scores: Sequence[TrackScore]) -> list[dict[str, Any]]:
    return [
        {"segment": part.segment, "frame_number": number, "timestamp_s": time_s, "fake_probability": probability}
        for part, score in zip(shown.frames, scores, strict=True)
        for (number, time_s), probability in zip(part.frames, score.frame_probabilities, strict=True)
    ]


def _segments(judgement: Judgement, *, whole_frames: bool) -> list[dict[str, Any]] | None:
    """Each segment's score and its people's; None where only the first was looked at."""
    if all(look.segment == 0 for look in judgement.looks):
        return None
    return [
        {
            "segment": segment.segment,
            "fake_probability": segment.fake_probability,
            "people": [
                {"track": look.track, "fake_probability": look.score.fake_probability}
                for look in judgement.looks
                if look.segment == segment.segment and not whole_frames
            ],
        }
        for segment in judgement.decision.segments
    ]
