"""Bootstrap over whole groups of people, for all draws at once.  Pure numpy.

A draw is a vector of counts: how often each component was drawn.  Every share is then a quotient of two matrix
products, and the AUC a cumulated sum over the videos in the order of their scores, so that a thousand draws cost
about as much as a few plain evaluations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ml.config import Label

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

CHUNK_CELLS = 2_000_000
"""Draws are worked on in slices of about this many (draw, video) cells, so that memory stays bounded."""


class ComponentDraws:
    """`n_draws` draws with replacement of whole components; `counts` is (n_draws, C), `which` (N,) indexes it."""

    def __init__(self, components: Sequence[str], n_draws: int, rng: np.random.Generator) -> None:
        names, which = np.unique(np.asarray(components, dtype=object).astype(str), return_inverse=True)
        self.n_components = len(names)
        self.which: Ints = which.astype(np.int64).reshape(-1)
        picked = rng.integers(0, self.n_components, size=(n_draws, self.n_components))
        picked += np.arange(n_draws)[:, None] * self.n_components
        flat = np.bincount(picked.ravel(), minlength=n_draws * self.n_components)
        self.counts: Floats = flat.reshape(n_draws, self.n_components).astype(np.float64)

    def keep(self, draws: Bools) -> None:
        """Forgets the other draws."""
        self.counts = self.counts[draws]

    def totals(self, values: Floats | Bools) -> Floats:
        """Sum of `values` (N,) over each draw's videos, (n_draws,)."""
        return self.counts @ np.bincount(self.which, weights=values.astype(np.float64), minlength=self.n_components)

    def share(self, hits: Bools, among: Bools) -> Floats:
        """For each draw the share of `hits` among the videos `among`; NaN where a draw has none of them."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.totals(hits & among) / self.totals(among)

    def share_interval(self, hits: Bools, among: Bools) -> tuple[float, float]:
        """The 95 % interval of a share; NaN where there is nobody, or nobody else to draw.

        When all of them are hits, or none, every draw repeats that, as if it were certain.  Then the exact binomial
        interval over the groups of people is given: 3 of 3 people leave much room for the next one.
        """
        low, high = percentiles(self.share(hits, among), 2.5, 97.5)
        if self.n_components < 2 or not among.any():
            return float("nan"), float("nan")
        some = 0.025 ** (1 / len(np.unique(self.which[among])))
        if hits[among].all():
            return some, 1.0
        return (low, high) if hits[among].any() else (0.0, 1 - some)

    def has_both(self, labels: Ints) -> Bools:
        return (self.totals(labels == Label.REAL) > 0) & (self.totals(labels == Label.FAKE) > 0)

    def cumulated(self, labels: Ints, scores: Floats) -> Iterator[tuple[Floats, Floats]]:
        """In slices of draws: (reals, fakes) counted from the highest distinct score down, each (draws, D)."""
        order = np.argsort(-scores, kind="stable")
        starts = np.concatenate([[0], np.flatnonzero(np.diff(scores[order])) + 1])
        which, fake = self.which[order], labels[order] == Label.FAKE
        step = max(1, CHUNK_CELLS // len(scores))
        for first in range(0, len(self.counts), step):
            weights = self.counts[first : first + step][:, which]
            fakes = np.cumsum(np.add.reduceat(weights * fake, starts, axis=1), axis=1)
            both = np.cumsum(np.add.reduceat(weights, starts, axis=1), axis=1)
            yield both - fakes, fakes

    def auc(self, labels: Ints, scores: Floats) -> Floats:
        """ROC AUC of each draw (equal scores count half), NaN where a draw lacks a class."""
        return np.concatenate([area(reals, fakes) for reals, fakes in self.cumulated(labels, scores)])


def area(reals: Floats, fakes: Floats) -> Floats:
    """Area under the ROC curves through the cumulated counts, (draws, D) each."""
    steps = np.diff(reals, axis=1, prepend=0.0)
    before = np.concatenate([np.zeros((len(fakes), 1)), fakes[:, :-1]], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (steps * (before + fakes)).sum(axis=1) / (2 * reals[:, -1] * fakes[:, -1])


def percentiles(drawn: Floats, low: float, high: float) -> tuple[float, float]:
    """Two percentiles of the finite draws, NaN when there are none."""
    finite = drawn[np.isfinite(drawn)]
    if not len(finite):
        return float("nan"), float("nan")
    a, b = np.percentile(finite, [low, high])
    return float(a), float(b)
