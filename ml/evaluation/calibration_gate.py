"""Decide whether a recalibration may replace the calibration that it began from.

Both rank the videos alike, so the areas under their curves say nothing.  What has to get better is the probability: the
Brier score, with the confidence and by the paired bootstrap over groups of people of `ml.evaluation.promotion_gate`.
As there, it must not be certain that fewer fakes are found.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ml.config import GateConfig, Label
from ml.evaluation.bootstrap import Bools, ClusterBootstrap, Floats, effective_groups
from ml.evaluation.promotion_gate import NOT_BETTER, TOO_SMALL, WON, WORSE_RECALL, GateResult
from ml.evaluation.scored_video import ScoredVideo

Figures = dict[str, float | None]


def too_few(videos: Sequence[ScoredVideo], config: GateConfig) -> str:
    """Say what is missing to judge by these videos; empty when nothing is.

    Groups are weighed by their videos: of fakes that are nearly all one person's nothing can be told of the recall.
    """
    missing = []
    for label, need in ((Label.REAL, config.min_real), (Label.FAKE, config.min_fake)):
        name, mine = label.name.lower(), Counter(video.component for video in videos if video.label == label)
        n, groups = mine.total(), effective_groups(np.array(list(mine.values()), dtype=np.float64))
        if n < need or groups < config.min_groups - 1e-9:
            missing.append(f"{n} {name} videos of {math.floor(10 * groups + 1e-9) / 10:g} groups of people")
    if not missing:
        return ""
    return (
        f"Too few labels: there are {' and '.join(missing)}; it takes at least {config.min_real} real and"
        f" {config.min_fake} fake ones, each of {math.ceil(config.min_groups)} groups, weighed by their videos."
    )


def compare_calibration(
    before: Sequence[ScoredVideo],
    after: Sequence[ScoredVideo],
    *,
    champion_threshold: float,
    candidate_threshold: float,
    look: int = 1,
    n_bootstrap: int = 2000,
    seed: int = 0,
    config: GateConfig | None = None,
) -> GateResult:
    """Compare two calibrations of the same scores.

    Args:
        before: The videos as the present calibration scores them.
        after: The same videos in the same order as the new one does, cross-fitted.
        champion_threshold: The probability from which the present one calls a video fake.
        candidate_threshold: The new one's.
        look: Which recalibration of these weights it is, 1 for the first: each look is paid for.
        n_bootstrap: Draws behind the intervals.
        seed: Of the draws.
        config: What the new one has to show.

    Raises:
        ValueError: Unless both lists hold the same videos, labels and components.
    """
    config = config or GateConfig()
    if [(v.key, v.label, v.component) for v in before] != [(v.key, v.label, v.component) for v in after]:
        raise ValueError("the two calibrations were not given the same videos")
    labels = np.array([video.label for video in before], dtype=np.int64)
    draws = ClusterBootstrap([video.component for video in before], labels, n_bootstrap, np.random.default_rng(seed))
    alpha = config.alpha_of(look)
    facts: dict[str, Any] = {
        "n_videos": len(before),
        "n_real": int((labels == Label.REAL).sum()),
        "n_fake": int((labels == Label.FAKE).sum()),
        "n_components": draws.n_groups,
        "groups_real": round(draws.groups[Label.REAL], 2),
        "groups_fake": round(draws.groups[Label.FAKE], 2),
        "look": look,
    }
    if missing := too_few(before, config):
        return GateResult(False, TOO_SMALL, f"Refused: {missing}", **facts)
    old, new = _scores(before), _scores(after)
    fake: Bools = labels == Label.FAKE
    brier = _brier(labels, old, new, draws, 1 - 2 * alpha)
    recall = _recall((old >= champion_threshold), (new >= candidate_threshold), fake, draws)
    figures = {"brier": brier, "recall_fake": recall}
    on = f"on {len(before)} videos of the random audit, of {draws.n_groups} groups of people,"
    compared = (
        f"{on} the Brier score is {brier['challenger']:.4f} against {brier['champion']:.4f} of the present calibration "
        f"(difference {brier['difference']:+.4f}{_between(brier)})"
    )
    high = brier["high"]
    lost = recall["high"] is None or recall["high"] < -config.max_recall_loss
    if high is None or high >= 0:
        code = NOT_BETTER
        sentence = f"Refused: {compared}; it must be lower with {100 * (1 - alpha):.3g} % confidence."
    elif lost:
        code = WORSE_RECALL
        sentence = (
            f"Refused: {compared}, which is better, but at its threshold it finds clearly fewer of the fakes: recall "
            f"{recall['challenger']:.2f} against {recall['champion']:.2f}{_between(recall)}. Choose the threshold by"
            " the share of fakes to catch."
        )
    else:
        code = WON
        sentence = (
            f"Passed: {compared}; its fake recall is {recall['challenger']:.2f} against {recall['champion']:.2f}."
        )
    if look > 1:
        sentence += f" It is recalibration {look} of these weights, and may spend {100 * alpha:.2g} % of error."
    return GateResult(code == WON, code, sentence, **facts, alpha=alpha, figures=figures)


def _brier(labels: Any, old: Floats, new: Floats, draws: ClusterBootstrap, confidence: float) -> Figures:
    everyone = np.ones(len(labels), dtype=bool)
    errors = [(scores - labels) ** 2 for scores in (old, new)]
    drawn = [draws.totals(error) / draws.totals(everyone) for error in errors]
    difference = float((errors[1] - errors[0]).mean())
    low, high = draws.difference_interval(difference, drawn[1] - drawn[0], among=everyone, confidence=confidence)
    own = [
        draws.interval(float(error.mean()), values, among=everyone, confidence=confidence)
        for error, values in zip(errors, drawn, strict=True)
    ]
    return _figures(float(errors[0].mean()), float(errors[1].mean()), difference, (low, high), own)


def _recall(old: Bools, new: Bools, fake: Bools, draws: ClusterBootstrap) -> Figures:
    rates = [float((called & fake).sum() / fake.sum()) for called in (old, new)]
    drawn = draws.rate(new, fake) - draws.rate(old, fake)
    span = draws.difference_interval(rates[1] - rates[0], drawn, among=fake, confidence=0.9)
    own = [draws.rate_interval(called, fake, confidence=0.9) for called in (old, new)]
    return _figures(rates[0], rates[1], rates[1] - rates[0], span, own)


def _figures(
    champion: float, challenger: float, difference: float, span: tuple[float, float], own: list[tuple[float, float]]
) -> Figures:
    found = {
        "champion": champion,
        "challenger": challenger,
        "difference": difference,
        "low": span[0],
        "high": span[1],
        "champion_low": own[0][0],
        "champion_high": own[0][1],
        "challenger_low": own[1][0],
        "challenger_high": own[1][1],
    }
    return {key: round(value, 6) if np.isfinite(value) else None for key, value in found.items()}


def _between(figures: Figures) -> str:
    return "" if figures["low"] is None else f", interval {figures['low']:+.4f} to {figures['high']:+.4f}"


def _scores(videos: Sequence[ScoredVideo]) -> Floats:
    return np.array([video.score for video in videos], dtype=np.float64)
