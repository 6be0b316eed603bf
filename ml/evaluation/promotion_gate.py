"""Decide whether a new model may replace the active one: chance must not be the winner.

Both answer the same held-out videos.  The bootstrap is paired: each draw of whole groups of people is scored by both
models, so what is judged is their difference, not two intervals that overlap or do not.  Groups count by label: reals
of one person are one group, however many people the fakes are of (see `ml.evaluation.bootstrap`).

Who asks often enough wins by chance, so looks at one holdout are paid for: of the 5 % that chance may win in all looks
together, look k may spend 5 % / (k (k + 1)), which add up to 5 % however many looks there are (Bonferroni).  The
number of the look is the caller's to know (`detection.services.learning.holdout_looks`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ml.config import GateConfig, Label
from ml.evaluation.bootstrap import Bools, ClusterBootstrap, Floats, Ints, effective_groups
from ml.evaluation.metrics import ranking_metrics
from ml.evaluation.scored_video import ScoredVideo

WON = "won"
NOT_BETTER = "not_better"
WORSE_RECALL = "worse_recall"
TOO_SMALL = "too_small"
NO_BETTER_THAN_CHANCE = "no_better_than_chance"
WORSE_THAN_CHANCE = "worse_than_chance"

FIGURES = ("auc", "balanced_accuracy", "accuracy", "recall_fake")


@dataclass(frozen=True)
class GateResult:
    """The answer, as a sentence for people and as metrics for a record."""

    passed: bool
    code: str
    """won, not_better, worse_recall, too_small, no_better_than_chance or worse_than_chance."""
    sentence: str
    n_videos: int
    n_real: int
    n_fake: int
    n_components: int
    groups_real: float
    """Effective groups of people in the reals; see `ml.evaluation.bootstrap.effective_groups`."""
    groups_fake: float
    look: int = 1
    """Which look at this holdout it was."""
    alpha: float = 0.0
    """What chance might win at this look; 0.0 where nothing was compared."""
    figures: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """For auc, balanced_accuracy, accuracy and recall_fake: `champion`, `challenger` (the candidate), their
    `difference` with its interval `low` to `high`, and each one's own, `champion_low`, `champion_high` and so on.
    AUC's intervals leave `alpha` out at either end, the others 5 %: one-sided tests read one end.  None where there is
    no champion, or too few people to say."""

    def to_dict(self) -> dict[str, Any]:
        """Return it JSON-able."""
        return asdict(self)


@dataclass(frozen=True)
class _Answers:
    """One model's metrics, those of every draw (n_draws,), and the videos (N,) that a metric depends on."""

    point: dict[str, float]
    drawn: dict[str, Floats]
    among: dict[str, Bools]


def compare(
    champion: Sequence[ScoredVideo],
    candidate: Sequence[ScoredVideo],
    *,
    champion_threshold: float,
    candidate_threshold: float,
    look: int = 1,
    n_bootstrap: int = 2000,
    seed: int = 0,
    config: GateConfig | None = None,
) -> GateResult:
    """Compare the candidate with the champion on the same videos, each under its own threshold.

    Args:
        champion: The held-out videos as the active model scores them.
        candidate: The same videos as the candidate scores them, in any order.
        champion_threshold: The probability from which the active model calls a video fake.
        candidate_threshold: The candidate's.
        look: Which look at this holdout it is, 1 for the first.
        n_bootstrap: Draws behind the intervals.
        seed: Of the draws.
        config: What the candidate has to show.

    Raises:
        ValueError: Unless both lists hold the same videos, labels and components, and `look` is at least 1.
    """
    config = config or GateConfig()
    champion, candidate = _paired(champion, candidate)
    gate = _Gate(candidate, look, config)
    if refused := gate.too_small():
        return refused
    labels, draws = gate.draws(n_bootstrap, seed)
    old = _answers(labels, _scores(champion), champion_threshold, draws)
    new = _answers(labels, _scores(candidate), candidate_threshold, draws)
    figures = {name: _compared(name, new, old, draws, gate.level(name)) for name in FIGURES}
    auc, recall = figures["auc"], figures["recall_fake"]
    compared = (
        f"the candidate's AUC is {_n(auc['challenger'])} against {_n(auc['champion'])} of the active model "
        f"(difference {_n(auc['difference'], True)}, {gate.interval} {_n(auc['low'], True)} to "
        f"{_n(auc['high'], True)})"
    )
    recalls = f"{_n(recall['challenger'])} against {_n(recall['champion'])}"
    lost = not _above(recall["high"], -config.max_recall_loss, or_equal=True)
    guessing = not _above(figures["balanced_accuracy"]["champion_low"], 0.5)
    if gate.upside_down(auc):
        code, sentence = WORSE_THAN_CHANCE, gate.worse_than_chance(auc)
    elif not _above(auc["low"], 0.0):
        code, sentence = NOT_BETTER, f"Refused: {gate.on} {compared}; it must be better with {gate.confidence}."
    elif not _above(auc["challenger_low"], 0.5):
        code = NO_BETTER_THAN_CHANCE
        sentence = f"Refused: {gate.on} {compared}, which is better, but {gate.not_above_chance(auc)}."
    elif lost and not guessing:
        code = WORSE_RECALL
        sentence = (
            f"Refused: {gate.on} {compared}, which is better, but at its threshold the candidate finds clearly fewer "
            f"of the fakes: recall {recalls} (difference {_n(recall['difference'], True)}, 90 % interval "
            f"{_n(recall['low'], True)} to {_n(recall['high'], True)}); a loss of more than "
            f"{config.max_recall_loss:.2f} must not be certain."
        )
    else:
        code = WON
        sentence = f"Passed: {gate.on} {compared}; its fake recall is {recalls}"
        if lost:
            sentence += (
                f", but the active model's answers cannot be told from guessing (balanced accuracy "
                f"{_n(figures['balanced_accuracy']['champion'])}), so its recall says nothing"
            )
        sentence += "."
    return gate.result(code, sentence, figures)


def compare_alone(
    candidate: Sequence[ScoredVideo],
    threshold: float,
    *,
    look: int = 1,
    n_bootstrap: int = 2000,
    seed: int = 0,
    config: GateConfig | None = None,
) -> GateResult:
    """Judge the candidate while no model is active: it only has to be better than guessing.  As `compare`."""
    config = config or GateConfig()
    candidate = _sorted(candidate)
    gate = _Gate(candidate, look, config)
    if refused := gate.too_small():
        return refused
    labels, draws = gate.draws(n_bootstrap, seed)
    new = _answers(labels, _scores(candidate), threshold, draws)
    figures = {name: _compared(name, new, None, draws, gate.level(name)) for name in FIGURES}
    auc = figures["auc"]
    if gate.upside_down(auc):
        return gate.result(WORSE_THAN_CHANCE, gate.worse_than_chance(auc), figures)
    if not _above(auc["challenger_low"], 0.5):
        sentence = f"Refused: {gate.on} {gate.not_above_chance(auc)}; no model is active to compare it with."
        return gate.result(NO_BETTER_THAN_CHANCE, sentence, figures)
    sentence = (
        f"Passed: {gate.on} the candidate's AUC is {_n(auc['challenger'])} ({gate.interval} "
        f"{_n(auc['challenger_low'])} to {_n(auc['challenger_high'])}), better than guessing; no model is active to "
        f"compare it with."
    )
    return gate.result(WON, sentence, figures)


def enough(videos: Sequence[ScoredVideo], config: GateConfig | None = None) -> bool:
    """Tell whether there are enough videos of enough people for the gate to compare on."""
    return _Gate(videos, 1, config or GateConfig()).too_small() is None


class _Gate:
    """The videos, the look and what it may spend, in numbers and in words."""

    def __init__(self, videos: Sequence[ScoredVideo], look: int, config: GateConfig) -> None:
        if look < 1:
            raise ValueError(f"the first look is look 1, not {look}")
        self.videos, self.look, self.config = videos, look, config
        self.alpha = config.alpha_of(look)
        self.n_fake = sum(video.label == Label.FAKE for video in videos)
        self.n_real = len(videos) - self.n_fake
        self.n_components = len({video.component for video in videos})
        self.groups = {
            label: effective_groups(
                np.array(list(Counter(v.component for v in videos if v.label == label).values()), dtype=np.float64)
            )
            for label in Label
        }
        self.on = f"on {len(videos)} held-out videos of {self.n_components} {_groups(self.n_components)}"
        self.confidence = f"{_percent(1 - self.alpha)} confidence"
        self.interval = f"{_percent(1 - 2 * self.alpha)} interval"

    def level(self, name: str) -> float:
        """Return the two-sided confidence of a metric's intervals; what only vetoes keeps its 90 % at every look."""
        return 1 - 2 * (self.alpha if name == "auc" else 0.05)

    def draws(self, n_bootstrap: int, seed: int) -> tuple[Ints, ClusterBootstrap]:
        labels = np.array([video.label for video in self.videos], dtype=np.int64)
        components = [video.component for video in self.videos]
        return labels, ClusterBootstrap(components, labels, n_bootstrap, np.random.default_rng(seed))

    def too_small(self) -> GateResult | None:
        config = self.config
        missing = [
            f"{math.ceil(need - have - 1e-9)} more {one if math.ceil(need - have - 1e-9) == 1 else many}"
            for have, need, one, many in (
                (self.n_real, config.min_real, "real video", "real videos"),
                (self.n_fake, config.min_fake, "fake video", "fake videos"),
                (
                    self.groups[Label.REAL],
                    config.min_groups,
                    "group of people in the reals",
                    "groups of people in the reals",
                ),
                (
                    self.groups[Label.FAKE],
                    config.min_groups,
                    "group of people in the fakes",
                    "groups of people in the fakes",
                ),
            )
            if have < need - 1e-9
        ]
        if not missing:
            return None
        sentence = (
            f"Refused: the held-out videos are too few to compare on ({self.n_real} real and {self.n_fake} fake; "
            f"weighed by their videos, the reals are of {self.groups[Label.REAL]:.1f} and the fakes of "
            f"{self.groups[Label.FAKE]:.1f} groups of people); still needed: {', '.join(missing)}."
        )
        return self.result(TOO_SMALL, sentence, {})

    def result(self, code: str, sentence: str, figures: dict[str, dict[str, float | None]]) -> GateResult:
        return GateResult(
            passed=code == WON,
            code=code,
            sentence=sentence if code == TOO_SMALL else f"{sentence} {self.price}",
            n_videos=len(self.videos),
            n_real=self.n_real,
            n_fake=self.n_fake,
            n_components=self.n_components,
            groups_real=round(self.groups[Label.REAL], 2),
            groups_fake=round(self.groups[Label.FAKE], 2),
            look=self.look,
            alpha=0.0 if code == TOO_SMALL else self.alpha,
            figures=figures,
        )

    @property
    def price(self) -> str:
        """Say what this look may spend of what chance may win."""
        return (
            f"It is look {self.look} at this holdout: of the {_percent(self.config.alpha)} that chance may win in all "
            f"looks together, this one may spend {_percent(self.alpha)}."
        )

    def upside_down(self, auc: dict[str, float | None]) -> bool:
        """Tell whether the candidate is certainly worse than guessing."""
        high = auc["challenger_high"]
        return high is not None and high < 0.5

    def worse_than_chance(self, auc: dict[str, float | None]) -> str:
        return (
            f"Refused: {self.on} the candidate is worse than chance with {self.confidence}: its AUC is "
            f"{_n(auc['challenger'])} ({self.interval} {_n(auc['challenger_low'])} to {_n(auc['challenger_high'])}, "
            f"and guessing has 0.50). Is FAKE the other output?"
        )

    def not_above_chance(self, auc: dict[str, float | None]) -> str:
        return (
            f"the candidate cannot be told from guessing with {self.confidence}: its own AUC is "
            f"{_n(auc['challenger'])} ({self.interval} {_n(auc['challenger_low'])} to {_n(auc['challenger_high'])}, "
            f"and guessing has 0.50)"
        )


def _sorted(videos: Sequence[ScoredVideo]) -> list[ScoredVideo]:
    """Sort by key, so that the answer does not depend on the order that a query happened to give."""
    if len({video.key for video in videos}) != len(videos):
        raise ValueError("a video is listed twice")
    return sorted(videos, key=lambda video: video.key)


def _paired(
    champion: Sequence[ScoredVideo], candidate: Sequence[ScoredVideo]
) -> tuple[list[ScoredVideo], list[ScoredVideo]]:
    old, new = _sorted(champion), _sorted(candidate)
    different = {video.key for video in old} ^ {video.key for video in new}
    if different:
        raise ValueError(f"{len(different)} videos were scored by one of the models only, among them {min(different)}")
    for a, b in zip(old, new, strict=True):
        if (a.label, a.component) != (b.label, b.component):
            raise ValueError(f"{a.key} has another label or group of people in one list than in the other")
    return old, new


def _scores(videos: Sequence[ScoredVideo]) -> Floats:
    scores = np.array([video.score for video in videos], dtype=np.float64)
    if not np.isfinite(scores).all():
        raise ValueError("a score is a probability from 0 to 1")
    return scores


def _answers(labels: Ints, scores: Floats, threshold: float, draws: ClusterBootstrap) -> _Answers:
    real: Bools = labels == Label.REAL
    fake: Bools = labels == Label.FAKE
    right: Bools = (scores >= threshold) == fake
    recall_real, recall_fake = draws.rate(right, real), draws.rate(right, fake)
    return _Answers(
        point={
            "auc": ranking_metrics(labels, scores)[0],
            "balanced_accuracy": float(right[real].mean() + right[fake].mean()) / 2,
            "accuracy": float(right.mean()),
            "recall_fake": float(right[fake].mean()),
        },
        drawn={
            "auc": draws.auc(labels, scores),
            "balanced_accuracy": (recall_real + recall_fake) / 2,
            "accuracy": draws.rate(right, real | fake),
            "recall_fake": recall_fake,
        },
        among={"accuracy": real | fake, "recall_fake": fake},
    )


def _compared(
    name: str, new: _Answers, old: _Answers | None, draws: ClusterBootstrap, level: float
) -> dict[str, float | None]:
    among = new.among.get(name)

    def own(answers: _Answers) -> tuple[float, float]:
        return draws.interval(answers.point[name], answers.drawn[name], among=among, confidence=level)

    found = {"challenger": new.point[name]}
    found["challenger_low"], found["challenger_high"] = own(new)
    if old:
        difference = new.point[name] - old.point[name]
        found |= {"champion": old.point[name], "difference": difference}
        found["low"], found["high"] = draws.difference_interval(
            difference, new.drawn[name] - old.drawn[name], among=among, confidence=level
        )
        found["champion_low"], found["champion_high"] = own(old)
    own_keys = ("champion_low", "champion_high", "challenger_low", "challenger_high")
    keys = ("champion", "challenger", "difference", "low", "high", *own_keys)
    return {key: round(found[key], 6) if np.isfinite(found.get(key, np.nan)) else None for key in keys}


def _above(value: float | None, bound: float, *, or_equal: bool = False) -> bool:
    """Tell whether a metric is on the right side; one that could not be worked out is not.

    Metrics are rounded to six digits, so that equal models differ by 0 and not by the last bit of a sum.
    """
    return value is not None and (value > bound or (or_equal and value >= bound))


def _groups(n: int) -> str:
    return "group of people" if n == 1 else "groups of people"


def _percent(share: float) -> str:
    """Write a share in percent, to three digits of what is missing to 0 or to 100."""
    digits = max(0, 1 - math.floor(math.log10(100 * min(share, 1 - share))))
    text = f"{100 * share:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def _n(value: float | None, signed: bool = False) -> str:
    """Write two digits, more where those would make a small difference look like none; a difference with its sign."""
    if value is None:
        return "unknown"
    digits = ".2f" if abs(value) >= 0.005 or not value else ".1g"
    return format(value + 0.0, f"+{digits}" if signed and value else digits)
