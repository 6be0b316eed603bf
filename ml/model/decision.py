"""From people's scores to a verdict on the video, however many segments and people were looked at.

**The rule.**  A segment is as fake as its most fake person.  For a video of one segment that is the verdict.  Of
several segments any number may be forged: all of a dubbed speech, one passage of an interview.  So for each k the mean
log-odds of the k most fake of n segments is compared with what chance gives the best k of n; the video has the highest
of

    mean of the k highest log-odds - 1.25 ln(n / k),    k = 1 .. n

Forged throughout (k = n) it scores as one segment does; the fewer passages carry the verdict, the surer they must be.
Without the second term the more segments and people are looked at, the more real videos would be called fake: eight
looks at 10 % false alarms each give 57 %.  Bonferroni's correction of log-odds would be ln(n / k); its factor is what
keeps false alarms of 2 to 8 segments within 2 points of a single one's for every normal distribution of log-odds that
is calibrated, from an AUC of 0.69 to 0.998, for independent and for like segments (`tests/ml/test_decision.py`).  It
was chosen so, and not on the scores of any weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ml.config import DecisionConfig, Label, ReviewReason
from ml.model.calibration import AssessmentBorders, Floats, tempered
from ml.model.inference import TrackScore
from ml.model.weights import WeightsInfo

FEW_SEGMENTS_PENALTY = 1.25
CLOSEST = 1e-6
"""Probabilities nearer to 0 or 1 than this are taken for this: float32 knows no better."""


@dataclass(frozen=True)
class SegmentScore:
    """A segment with somebody in it; `fake_probability` is its most fake person's."""

    segment: int
    fake_probability: float


@dataclass(frozen=True)
class PersonScore:
    """A person over all segments, by the same rule as the video; `track` is the person's index."""

    track: int
    fake_probability: float
    still: bool = False
    """A still picture in every segment."""


@dataclass(frozen=True)
class Decision:
    """The video's verdict.  `track` is the index of the person whose segment is the most fake."""

    label: str
    fake_probability: float
    threshold: float
    track: int
    needs_review: bool
    review_reasons: tuple[str, ...]
    assessment: str
    """The score in words (ml.config.Assessment); empty where the weights do not say where a word begins."""
    people: tuple[PersonScore, ...]
    segments: tuple[SegmentScore, ...]


@dataclass(frozen=True)
class Look:
    """One scored sequence: a person (`track`) in a segment."""

    track: int
    segment: int
    score: TrackScore


@dataclass(frozen=True)
class Subject:
    """What one score is of: a person (`track`) in a segment; of a model of whole frames, the segment."""

    segment: int
    track: int = 0
    still: bool = False
    """A still picture (see `ml.faces.still`)."""


@dataclass(frozen=True)
class Judgement:
    """The decision, and the look at each subject that it was made from."""

    looks: tuple[Look, ...]
    decision: Decision


def combine(probabilities: Sequence[float]) -> float:
    """The calibrated probability that some of these segments are forged, from each one's; see the module's rule."""
    if len(probabilities) == 1:
        return probabilities[0]
    (best,) = tempered(*means_and_penalties([log_odds(probabilities)]))
    return 1 / (1 + math.exp(-best))


def log_odds(probabilities: Sequence[float]) -> Floats:
    """Return the log-odds of probabilities, (N,); those nearer to 0 or 1 than CLOSEST are taken for that."""
    values = np.clip(np.asarray(probabilities, dtype=np.float64), CLOSEST, 1 - CLOSEST)
    return np.asarray(np.log(values / (1 - values)), dtype=np.float64)


def means_and_penalties(videos: Sequence[Sequence[float] | Floats]) -> tuple[Floats, Floats]:
    """Return what `combine` compares, for many videos at once, from the log-odds of each one's segments.

    Returns:
        The mean log-odds of the k most fake segments, and what is taken off for having looked at n, (V, K) each.  Where
        a video has no k segments, infinitely much is taken off.
    """
    most = max(map(len, videos), default=0)
    means, penalties = np.zeros((len(videos), most)), np.full((len(videos), most), np.inf)
    for row, segments in enumerate(videos):
        values = np.sort(np.asarray(segments, dtype=np.float64))[::-1]
        count = np.arange(1, len(values) + 1)
        means[row, : len(values)] = np.cumsum(values) / count
        penalties[row, : len(values)] = FEW_SEGMENTS_PENALTY * np.log(len(values) / count)
    return means, penalties


def decide(
    looks: Sequence[Look],
    info: WeightsInfo,
    config: DecisionConfig | None = None,
    *,
    sensitive: bool = False,
    whole_frames: bool = False,
) -> Decision:
    """Decide on a video; `sensitive` where the faces were found with lowered thresholds.

    With `whole_frames` a look is at the frames of a segment, and how many faces there are does not matter.

    Still pictures decide only where there is nobody else.  Every rule that sets `needs_review` is here; its numbers are
    in `ml.config.DecisionConfig`.  Raises ValueError without a score: no face is not a verdict.
    """
    if not looks:
        raise ValueError("no verdict without a face")
    config = config or DecisionConfig()
    by_segment: dict[int, float] = {}
    judged = [look for look in looks if not look.score.still] or looks
    for look in judged:
        by_segment[look.segment] = max(look.score.fake_probability, by_segment.get(look.segment, 0.0))
    by_person: dict[int, list[TrackScore]] = {}
    for look in looks:
        by_person.setdefault(look.track, []).append(look.score)
    probability = combine(list(by_segment.values()))
    reasons = []
    if abs(probability - info.threshold) < config.uncertain_margin:
        reasons.append(ReviewReason.NEAR_THRESHOLD)
    if probability < info.threshold <= max(by_segment.values()):
        reasons.append(ReviewReason.SUSPECT_SEGMENT)
    if not whole_frames and any(len(look.score.frame_probabilities) < config.few_faces for look in judged):
        reasons.append(ReviewReason.FEW_FACES)
    if info.experimental:
        reasons.append(ReviewReason.EXPERIMENTAL_MODEL)
    if sensitive:
        reasons.append(ReviewReason.SENSITIVE_FACES)
    borders = AssessmentBorders.from_metrics(info.metrics, info.threshold)
    return Decision(
        label=(Label.FAKE if probability >= info.threshold else Label.REAL).name.lower(),
        fake_probability=probability,
        threshold=info.threshold,
        track=max(judged, key=lambda look: look.score.fake_probability).track,
        needs_review=bool(reasons),
        review_reasons=tuple(reasons),
        assessment=borders.assess(probability, info.threshold) if borders else "",
        people=tuple(
            PersonScore(
                track, combine([score.fake_probability for score in scores]), all(score.still for score in scores)
            )
            for track, scores in sorted(by_person.items())
        ),
        segments=tuple(SegmentScore(segment, p) for segment, p in sorted(by_segment.items())),
    )


def judge(
    subjects: Sequence[Subject],
    scores: Sequence[TrackScore],
    info: WeightsInfo,
    *,
    sensitive: bool = False,
    whole_frames: bool = False,
) -> Judgement:
    """Decide on a video from the score of each subject; see `decide`."""
    looks = [
        Look(subject.track, subject.segment, replace(score, still=subject.still))
        for subject, score in zip(subjects, scores, strict=True)
    ]
    return Judgement(tuple(looks), decide(looks, info, sensitive=sensitive, whole_frames=whole_frames))
