"""Recalibrate weights on an installation's own labelled videos: a shift and a scale of the log-odds (Platt 1999).

A video of several segments is judged by the rule of `ml.model.decision.combine`, before and after.  What is said of the
new calibration is cross-fitted: each fifth of the groups of people is scored by what the other four taught.  Otherwise
the two numbers would be praised for what they were fitted to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml.config import DecisionConfig, GateConfig, Label
from ml.evaluation.bootstrap import ClusterBootstrap, Floats, Ints
from ml.evaluation.calibration_gate import compare_calibration, too_few
from ml.evaluation.curves import all_curves
from ml.evaluation.metrics import evaluate_draws
from ml.evaluation.promotion_gate import GateResult
from ml.evaluation.scored_video import ScoredVideo
from ml.model.calibration import AssessmentBorders, choose_borders, choose_threshold
from ml.model.decision import combine, log_odds, means_and_penalties

FOLDS = 5
N_BOOTSTRAP = 2000
MIN_SCALE, MAX_SCALE = 0.02, 50.0
STEPS = 100


class CannotRecalibrate(Exception):
    """Too few labels, or scores that say nothing of the labels; the message is a sentence."""


@dataclass(frozen=True)
class JudgedVideo:
    """A labelled video as the present calibration scores it."""

    key: str
    label: int
    """ml.config.Label."""
    component: str
    """People who are linked."""
    segments: tuple[float, ...]
    """Fake probability of each segment's most suspicious person."""


@dataclass(frozen=True)
class Fit:
    """New log-odds are `scale` times the present ones, plus `shift`."""

    scale: float
    shift: float

    def apply(self, probability: float) -> float:
        """Return the new fake probability of a person, from the present one."""
        (before,) = log_odds([probability])
        return float(1 / (1 + np.exp(-(self.scale * before + self.shift))))

    def scores(self, videos: Sequence[JudgedVideo]) -> Floats:
        """Return the videos' new fake probabilities, (N,)."""
        found = [combine([self.apply(p) for p in video.segments]) for video in videos]
        return np.array(found, dtype=np.float64)


@dataclass(frozen=True)
class Recalibration:
    """A new calibration, and what it does to the videos that it was fitted on."""

    fit: Fit
    threshold: float
    borders: AssessmentBorders
    before: dict[str, Any]
    """`evaluate_scores` of the present calibration at its threshold."""
    after: dict[str, Any]
    """Of the new one, cross-fitted, at the new threshold."""
    curves_before: dict[str, Any]
    curves_after: dict[str, Any]
    videos: list[ScoredVideo]
    """With the cross-fitted scores."""
    gate: GateResult


def fit(videos: Sequence[JudgedVideo]) -> Fit:
    """Return the scale and the shift with the highest likelihood, by Newton's method.

    Labels are smoothed as Platt does ((n + 1) / (n + 2) instead of 1), so that separated videos have an optimum, too.
    Every video counts alike: after it a fake probability means what it says among videos like these, with as many fakes
    among them.

    Raises:
        CannotRecalibrate: where higher scores are not more often fake.
    """
    means, penalties = means_and_penalties([log_odds(video.segments) for video in videos])
    labels = _labels(videos)
    n_fake, n_real = int((labels == Label.FAKE).sum()), int((labels == Label.REAL).sum())
    target = np.where(labels == Label.FAKE, (n_fake + 1) / (n_fake + 2), 1 / (n_real + 2))

    def at(point: Floats) -> tuple[float, Floats, Floats]:
        z = point[0] * means + point[1] - penalties
        best = np.argmax(z, axis=1)[:, None]
        z, x = np.take_along_axis(z, best, 1)[:, 0], np.take_along_axis(means, best, 1)[:, 0]
        loss = float((np.logaddexp(0, z) - target * z).sum())
        p = 1 / (1 + np.exp(-np.clip(z, -500, 500)))
        residual, weight = p - target, p * (1 - p)
        slope = np.array([(residual * x).sum(), residual.sum()])
        cross = (weight * x).sum()
        bend = np.array([[(weight * x * x).sum(), cross], [cross, weight.sum()]])
        return loss, slope, bend

    point = np.array([1.0, 0.0])
    loss, slope, bend = at(point)
    for _ in range(STEPS):
        step = np.linalg.solve(bend + 1e-12 * np.eye(2), slope)
        share = 1.0
        while share > 1e-10:
            tried = at(point - share * step)
            if tried[0] <= loss - 1e-4 * share * float(slope @ step):
                break
            share /= 2
        else:
            break  # it gets no better
        point = point - share * step
        loss, slope, bend = tried
    scale, shift = float(point[0]), float(point[1])
    if not MIN_SCALE <= scale <= MAX_SCALE:
        raise CannotRecalibrate(
            f"The model's scores say nothing of these labels (the fitted scale of its log-odds is {scale:.3g}): no"
            " calibration mends that. Train on them, or look for labels that are wrong."
        )
    return Fit(scale, shift)


def recalibrate(
    videos: Sequence[JudgedVideo],
    *,
    threshold: float,
    false_alarms: float | None = None,
    fake_recall: float | None = None,
    look: int = 1,
    decision: DecisionConfig | None = None,
    gate: GateConfig | None = None,
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = 0,
) -> Recalibration:
    """Fit a new calibration and compare it with the present one.

    Args:
        videos: With the scores of the present calibration, in any order.
        threshold: The present one.
        false_alarms: The new threshold is the lowest that calls at most this share of the reals fake.  Without either
            it is where the present one comes to lie, so that the same videos are called fake.
        fake_recall: Instead: the highest that catches this share of the fakes.
        look: Which recalibration of these weights it is, 1 for the first.
        decision: Shares that the words for a score are chosen by.
        gate: What the new calibration has to show, and how many videos it takes.
        n_bootstrap: Draws behind the intervals.
        seed: Of the draws.

    Raises:
        CannotRecalibrate: for too few videos or people, and as `fit`.
    """
    decision, gate = decision or DecisionConfig(), gate or GateConfig()
    videos = sorted(videos, key=lambda video: video.key)
    if missing := too_few(scored(videos), minimum(decision)):
        raise CannotRecalibrate(missing)
    labels = _labels(videos)
    new = fit(videos)
    scores = new.scores(videos)
    chosen = float(np.clip(new.apply(threshold), 0.001, 0.999))
    if fake_recall is not None or false_alarms is not None:
        chosen = choose_threshold(scores, labels, fake_recall=fake_recall, false_alarms=false_alarms)
    draws = ClusterBootstrap([video.component for video in videos], labels, n_bootstrap, np.random.default_rng(seed))
    old, crossed = present_scores(videos), cross_fitted(videos)
    after = scored(videos, crossed)
    return Recalibration(
        fit=new,
        threshold=chosen,
        borders=choose_borders(scores, labels, chosen, decision),
        before=evaluate_draws(labels, old, threshold, draws),
        after=evaluate_draws(labels, crossed, chosen, draws),
        curves_before=all_curves(labels, old, draws),
        curves_after=all_curves(labels, crossed, draws),
        videos=after,
        gate=compare_calibration(
            scored(videos, old),
            after,
            champion_threshold=threshold,
            candidate_threshold=chosen,
            look=look,
            n_bootstrap=n_bootstrap,
            seed=seed,
            config=gate,
        ),
    )


def minimum(decision: DecisionConfig | None = None) -> GateConfig:
    """What it takes to recalibrate: as many videos and groups of people as a version that is not experimental."""
    decision = decision or DecisionConfig()
    return GateConfig(
        min_real=decision.experimental_min_videos,
        min_fake=decision.experimental_min_videos,
        min_groups=decision.experimental_min_groups,
    )


def cross_fitted(videos: Sequence[JudgedVideo]) -> Floats:
    """Return each video's new score by a fit on the other folds, (N,); groups of people are never divided."""
    fold = folds(videos)
    scores = np.empty(len(videos))
    for k in range(FOLDS):
        taught = fit([video for video, f in zip(videos, fold, strict=True) if f != k])
        held = np.flatnonzero(fold == k)
        scores[held] = taught.scores([videos[int(i)] for i in held])
    return scores


def folds(videos: Sequence[JudgedVideo]) -> Ints:
    """Return the fold of each video, (N,): groups are dealt out one by one, those with a fake first.

    Among alike groups a hash of their name decides, so that neither names nor the time of upload do.
    """
    fakes = {video.component for video in videos if video.label == Label.FAKE}
    names = {video.component for video in videos}
    order = sorted(names, key=lambda name: (name not in fakes, hashlib.sha256(name.encode()).digest()))
    dealt = {name: k % FOLDS for k, name in enumerate(order)}
    return np.array([dealt[video.component] for video in videos], dtype=np.int64)


def scored(videos: Sequence[JudgedVideo], scores: Floats | None = None) -> list[ScoredVideo]:
    """Return the videos with these scores (N,), by default the present ones."""
    values = present_scores(videos) if scores is None else scores
    return [
        ScoredVideo(video.key, video.label, float(score), video.component)
        for video, score in zip(videos, values, strict=True)
    ]


def present_scores(videos: Sequence[JudgedVideo]) -> Floats:
    """Return the videos' fake probabilities under the present calibration, (N,)."""
    return np.array([combine(video.segments) for video in videos], dtype=np.float64)


def _labels(videos: Sequence[JudgedVideo]) -> Ints:
    return np.array([video.label for video in videos], dtype=np.int64)
