"""The one bootstrap of this package: it draws whole groups of people and turns a metric's spread into an interval.

Videos of one person are not independent, so what counts is how many groups of people there are, and of each label.
Groups that hold the scarcer label and the other groups are two strata, drawn one at a time.  A draw of a stratum of n
groups takes n - 1 of them with replacement (Rao and Wu, JASA 83, 1988), which makes the variance of a mean unbiased,
and moves the weights half of the way there (`STEP`): a whole step would count what pairs of few groups have in common
three times.  The strata's variances add up; Satterthwaite's formula gives the degrees of freedom, Student's t the
quantile.  A metric from 0 to 1 gets Wilson's interval for as many videos as would have that variance.

`python -m ml.evaluation.simulate` prints how often these intervals hold the truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ml.config import MIN_GROUPS, Label

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

CHUNK_CELLS = 2_000_000
"""Cells (draw, video) worked on at once, so that memory stays bounded."""
STEP = 0.5
"""How far a draw's weights move from 1 towards those of the resample."""
NO_INTERVAL = (float("nan"), float("nan"))


def effective_groups(sizes: Floats) -> float:
    """Kish's effective number of groups with these numbers of videos (G,): equal groups count fully; 0.0 for none."""
    total = float(sizes.sum())
    return total * total / float((sizes * sizes).sum()) if total else 0.0


@dataclass(frozen=True)
class Spread:
    """The standard error of a metric, and the degrees of freedom it is known with."""

    error: float
    df: float


class ClusterBootstrap:
    """Draws of whole groups of people, the same for every metric, so that two models can be compared draw by draw.

    Attributes:
        which: (N,) index of each video's group.
        weights: (n_draws, G) weight of each group in each draw.
        groups: Effective number of groups by label.
    """

    def __init__(self, groups: Sequence[str], labels: Ints, n_draws: int, rng: np.random.Generator) -> None:
        """Draw the weights.

        Args:
            groups: Names of the N videos' groups of people.
            labels: (N,) of `ml.config.Label`.
            n_draws: Draws in all, split evenly between the strata.
            rng: Where chance comes from.
        """
        names, which = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
        self.n_groups = len(names)
        self.which: Ints = which.astype(np.int64).reshape(-1)
        sizes = {label: self._sizes(labels == label) for label in Label}
        self.groups = {label: effective_groups(sizes[label]) for label in Label}
        present = [label for label in Label if self.groups[label]] or [Label.REAL]
        scarcer = min(present, key=lambda label: self.groups[label])
        inside = sizes[scarcer] > 0
        strata = [np.flatnonzero(inside), np.flatnonzero(~inside)]
        if len(strata[1]) < 2:  # one group alone has no variance of its own
            strata = [np.arange(self.n_groups)]
        rest = sizes[Label(1 - scarcer)]
        held = [self.groups[scarcer], effective_groups(rest[strata[-1]]) if len(strata) > 1 else 0.0]
        self._df = [max(held[k] - 1, 1e-3) for k in range(len(strata))]
        self._members = strata
        per = max(2, n_draws // len(strata))
        self._stratum: Ints = np.repeat(np.arange(len(strata)), per)
        self.weights: Floats = np.ones((per * len(strata), self.n_groups))
        for k, members in enumerate(strata):
            if len(members) > 1:
                drawn = _rescaled_counts(len(members), per, rng)
                self.weights[np.ix_(self._stratum == k, members)] += STEP * (drawn - 1)

    def _sizes(self, mask: Bools) -> Floats:
        sizes: Floats = np.bincount(self.which, weights=mask.astype(np.float64), minlength=self.n_groups).astype(
            np.float64
        )
        return sizes

    def effective(self, among: Bools) -> float:
        """Effective number of groups of the videos `among` (N,)."""
        return effective_groups(self._sizes(among))

    @property
    def scarcer(self) -> float:
        """Effective number of groups of the label that fewer people have."""
        return min(self.groups.values())

    def totals(self, values: Floats | Bools) -> Floats:
        """Sum of `values` (N,) over each draw's weighted videos, (n_draws,)."""
        return self.weights @ np.bincount(self.which, weights=values.astype(np.float64), minlength=self.n_groups)

    def rate(self, hits: Bools, among: Bools) -> Floats:
        """Share of `hits` among the videos `among` in each draw, (n_draws,); NaN where there is none."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.totals(hits & among) / self.totals(among)

    def auc(self, labels: Ints, scores: Floats) -> Floats:
        """ROC AUC of each draw, (n_draws,); equal scores count half.  NaN without both labels."""
        return np.concatenate([_area(reals, fakes) for reals, fakes in self._cumulated(labels, scores)])

    def _cumulated(self, labels: Ints, scores: Floats) -> Iterator[tuple[Floats, Floats]]:
        """Yield slices of draws: weights of (reals, fakes) from the highest distinct score down, (draws, D) each."""
        order = np.argsort(-scores, kind="stable")
        starts = np.concatenate([[0], np.flatnonzero(np.diff(scores[order])) + 1])
        which, fake = self.which[order], labels[order] == Label.FAKE
        step = max(1, CHUNK_CELLS // len(scores))
        for first in range(0, len(self.weights), step):
            weights = self.weights[first : first + step][:, which]
            fakes = np.cumsum(np.add.reduceat(weights * fake, starts, axis=1), axis=1)
            both = np.cumsum(np.add.reduceat(weights, starts, axis=1), axis=1)
            yield both - fakes, fakes

    def spread(self, drawn: Floats, among: Bools | None = None) -> Spread:
        """Estimate the standard error of a metric.

        Args:
            drawn: The metric in each draw, (n_draws,).
            among: The videos (N,) that it depends on, where those are not all: fewer groups, fewer degrees of freedom.
        """
        parts, dfs = [], []
        sizes = None if among is None else self._sizes(among)
        for k, members in enumerate(self._members):
            part, df = float(np.var(drawn[self._stratum == k])) / STEP**2, self._df[k]
            if sizes is not None:
                held = sizes[members]
                n, within = len(members), int((held > 0).sum())
                df = max(effective_groups(held) - 1, 1e-3)
                if 1 < within < n:
                    part *= within / (within - 1) * (n - 1) / n
            parts.append(part)
            dfs.append(df)
        variance = sum(parts)
        if not np.isfinite(variance):
            return Spread(float("nan"), 1.0)
        if variance < 1e-18:
            return Spread(0.0, max(1.0, max(dfs)))
        return Spread(variance**0.5, max(1.0, variance**2 / sum(p * p / df for p, df in zip(parts, dfs, strict=True))))

    def interval(
        self,
        value: float,
        drawn: Floats,
        *,
        among: Bools | None = None,
        confidence: float = 0.95,
        min_groups: float = MIN_GROUPS,
    ) -> tuple[float, float]:
        """Two-sided interval of a metric from 0 to 1, (low, high).

        Args:
            value: The metric on all videos.
            drawn: The metric in each draw, (n_draws,).
            among: The videos (N,) that it depends on; without, it depends on both labels, and on the scarcer most.
            confidence: How often the interval is to hold the truth.
            min_groups: Effective groups that it takes.

        Returns:
            NaN twice where fewer than `min_groups` groups cannot tell how the next person will fare.
        """
        groups, spread = self._basis(drawn, among)
        if spread is None or not np.isfinite(value) or groups < min_groups - 1e-9:
            return NO_INTERVAL
        quantile = float(stdtrit(spread.df, 0.5 + confidence / 2))
        plain = value * (1 - value)
        # Without exception, or without any difference between groups, only the number of groups bounds the error.
        n = plain / spread.error**2 if plain > 1e-12 and spread.error > 0 else groups
        squared = quantile**2 / n
        middle, half = value + squared / 2, quantile * (plain / n + squared / (4 * n)) ** 0.5
        return max(0.0, (middle - half) / (1 + squared)), min(1.0, (middle + half) / (1 + squared))

    def rate_interval(self, hits: Bools, among: Bools, *, confidence: float = 0.95) -> tuple[float, float]:
        """Interval of the share of `hits` among the videos `among` (N,), as `interval`."""
        if not among.any():
            return NO_INTERVAL
        value = float((hits & among).sum() / among.sum())
        return self.interval(value, self.rate(hits, among), among=among, confidence=confidence)

    def difference_interval(
        self, value: float, drawn: Floats, *, among: Bools | None = None, confidence: float = 0.95
    ) -> tuple[float, float]:
        """Interval of a difference of two metrics on the same videos: Student's, not bounded.  As `interval`."""
        _, spread = self._basis(drawn, among)
        if spread is None or not np.isfinite(value):
            return NO_INTERVAL
        half = float(stdtrit(spread.df, 0.5 + confidence / 2)) * spread.error
        return value - half, value + half

    def _basis(self, drawn: Floats, among: Bools | None) -> tuple[float, Spread | None]:
        """(effective groups, spread); no spread where the groups are too few."""
        groups = self.scarcer if among is None else self.effective(among)
        if groups < MIN_GROUPS - 1e-9:
            return groups, None
        spread = self.spread(drawn, among)
        return groups, spread if np.isfinite(spread.error) else None


def _rescaled_counts(n: int, draws: int, rng: np.random.Generator) -> Floats:
    """Counts of n - 1 draws with replacement out of n, rescaled to a mean of 1, (draws, n)."""
    picked = rng.integers(0, n, size=(draws, n - 1)) + np.arange(draws)[:, None] * n
    counts = np.bincount(picked.ravel(), minlength=draws * n).reshape(draws, n)
    return counts.astype(np.float64) * (n / (n - 1))


def _area(reals: Floats, fakes: Floats) -> Floats:
    """Area under the ROC curves through the cumulated weights, (draws, D) each."""
    steps = np.diff(reals, axis=1, prepend=0.0)
    before = np.concatenate([np.zeros((len(fakes), 1)), fakes[:, :-1]], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (steps * (before + fakes)).sum(axis=1) / (2 * reals[:, -1] * fakes[:, -1])
