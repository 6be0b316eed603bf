"""Assign train, val and holdout to whole components of people, never to files.

A component is everybody linked by a fake (target and donor) or by a near-duplicate; see `connected_groups`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.cluster.hierarchy import DisjointSet
from torch import Tensor

from ml.config import Label
from ml.data.crop_pack import CropRow, Pack, PackError
from ml.faces.tracking import linspace_indices

TRAIN, VAL, HOLDOUT = "train", "val", "holdout"
SHARES: dict[str, float] = {TRAIN: 0.60, VAL: 0.15, HOLDOUT: 0.25}


def assign_splits(
    components: Sequence[str],
    strata: Sequence[Hashable],
    *,
    fixed: Mapping[str, str] | None = None,
    shares: Mapping[str, float] | None = None,
    seed: int = 0,
) -> list[str]:
    """Assign a split to each item so that no component is in two splits.

    Large components come first, each to the split that lacks most of what it brings, so that a few big families do not
    fill the holdout.  The same input and seed give the same result.

    Args:
        components: The component of each item.
        strata: What is to be spread evenly, such as (data set, label) of each item.
        fixed: Splits of components that are settled already.
        shares: Share of each split; `SHARES` by default.
        seed: Breaks ties between components of one size.
    """
    wanted = dict(shares or SHARES)
    settled = dict(fixed or {})
    brings: dict[str, Counter[Hashable]] = defaultdict(Counter)
    for component, stratum in zip(components, strata, strict=True):
        brings[component][stratum] += 1
    total: Counter[Hashable] = Counter(strata)
    load: dict[str, Counter[Hashable]] = {split: Counter() for split in wanted}
    for component, split in settled.items():
        if component in brings:
            load.setdefault(split, Counter()).update(brings[component])
    open_names = sorted(set(brings) - set(settled))
    rng = np.random.default_rng(seed)
    order = [open_names[i] for i in rng.permutation(len(open_names))]
    order.sort(key=lambda name: -sum(brings[name].values()))
    for name in order:
        lack = {
            split: sum(n * (share * total[s] - load[split][s]) / total[s] for s, n in brings[name].items())
            for split, share in wanted.items()
        }
        settled[name] = max(wanted, key=lambda split: lack[split])
        load[settled[name]].update(brings[name])
    return [settled[component] for component in components]


def straddling(components: Sequence[str], splits: Sequence[str], but: Collection[str] = ("",)) -> list[str]:
    """Return components that are in more than one split; empty when the split is sound."""
    sides: dict[str, set[str]] = defaultdict(set)
    for component, split in zip(components, splits, strict=True):
        if split not in but:
            sides[component].add(split)
    return sorted(name for name, found in sides.items() if len(found) > 1)


def subsample(indices: Sequence[int], count: int) -> list[int]:
    """Return at most `count` of the indices, evenly spaced, so that every source and label is among them."""
    return [indices[i] for i in linspace_indices(len(indices), count)]


def class_weights(labels: Iterable[int]) -> Tensor:
    """Return (2,) float32 for CrossEntropyLoss: total / (2 x count).  Raises ValueError when a class is missing."""
    counts = Counter(int(label) for label in labels)
    missing = [label.name for label in Label if counts[label] == 0]
    if missing:
        raise ValueError(f"no {' and no '.join(missing)} in the training split: nothing to learn from one side only.")
    total = counts[Label.REAL] + counts[Label.FAKE]
    return torch.tensor([total / (2 * counts[label]) for label in Label], dtype=torch.float32)


def connected_groups(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Map each identity to the name of its component: two that share a fake (target and donor) are one component.

    `pairs` are (group, donor); an empty donor links nothing.  A component is named after the first of its names.
    """
    linked = DisjointSet()
    for group, donor in pairs:
        linked.add(group)
        if donor:
            linked.add(donor)
            linked.merge(group, donor)
    return {name: min(subset) for subset in linked.subsets() for name in subset}


def row_components(rows: Sequence[CropRow]) -> list[str]:
    """Return the component of each row; rows of different components share neither target nor donor."""
    links = [(row.group, row.donor) for row in rows] + [(row.group, row.component) for row in rows if row.component]
    component = connected_groups(links)
    return [component[row.group] for row in rows]


def split_rows(pack: Pack, *, seed: int = 0) -> dict[str, list[int]]:
    """Return the indices of the crops in train, val and holdout, disjoint by component.

    A row's own `split` is kept and takes its component along; the rest is assigned by `SHARES`, source by source.

    Raises:
        PackError: if a component would be in two splits.
    """
    components = row_components(pack.rows)
    fixed = {component: row.split for component, row in zip(components, pack.rows, strict=True) if row.split}
    dealt = assign_splits(components, [(row.source, row.label) for row in pack.rows], fixed=fixed, seed=seed)
    splits = [row.split or split for row, split in zip(pack.rows, dealt, strict=True)]
    if shared := straddling(components, splits):
        raise PackError(f"these people stand in training and in validation: {', '.join(shared[:5])}")
    return {name: [i for i, split in enumerate(splits) if split == name] for name in (TRAIN, VAL, HOLDOUT)}


def with_shuffled_labels(pack: Pack, splits: dict[str, list[int]], seed: int) -> Pack:
    """Return the pack with training and validation labels shuffled among each source's videos (or single crops)."""
    rng = np.random.default_rng(seed)
    units: dict[tuple[str, str], dict[str, list[int]]] = {}
    for split in (TRAIN, VAL):
        for i in splits[split]:
            row = pack.rows[i]
            name = row.video or row.sequence or str(i)
            units.setdefault((split, row.source), {}).setdefault(name, []).append(i)
    rows = list(pack.rows)
    for videos in units.values():
        names = sorted(videos)
        labels = [pack.rows[videos[name][0]].label for name in names]
        for name, label in zip(names, rng.permutation(labels), strict=True):
            for i in videos[name]:
                rows[i] = replace(rows[i], label=int(label))
    shuffled = Pack(pack.path)
    shuffled.rows = rows
    return shuffled
