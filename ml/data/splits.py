"""Who trains, who calibrates, who judges: whole components of people are dealt to one side, never files.

A component is everybody who is linked by a fake (target and donor) or by a near-duplicate; see `connected_groups`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence

import numpy as np

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
    """The split of each item, such that no component is on two sides.

    `strata` (data set and label, say) are spread in the given `shares`; `fixed` are components whose side is settled
    already.  Large components are dealt first, each to the side that lacks most of what it brings, so that a few big
    families do not swallow the holdout.  The same input and seed give the same answer.
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
    """Components that stand on more than one side; empty when the split is sound."""
    sides: dict[str, set[str]] = defaultdict(set)
    for component, split in zip(components, splits, strict=True):
        if split not in but:
            sides[component].add(split)
    return sorted(name for name, found in sides.items() if len(found) > 1)
