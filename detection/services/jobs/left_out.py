"""A verdict without the people whom reviewers call no person (a poster, a screen, a drawing, a wrong detection).

The model's scores stay as they are; only who counts changes, so nothing is computed but the rule that makes a video's
score of its people's.  It is that of `ml.model.decision`, which the web process cannot import: a test holds the two
against each other.  What the model says of everybody is kept beside it, and comes back when nobody is left out.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from detection.models import Assessment, PersonLabel, Verdict, label_of

UNCERTAIN_MARGIN = 0.15
FEW_FACES = 10
FEW_SEGMENTS_PENALTY = 1.25
CLOSEST = 1e-6
DECIDED = ("label", "fake_probability", "track", "needs_review", "review_reasons", "assessment")
"""Columns of a verdict that follow from who counts."""
CHANGED = (*DECIDED, "left_out", "with_everybody")
"""Columns that `leave_out` sets."""

Look = tuple[int, int | None, float]
"""(track, index of the segment or None where there is one only, fake probability there)"""


def no_persons(labels: Mapping[str, str] | None) -> list[int]:
    """Return the tracks that `Video.person_labels` calls no person, in order."""
    return sorted(int(track) for track, label in (labels or {}).items() if label == PersonLabel.NOT_A_PERSON)


def models_own(verdict: Verdict) -> dict[str, Any]:
    """Return what the model says of everybody, by the names in `DECIDED`."""
    kept = verdict.with_everybody
    return dict(kept) if kept else {name: getattr(verdict, name) for name in DECIDED}


def leave_out(verdict: Verdict, tracks: Collection[int]) -> None:
    """Decide anew without these tracks.

    Sets the columns `CHANGED` of the row in memory; the scores of people and segments stay as the model gave them.
    Where nobody else is there, its own outcome stays, too: no face is not a verdict.
    """
    own = models_own(verdict)
    judged = _judged(verdict, set(tracks)) if tracks else []
    if judged:
        _set(verdict, _decided(verdict, judged, own), with_everybody=own)
    else:
        _set(verdict, own, with_everybody=None)
    verdict.left_out = sorted(tracks) or None


def segment_scores(verdict: Verdict) -> dict[int, float]:
    """Return the score of each of several segments as the verdict stands, by index; none where nobody counts."""
    if verdict.frames is not None:
        return {part["segment"]: part["fake_probability"] for part in verdict.segments or ()}
    judged = _judged(verdict, set(verdict.left_out or ())) or _judged(verdict, set())
    return {segment: score for segment, score in _highest(judged).items() if segment is not None}


def combine(probabilities: Sequence[float]) -> float:
    """Return the probability that some of these segments are forged: the rule of `ml.model.decision.combine`."""
    if len(probabilities) == 1:
        return probabilities[0]
    values = [min(max(p, CLOSEST), 1 - CLOSEST) for p in sorted(probabilities, reverse=True)]
    total, best = 0.0, -math.inf
    for count, value in enumerate(values, 1):
        total += math.log(value / (1 - value))
        best = max(best, total / count - FEW_SEGMENTS_PENALTY * math.log(len(values) / count))
    return 1 / (1 + math.exp(-best))


def _set(verdict: Verdict, outcome: Mapping[str, Any], *, with_everybody: dict[str, Any] | None) -> None:
    for name in DECIDED:
        setattr(verdict, name, outcome[name])
    verdict.with_everybody = with_everybody


def _looks(verdict: Verdict) -> list[Look]:
    if verdict.segments is None:
        return [(person["track"], None, person["fake_probability"]) for person in verdict.people]
    return [
        (person["track"], part["segment"], person["fake_probability"])
        for part in verdict.segments
        for person in part["people"]
    ]


def _judged(verdict: Verdict, tracks: Collection[int]) -> list[Look]:
    """Return what counts without these; still pictures only where there is nobody else."""
    still = {person["track"] for person in verdict.people if person.get("still")}
    present = [look for look in _looks(verdict) if look[0] not in tracks]
    return [look for look in present if look[0] not in still] or present


def _highest(judged: Sequence[Look]) -> dict[int | None, float]:
    found: dict[int | None, float] = {}
    for _, segment, probability in judged:
        found[segment] = max(probability, found.get(segment, 0.0))
    return found


def _decided(verdict: Verdict, judged: Sequence[Look], own: Mapping[str, Any]) -> dict[str, Any]:
    highest = _highest(judged)
    probability, threshold = combine(list(highest.values())), verdict.threshold
    holds = {
        "near_threshold": abs(probability - threshold) < UNCERTAIN_MARGIN,
        "suspect_segment": probability < threshold <= max(highest.values()),
        "few_faces": "few_faces" in own["review_reasons"] and _few_faces(verdict, {track for track, *_ in judged}),
    }
    others = [reason for reason in own["review_reasons"] if reason not in holds]
    reasons = [*(reason for reason, is_so in holds.items() if is_so), *others]
    return {
        "label": str(label_of(probability, threshold)),
        "fake_probability": probability,
        "track": max(judged, key=lambda look: look[2])[0],
        "needs_review": bool(reasons),
        "review_reasons": reasons,
        "assessment": _assessed(verdict, probability) if own["assessment"] else "",
    }


def _few_faces(verdict: Verdict, tracks: Collection[int]) -> bool:
    """Over several segments a person's faces are counted together: there the reason stays, whoever it was."""
    if verdict.segments is not None:
        return True
    return any(len(person["frames"]) < FEW_FACES for person in verdict.people if person["track"] in tracks)


def _assessed(verdict: Verdict, probability: float) -> str:
    try:
        borders = verdict.model_version.metrics["assessment"]
        low, high = float(borders["likely_real_below"]), float(borders["likely_fake_from"])
    except (KeyError, TypeError, ValueError):  # others write weights, too
        return ""
    if probability >= verdict.threshold:
        return str(Assessment.LIKELY_FAKE if probability >= high else Assessment.SUSPICIOUS)
    return str(Assessment.LIKELY_REAL if probability < low else Assessment.UNCLEAR)
