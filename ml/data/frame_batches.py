"""Batches of single crops for the frame network; each is a pure function of (seed, step).

So training resumes exactly where it stopped, with any number of loader processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ml.config import Label, ModelConfig
from ml.data.augment import MILD, AugmentConfig, augment
from ml.data.crop_pack import CropRow, Pack
from ml.data.self_blend import self_blend
from ml.faces.alignment import Crop, Jitter, Points, align_face, transform_points
from ml.model.preprocessing import input_matrix

IGNORE = -1
"""A target that a head is not trained on."""
BLENDED, FORGED = 0, 1
"""Columns of the targets: the head that tells self-blended from real, the one that tells forged from real."""


@dataclass(frozen=True)
class BatchSchedule:
    """How the batches of a run are composed."""

    batch_size: int
    total_steps: int
    seed: int
    sizes: tuple[tuple[int, float], ...]
    """(input side in pixels, share of the run's steps), in order: small pictures first are a cheap start."""
    source_weights: tuple[tuple[str, float], ...] = ()
    """Share of groups drawn from each source; by default in proportion to the square root of its crops."""
    blend_strength: tuple[float, float] = (0.6, 1.3)
    """Range that the strength of self-blending is drawn from; 1 is the paper's."""
    blended_share: float = 1.0
    """Share of the groups with a forgery that carry a self-blended face, too; groups without one always do."""
    mild_share: float = 0.0
    """Share of the groups that are augmented mildly (`ml.data.augment.MILD`)."""
    self_blend: bool = True
    """Off in a check for leaks with shuffled labels: what is self-blended is a true label."""

    def size_at(self, step: int) -> int:
        """Return the input side at this step, in pixels."""
        done = 0.0
        for size, share in self.sizes:
            done += share
            if step < done * self.total_steps:
                return size
        return self.sizes[-1][0]


class GroupSampler:
    """Draw a real crop, and a forgery of the same clip or person where the source has forgeries.

    Each real crop also becomes a self-blended fake, so no source is all real: neither the person, nor the place, nor
    the source gives the label away.  Videos are drawn evenly within a source, and so are methods among its forgeries.
    A source with fewer forged clips than real ones leaves its forgery out in proportion, or its few fakes would be
    learnt by heart.  A source with fakes only is refused.
    """

    def __init__(self, pack: Pack, indices: Sequence[int], schedule: BatchSchedule) -> None:
        self._rows = pack.rows
        reals: dict[str, dict[str, list[int]]] = {}
        fakes: dict[str, dict[tuple[str, str], dict[str, list[int]]]] = {}
        self._mates: dict[tuple[str, str, str], list[int]] = {}
        counts: dict[str, int] = {}
        for i in indices:
            row = pack.rows[i]
            counts[row.source] = counts.get(row.source, 0) + 1
            clip = row.video or row.origin or str(i)
            if row.label == Label.FAKE:
                methods = fakes.setdefault(row.source, {})
                methods.setdefault((row.method, row.compression), {}).setdefault(clip, []).append(i)
            else:
                reals.setdefault(row.source, {}).setdefault(clip, []).append(i)
                self._mates.setdefault((row.source, "clip", row.origin), []).append(i)
                self._mates.setdefault((row.source, "person", row.group), []).append(i)
        if only_fakes := sorted(set(fakes) - set(reals)):
            raise ValueError(f"no real crop in {', '.join(only_fakes)}: the source alone would give the label away.")
        if not reals:
            raise ValueError("there is no real crop to train on.")
        self._reals = {source: list(clips.values()) for source, clips in reals.items()}
        self._fakes = {
            source: [list(clips.values()) for clips in methods.values()] for source, methods in fakes.items()
        }
        forged = {source: sum(map(len, methods)) for source, methods in self._fakes.items()}
        self.forged_share = {s: min(1.0, forged.get(s, 0) / len(clips)) for s, clips in self._reals.items()}
        given = dict(schedule.source_weights)
        self.sources = sorted(self._reals)
        if not schedule.self_blend:
            self.sources = sorted(self._fakes)
            self.forged_share = dict.fromkeys(self.sources, 1.0)
            if not self.sources:
                raise ValueError("there is no forged crop to train on.")
        weights = np.array([given.get(s, 0.0) if given else counts[s] ** 0.5 for s in self.sources], dtype=float)
        if weights.sum() <= 0:
            raise ValueError(f"the source weights name none of {', '.join(self.sources)}.")
        self.weights = weights / weights.sum()

    def draw(self, rng: np.random.Generator) -> tuple[int, int | None]:
        """Return the indices of a real crop and of a forgery to set against it, or None for the latter."""
        source = self.sources[int(rng.choice(len(self.sources), p=self.weights))]
        if rng.random() >= self.forged_share[source]:
            return _pick(self._reals[source], rng), None
        methods = self._fakes[source]
        fake = _pick(methods[int(rng.integers(len(methods)))], rng)
        return self._mate(self._rows[fake], rng), fake

    def _mate(self, row: CropRow, rng: np.random.Generator) -> int:
        """Draw a real crop of the forgery's clip at about the same moment, else of its person, else of its source."""
        mates = self._mates.get((row.source, "clip", row.origin)) if row.origin else None
        mates = mates or self._mates.get((row.source, "person", row.group))
        if not mates:
            return _pick(self._reals[row.source], rng)
        if row.sequence:
            mates = sorted(mates, key=lambda i: abs(self._rows[i].order - row.order))[:2]
        return int(rng.choice(mates))


def _pick(clips: Sequence[Sequence[int]], rng: np.random.Generator) -> int:
    return int(rng.choice(clips[int(rng.integers(len(clips)))]))


class FrameBatches(Dataset[tuple[Tensor, Tensor]]):
    """`batches[step]` -> (N, S, S, 3) uint8 RGB and (N, 2) int64 targets; N = batch_size.

    Column BLENDED has REAL for real crops, FAKE for self-blended ones and IGNORE for forgeries; column FORGED has REAL
    and FAKE for the reals and forgeries of sources that have both, and is as the other column elsewhere, so that
    there, too, the source does not give the label away.
    """

    def __init__(
        self,
        pack: Pack,
        indices: Sequence[int],
        schedule: BatchSchedule,
        model: ModelConfig,
        augmentation: AugmentConfig | None = None,
        *,
        on_progress: Callable[[float], None] | None = None,
    ) -> None:
        self.pack, self.schedule, self.model, self.augmentation = pack, schedule, model, augmentation
        self.sampler = GroupSampler(pack, indices, schedule)
        pack.landmarks(indices, on_progress=on_progress)  # before loader processes are forked: they share what is found

    def __len__(self) -> int:
        return self.schedule.total_steps

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        cv2.setNumThreads(0)  # the cores belong to the network
        schedule = self.schedule
        model = replace(self.model, input_size=schedule.size_at(step))
        rng = np.random.default_rng([schedule.seed, step])
        images: list[Crop] = []
        targets: list[tuple[int, int]] = []
        while len(images) < schedule.batch_size:
            real, forged = self.sampler.draw(rng)
            jitter = Jitter.draw(rng)
            aligned, points = self.aligned(real, model, jitter)
            group = [aligned]
            blend = schedule.self_blend and (forged is None or rng.random() < schedule.blended_share)
            # A forgery without a self-blended face beside it is no example for the head that knows those apart.
            alone = schedule.self_blend and not blend
            targets.append((IGNORE if alone else Label.REAL, Label.REAL))
            if blend:
                strength = float(rng.uniform(*schedule.blend_strength))
                blended, changed = self_blend(aligned, points, rng, strength=strength)
                group = [changed, blended]
                targets.append((Label.FAKE, Label.FAKE if forged is None else IGNORE))
            if forged is not None:
                group.append(self.aligned(forged, model, jitter)[0])
                targets.append((IGNORE if schedule.self_blend else Label.FAKE, Label.FAKE))
            mild = rng.random() < schedule.mild_share
            images += augment(group, rng, MILD if mild else self.augmentation)
        n = schedule.batch_size
        return torch.from_numpy(np.stack(images[:n])), torch.tensor(targets[:n])

    def aligned(self, index: int, model: ModelConfig, jitter: Jitter) -> tuple[Crop, Points]:
        """Return the crop as the network sees it, and its landmarks there."""
        crop, points = self.pack.crop(index), self.pack.landmarks([index])[0]
        matrix = input_matrix(crop, points, model, jitter)
        return align_face(crop, matrix, model.input_size), transform_points(points, matrix)

    def loader(self, steps: Sequence[int], workers: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of these steps, loaded ahead by `workers` processes (0: in this one)."""
        return loaded(self, steps, workers)


def loaded(dataset: Dataset[Any], indices: Sequence[int], workers: int) -> Iterator[Any]:
    """Yield these items of a dataset, loaded ahead by `workers` processes (0: in this one)."""
    loader = DataLoader(
        dataset,
        batch_size=None,
        sampler=indices,
        num_workers=workers,
        prefetch_factor=8 if workers else None,
        generator=torch.Generator(),  # or it draws from torch's own, and a resumed run gets other dropout
    )
    return iter(loader)
