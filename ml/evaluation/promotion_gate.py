"""May a new model replace the active one?  Both answer the same held-out videos, and chance must not be the winner.

The bootstrap is paired: each draw of whole groups of people is scored by both models, so what is judged is their
difference, not two intervals that overlap or do not.

Few groups make a bootstrap too sure of itself: percentiles of its draws are those of a normal distribution with the
variance divided by n instead of n - 1.  So the percentiles are moved outwards to what Student's distribution asks for
(the "expanded percentile interval": Hesterberg, The American Statistician 69, 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import norm, t

from ml.config import Label
from ml.evaluation.bootstrap import Bools, ComponentDraws, Floats, Ints, percentiles
from ml.evaluation.metrics import ranking_figures
from ml.evaluation.scored_video import ScoredVideo

WON = "won"
NOT_BETTER = "not_better"
WORSE_RECALL = "worse_recall"
TOO_SMALL = "too_small"
NO_BETTER_THAN_CHANCE = "no_better_than_chance"

FIGURES = ("auc", "balanced_accuracy", "accuracy", "recall_fake")


@dataclass(frozen=True)
class GateConfig:
    """What a candidate has to show."""

    min_real: int = 5
    min_fake: int = 5
    min_components: int = 4
    """Groups of people; fewer cannot tell how the next person will fare."""
    one_sided: float = 5.0
    """What may be left on the wrong side, in percent: 5 is 95 % confidence."""
    max_recall_loss: float = 0.05
    """Fake recall may not be lower by more than this with 95 % confidence.

    Unless the champion's own answers cannot be told from guessing: who calls everything fake misses none.
    """


@dataclass(frozen=True)
class GateResult:
    """The answer, as a sentence for people and as figures for a record."""

    passed: bool
    code: str
    """won, not_better, worse_recall, too_small or no_better_than_chance."""
    sentence: str
    n_videos: int
    n_real: int
    n_fake: int
    n_components: int
    figures: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """For auc, balanced_accuracy, accuracy and recall_fake: `champion`, `challenger`, their `difference` with its 90 %
    interval `low` to `high`, and each one's own, `champion_low`, `champion_high` and so on.  A one-sided test with 95 %
    confidence reads one end of a 90 % interval.  None where there is no champion, or too few videos to say."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "passed": self.passed,
            "code": self.code,
            "sentence": self.sentence,
            "n_videos": self.n_videos,
            "n_real": self.n_real,
            "n_fake": self.n_fake,
            "n_components": self.n_components,
            "figures": {name: dict(values) for name, values in self.figures.items()},
        }


@dataclass(frozen=True)
class _Answers:
    """One model's point figures, and those of every draw."""

    point: dict[str, float]
    drawn: dict[str, Floats]


def compare(
    champion: Sequence[ScoredVideo],
    challenger: Sequence[ScoredVideo],
    *,
    champion_threshold: float,
    challenger_threshold: float,
    n_bootstrap: int = 2000,
    seed: int = 0,
    config: GateConfig | None = None,
) -> GateResult:
    """The challenger against the champion on the same videos, each under its own threshold.

    Raises ValueError unless both lists hold the same videos with the same labels and components.
    """
    config = config or GateConfig()
    champion, challenger = _paired(champion, challenger)
    refused = _too_small(challenger, config)
    if refused:
        return refused
    labels, draws = _draws(challenger, n_bootstrap, seed)
    old = _answers(labels, _scores(champion), champion_threshold, draws)
    new = _answers(labels, _scores(challenger), challenger_threshold, draws)
    figures = {name: _figure(name, new, old, config, draws.n_components) for name in FIGURES}
    auc, recall = figures["auc"], figures["recall_fake"]
    on = _on(challenger)
    compared = (
        f"the candidate's AUC is {_n(auc['challenger'])} against {_n(auc['champion'])} of the active model "
        f"(difference {_n(auc['difference'], True)}, 90 % interval {_n(auc['low'], True)} to {_n(auc['high'], True)})"
    )
    recalls = f"{_n(recall['challenger'])} against {_n(recall['champion'])}"
    lost = not _above(recall["high"], -config.max_recall_loss, or_equal=True)
    guessing = not _above(figures["balanced_accuracy"]["champion_low"], 0.5)
    if not _above(auc["low"], 0.0):
        code, sentence = NOT_BETTER, f"Refused: {on} {compared}; it must be better with 95 % confidence."
    elif not _above(auc["challenger_low"], 0.5):
        code = NO_BETTER_THAN_CHANCE
        sentence = f"Refused: {on} {compared}, which is better, but {_not_above_chance(auc)}."
    elif lost and not guessing:
        code = WORSE_RECALL
        sentence = (
            f"Refused: {on} {compared}, which is better, but at its threshold the candidate finds clearly fewer of "
            f"the fakes: recall {recalls} (difference {_n(recall['difference'], True)}, 90 % interval "
            f"{_n(recall['low'], True)} to {_n(recall['high'], True)}); a loss of more than "
            f"{config.max_recall_loss:.2f} must not be certain."
        )
    else:
        code = WON
        sentence = f"Passed: {on} {compared}; its fake recall is {recalls}"
        if lost:
            sentence += (
                f", but the active model's answers cannot be told from guessing (balanced accuracy "
                f"{_n(figures['balanced_accuracy']['champion'])}), so its recall says nothing"
            )
        sentence += "."
    return _result(challenger, code, sentence, figures)


def compare_alone(
    challenger: Sequence[ScoredVideo],
    threshold: float,
    *,
    n_bootstrap: int = 2000,
    seed: int = 0,
    config: GateConfig | None = None,
) -> GateResult:
    """The gate while no model is active: the candidate only has to be better than guessing."""
    config = config or GateConfig()
    challenger = _sorted(challenger)
    refused = _too_small(challenger, config)
    if refused:
        return refused
    labels, draws = _draws(challenger, n_bootstrap, seed)
    new = _answers(labels, _scores(challenger), threshold, draws)
    figures = {name: _figure(name, new, None, config, draws.n_components) for name in FIGURES}
    auc, on = figures["auc"], _on(challenger)
    if not _above(auc["challenger_low"], 0.5):
        sentence = f"Refused: {on} {_not_above_chance(auc)}; no model is active to compare it with."
        return _result(challenger, NO_BETTER_THAN_CHANCE, sentence, figures)
    sentence = (
        f"Passed: {on} the candidate's AUC is {_n(auc['challenger'])} (90 % interval {_n(auc['challenger_low'])} to "
        f"{_n(auc['challenger_high'])}), better than guessing; no model is active to compare it with."
    )
    return _result(challenger, WON, sentence, figures)


def _sorted(videos: Sequence[ScoredVideo]) -> list[ScoredVideo]:
    """By key, so that the answer does not depend on the order that a query happened to give."""
    if len({video.key for video in videos}) != len(videos):
        raise ValueError("a video is listed twice")
    return sorted(videos, key=lambda video: video.key)


def _paired(
    champion: Sequence[ScoredVideo], challenger: Sequence[ScoredVideo]
) -> tuple[list[ScoredVideo], list[ScoredVideo]]:
    old, new = _sorted(champion), _sorted(challenger)
    different = {video.key for video in old} ^ {video.key for video in new}
    if different:
        raise ValueError(f"{len(different)} videos were scored by one of the models only, among them {min(different)}")
    for a, b in zip(old, new, strict=True):
        if (a.label, a.component) != (b.label, b.component):
            raise ValueError(f"{a.key} has another label or group of people in one list than in the other")
    return old, new


def _counts(videos: Sequence[ScoredVideo]) -> tuple[int, int, int]:
    """(reals, fakes, groups of people)."""
    n_fake = sum(video.label == Label.FAKE for video in videos)
    return len(videos) - n_fake, n_fake, len({video.component for video in videos})


def _result(
    videos: Sequence[ScoredVideo], code: str, sentence: str, figures: dict[str, dict[str, float | None]]
) -> GateResult:
    n_real, n_fake, n_components = _counts(videos)
    return GateResult(
        passed=code == WON,
        code=code,
        sentence=sentence,
        n_videos=len(videos),
        n_real=n_real,
        n_fake=n_fake,
        n_components=n_components,
        figures=figures,
    )


def _too_small(videos: Sequence[ScoredVideo], config: GateConfig) -> GateResult | None:
    n_real, n_fake, n_components = _counts(videos)
    missing = [
        f"{need - have} more {one if need - have == 1 else many}"
        for have, need, one, many in (
            (n_real, config.min_real, "real video", "real videos"),
            (n_fake, config.min_fake, "fake video", "fake videos"),
            (n_components, config.min_components, "group of people", "groups of people"),
        )
        if have < need
    ]
    if not missing:
        return None
    sentence = (
        f"Refused: the held-out videos are too few to compare on ({n_real} real and {n_fake} fake, "
        f"{n_components} {_groups(n_components)}); still needed: {', '.join(missing)}."
    )
    return _result(videos, TOO_SMALL, sentence, {})


def _draws(videos: Sequence[ScoredVideo], n_bootstrap: int, seed: int) -> tuple[Ints, ComponentDraws]:
    """Labels, and draws that hold both classes: the others have no AUC, and would judge another question."""
    labels = np.array([video.label for video in videos], dtype=np.int64)
    draws = ComponentDraws([video.component for video in videos], n_bootstrap, np.random.default_rng(seed))
    draws.keep(draws.has_both(labels))
    return labels, draws


def _scores(videos: Sequence[ScoredVideo]) -> Floats:
    scores = np.array([video.score for video in videos], dtype=np.float64)
    if not np.isfinite(scores).all():
        raise ValueError("a score is a probability from 0 to 1")
    return scores


def _answers(labels: Ints, scores: Floats, threshold: float, draws: ComponentDraws) -> _Answers:
    real: Bools = labels == Label.REAL
    fake: Bools = labels == Label.FAKE
    right: Bools = (scores >= threshold) == fake
    recall_real, recall_fake = draws.share(right, real), draws.share(right, fake)
    return _Answers(
        point={
            "auc": ranking_figures(labels, scores)[0],
            "balanced_accuracy": float(right[real].mean() + right[fake].mean()) / 2,
            "accuracy": float(right.mean()),
            "recall_fake": float(right[fake].mean()),
        },
        drawn={
            "auc": draws.auc(labels, scores),
            "balanced_accuracy": (recall_real + recall_fake) / 2,
            "accuracy": draws.share(right, real | fake),
            "recall_fake": recall_fake,
        },
    )


def expanded(percent: float, n_components: int) -> float:
    """The percentile of the draws of so many groups that leaves `percent` outside: fewer groups, further out."""
    spread = float(t.ppf(percent / 100, n_components - 1)) * (n_components / (n_components - 1)) ** 0.5
    return 100 * float(norm.cdf(spread))


def _figure(
    name: str, new: _Answers, old: _Answers | None, config: GateConfig, n_components: int
) -> dict[str, float | None]:
    tail = expanded(config.one_sided, n_components)
    ends = (tail, 100 - tail)
    own_low, own_high = percentiles(new.drawn[name], *ends)
    found = {"challenger": new.point[name], "challenger_low": own_low, "challenger_high": own_high}
    if old:
        low, high = percentiles(new.drawn[name] - old.drawn[name], *ends)
        found |= {"champion": old.point[name], "difference": new.point[name] - old.point[name]}
        found |= {"low": low, "high": high}
        found["champion_low"], found["champion_high"] = percentiles(old.drawn[name], *ends)
    own = ("champion_low", "champion_high", "challenger_low", "challenger_high")
    keys = ("champion", "challenger", "difference", "low", "high", *own)
    return {key: round(found[key], 6) if np.isfinite(found.get(key, np.nan)) else None for key in keys}


def _above(value: float | None, bound: float, *, or_equal: bool = False) -> bool:
    """Whether a figure is on the right side; one that could not be worked out is not.

    Figures are rounded to six digits, so that equal models differ by 0 and not by the last bit of a sum.
    """
    return value is not None and (value > bound or (or_equal and value >= bound))


def _groups(n: int) -> str:
    return "group of people" if n == 1 else "groups of people"


def _on(videos: Sequence[ScoredVideo]) -> str:
    n = _counts(videos)[2]
    return f"on {len(videos)} held-out videos of {n} {_groups(n)}"


def _not_above_chance(auc: dict[str, float | None]) -> str:
    return (
        f"the candidate cannot be told from guessing with 95 % confidence: its own AUC is {_n(auc['challenger'])} "
        f"(90 % interval {_n(auc['challenger_low'])} to {_n(auc['challenger_high'])}, and guessing has 0.50)"
    )


def _n(value: float | None, signed: bool = False) -> str:
    """Two digits, more where those would make a small difference look like none; a difference with its sign."""
    if value is None:
        return "unknown"
    digits = ".2f" if abs(value) >= 0.005 or not value else ".1g"
    return format(value + 0.0, f"+{digits}" if signed and value else digits)
