"""Check by simulation that intervals and gate keep what they promise: `python -m ml.evaluation.simulate`.

Scores of made-up people: a margin is `signal` for fakes, plus a normal error of the person and one of the video, so
that the truth is known.  Two tables come out: how often the printed 95 % intervals hold the truth (93 to 97 %; more for
shares of few videos, which have few values), and how often a candidate that is exactly as good as the champion passes
the gate (at most 5 %).  The seeds are fixed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ml.config import Label
from ml.evaluation.bootstrap import Floats, Ints
from ml.evaluation.metrics import classification_metrics, evaluate_scores
from ml.evaluation.promotion_gate import compare
from ml.evaluation.scored_video import ScoredVideo

COVERED = (
    "auc",
    "accuracy",
    "balanced_accuracy",
    "recall_real",
    "recall_fake",
    "precision_fake",
    "f1_fake",
    "brier",
)
TRUTH_GROUPS = 20_000


@dataclass(frozen=True)
class Situation:
    """Who the held-out videos are of.

    `real_groups` of the groups hold reals only and the others fakes only; with None each group holds both by turns.
    `spread` is the standard deviation of the logarithm of a group's number of videos.
    """

    name: str
    groups: int
    videos: int
    real_groups: int | None = None
    spread: float = 0.0
    signal: float = 1.5
    person: float = 1.0
    """Standard deviation of a person's own error; that of a video is 1."""

    def people(self, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Return (labels, groups) of the videos, (N,) each."""
        sizes = np.maximum(
            1 if self.real_groups is not None else 2,
            np.exp(rng.normal(np.log(self.videos), self.spread, size=self.groups)).round(),
        ).astype(np.int64)
        which: Ints = np.repeat(np.arange(self.groups), sizes)
        if self.real_groups is None:
            return np.concatenate([np.arange(n) % 2 for n in sizes]).astype(np.int64), which
        return (which >= self.real_groups).astype(np.int64), which

    def scores(self, labels: Ints, which: Ints, rng: np.random.Generator) -> Floats:
        """Return (N,) fake probabilities."""
        margin = self.signal * (labels - 0.5) + rng.normal(size=len(labels))
        margin += self.person * rng.normal(size=int(which.max()) + 1)[which]
        return np.asarray(1 / (1 + np.exp(-margin)), dtype=np.float64)

    def truth(self) -> dict[str, float]:
        """Return the metrics on very many people."""
        share = None if self.real_groups is None else self.real_groups * TRUTH_GROUPS // self.groups
        many = replace(self, groups=TRUTH_GROUPS, real_groups=share)
        rng = np.random.default_rng(99)
        labels, which = many.people(rng)
        return classification_metrics(labels, many.scores(labels, which, rng), 0.5)


def coverage(situation: Situation, *, trials: int, n_bootstrap: int = 300, seed: int = 1) -> dict[str, float | None]:
    """Return for each metric how often its 95 % interval holds the truth; None where none is printed."""
    truth, rng = situation.truth(), np.random.default_rng(seed)
    held: dict[str, list[bool]] = {name: [] for name in COVERED}
    for trial in range(trials):
        labels, which = situation.people(rng)
        scores = situation.scores(labels, which, rng)
        names = [str(k) for k in which]
        found = evaluate_scores(labels, scores, threshold=0.5, n_bootstrap=n_bootstrap, seed=trial, groups=names)
        for name in COVERED:
            entry = found[name]
            if entry["low"] is not None:
                held[name].append(entry["low"] - 1e-6 <= truth[name] <= entry["high"] + 1e-6)
    return {name: float(np.mean(values)) if values else None for name, values in held.items()}


def null_passes(situation: Situation, *, trials: int, looks: int = 1, n_bootstrap: int = 300, seed: int = 1) -> float:
    """Return how often one of `looks` candidates, each exactly as good as the champion, passes on one holdout."""
    rng = np.random.default_rng(seed)
    passed = 0
    for trial in range(trials):
        labels, which = situation.people(rng)
        champion = scored(labels, which, situation.scores(labels, which, rng))
        for look in range(1, looks + 1):
            candidate = scored(labels, which, situation.scores(labels, which, rng))
            answer = compare(
                champion,
                candidate,
                champion_threshold=0.5,
                candidate_threshold=0.5,
                look=look,
                n_bootstrap=n_bootstrap,
                seed=trial,
            )
            if answer.passed:
                passed += 1
                break
    return passed / trials


def scored(labels: Ints, which: Ints, scores: Floats) -> list[ScoredVideo]:
    """Return the videos as the gate takes them."""
    return [
        ScoredVideo(key=f"{k:06d}", label=Label(int(y)), score=float(s), component=str(g))
        for k, (y, g, s) in enumerate(zip(labels, which, scores, strict=True))
    ]


COVERAGE: Sequence[Situation] = (
    Situation("both labels each", 4, 6),
    Situation("both labels each", 5, 6),
    Situation("both labels each", 6, 6),
    Situation("both labels each", 10, 4),
    Situation("both labels each", 20, 4),
    Situation("both labels each", 40, 3),
    Situation("both, unequal", 12, 6, spread=0.7),
    Situation("one label each", 4, 5, real_groups=2),
    Situation("one label each", 10, 5, real_groups=5),
    Situation("one label each", 17, 3, real_groups=8),
    Situation("one label each", 40, 3, real_groups=20),
    Situation("one, unequal", 24, 5, real_groups=12, spread=0.7),
    Situation("reals of 2", 20, 4, real_groups=2),
    Situation("reals of 5", 20, 4, real_groups=5),
    Situation("reals of 8", 40, 4, real_groups=8),
)
NULL: Sequence[Situation] = (
    *(Situation("both labels each", n, per) for n, per in ((4, 6), (6, 6), (10, 4), (20, 4), (40, 3))),
    *(
        Situation("one label each", n, per, real_groups=n // 2)
        for n, per in ((4, 6), (6, 6), (10, 4), (20, 4), (40, 3))
    ),
    *(Situation("reals of 2", n, per, real_groups=2) for n, per in ((4, 6), (6, 6), (10, 4), (20, 4), (40, 3))),
    Situation("reals of 1", 12, 5, real_groups=1),
    Situation("reals of 5", 12, 5, real_groups=5),
    Situation("reals of 5", 40, 4, real_groups=5),
    Situation("both, unequal", 12, 6, spread=0.7),
)


def main(argv: Sequence[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m ml.evaluation.simulate", description=__doc__)
    parser.add_argument("--trials", type=int, default=1000, help="draws of people behind each number")
    trials = parser.parse_args(argv).trials
    print(f"Held by the 95 % interval, {trials} trials (s.e. {(0.05 * 0.95 / trials) ** 0.5:.3f}); - is not given")
    print(f"{'':30}" + "".join(f"{name[:12]:>13}" for name in COVERED))
    for situation in COVERAGE:
        cells = coverage(situation, trials=trials)
        print(
            _name(situation) + "".join(f"{'-' if v is None else format(v, '.3f'):>13}" for v in cells.values()),
            flush=True,
        )
    print(f"Passed the gate though exactly as good, {trials} trials; then at least once in 5 looks")
    for situation in NULL:
        one = null_passes(situation, trials=trials)
        five = null_passes(situation, trials=max(1, trials // 4), looks=5)
        print(f"{_name(situation)}{one:13.3f}{five:13.3f}", flush=True)


def _name(situation: Situation) -> str:
    return f"{situation.name:18} {situation.groups:3} x {situation.videos:<5}"


if __name__ == "__main__":
    main()
