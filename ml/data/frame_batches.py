"""Batches of single crops for the frame network: each is a pure function of (seed, step), whoever loads it.

So training resumes exactly where it stopped, with any number of loader processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ml.config import Label
from ml.data.augment import AugmentConfig, augment, self_blend
from ml.data.crop_pack import Pack
from ml.model.preprocessing import to_input_array


@dataclass(frozen=True)
class FramePlan:
    """How the batches of a run are composed; progress runs from 0 to 1 over the run."""

    batch_size: int
    total_steps: int
    seed: int
    sizes: tuple[tuple[int, float], ...]
    """(input side in pixels, share of the run's steps), in order: small pictures first are a cheap start."""
    source_weights: tuple[tuple[str, float], ...] = ()
    """Share of pairs drawn from each source; by default in proportion to the square root of its crops."""
    blend_share: tuple[float, float] = (0.1, 0.25)
    """Share of a two-label source's fakes that are self-blended, at the start and at the end."""
    blend_strength: tuple[float, float] = (2.0, 1.0)
    """From coarse artefacts to fine ones."""

    def size_at(self, step: int) -> int:
        done = 0.0
        for size, share in self.sizes:
            done += share
            if step < done * self.total_steps:
                return size
        return self.sizes[-1][0]

    def progress(self, step: int) -> float:
        return min(1.0, step / max(1, self.total_steps - 1))


class PairSampler:
    """Draws (real, fake) pairs within one source.

    A fake comes with a real crop of the same clip, or else of the same person, so that neither the person nor the place
    gives the label away.  A source with reals only pairs each with a self-blended copy of itself: the source
    never leaks as the label.  One with fewer forged clips than real ones is filled up in the same way, or its few fakes
    would be learnt by heart.  A source with fakes only cannot be used and is refused.
    """

    def __init__(self, pack: Pack, indices: Sequence[int], plan: FramePlan) -> None:
        self.plan = plan
        self.reals: dict[str, list[int]] = {}
        self.fakes: dict[str, list[int]] = {}
        self._by_key: dict[str, list[int]] = {}
        self._rows = pack.rows
        for i in indices:
            row = pack.rows[i]
            (self.fakes if row.label == Label.FAKE else self.reals).setdefault(row.source, []).append(i)
            if row.label == Label.REAL:
                for key in (f"o:{row.source}:{row.origin}", f"g:{row.source}:{row.group}"):
                    self._by_key.setdefault(key, []).append(i)
        only_fakes = sorted(set(self.fakes) - set(self.reals))
        if only_fakes:
            raise ValueError(f"no real crop in {', '.join(only_fakes)}: the source alone would give the label away.")
        if not self.reals:
            raise ValueError("there is no real crop to train on.")
        clips = {s: len({pack.rows[i].origin or str(i) for i in self.reals[s]}) for s in self.reals}
        forged = {s: len({pack.rows[i].video or str(i) for i in self.fakes.get(s, [])}) for s in self.reals}
        self.scarcity = {s: max(0.0, 1.0 - forged[s] / clips[s]) for s in self.reals}
        given = dict(plan.source_weights)
        self.sources = sorted(self.reals)
        counts = {s: len(self.reals[s]) + len(self.fakes.get(s, [])) for s in self.sources}
        weights = np.array([given.get(s, counts[s] ** 0.5 if not given else 0.0) for s in self.sources], dtype=float)
        if weights.sum() <= 0:
            raise ValueError(f"the source weights name none of {', '.join(self.sources)}.")
        self.weights = weights / weights.sum()

    def draw(self, rng: np.random.Generator, progress: float) -> tuple[int, int, bool]:
        """(index of a real crop, index the fake is made from, whether it is to be self-blended)."""
        source = self.sources[int(rng.choice(len(self.sources), p=self.weights))]
        start, end = self.plan.blend_share
        blend = rng.random() < max(start + (end - start) * progress, self.scarcity[source])
        if blend:
            real = int(rng.choice(self.reals[source]))
            return real, real, True
        fake = int(rng.choice(self.fakes[source]))
        row = self._rows[fake]
        mates = self._by_key.get(f"o:{source}:{row.origin}") if row.origin else None
        mates = mates or self._by_key.get(f"g:{source}:{row.group}") or self.reals[source]
        return int(rng.choice(mates)), fake, False


class FrameBatches(Dataset[tuple[Tensor, Tensor]]):
    """`batches[step]` -> (N, S, S, 3) uint8 RGB, (N,) int64 labels; N = batch_size, half of each label."""

    def __init__(
        self, pack: Pack, indices: Sequence[int], plan: FramePlan, config: AugmentConfig | None = None
    ) -> None:
        self.pack, self.plan, self.augment_config = pack, plan, config
        self.sampler = PairSampler(pack, indices, plan)

    def __len__(self) -> int:
        return self.plan.total_steps

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        cv2.setNumThreads(0)  # the cores belong to the network
        plan = self.plan
        size, progress = plan.size_at(step), plan.progress(step)
        strong, fine = plan.blend_strength
        strength = strong + (fine - strong) * progress
        rng = np.random.default_rng([plan.seed, step])
        images, labels = [], []
        for _ in range(plan.batch_size // 2):
            real, fake, blend = self.sampler.draw(rng, progress)
            seed = int(rng.integers(0, 2**31))
            real_crop, fake_crop = self.pack.crop(real), self.pack.crop(fake)
            if blend:
                fake_crop = self_blend(fake_crop, rng, strength=strength)
            for crop, label in ((real_crop, Label.REAL), (fake_crop, Label.FAKE)):
                changed = augment(crop, np.random.default_rng(seed), self.augment_config)
                images.append(to_input_array(changed, size))
                labels.append(int(label))
        return torch.from_numpy(np.stack(images)), torch.tensor(labels)

    def loader(self, first_step: int, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches from `first_step` to the end, loaded ahead by `workers` processes (0: in this one)."""
        steps = range(first_step, len(self))
        return iter(
            DataLoader(
                self, batch_size=None, sampler=steps, num_workers=workers, prefetch_factor=8 if workers else None
            )
        )
