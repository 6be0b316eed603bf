"""Splits: no person, donor or near-duplicate on two sides, whatever the families look like."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.data.crop_pack import CropRow
from ml.data.splits import SHARES, assign_splits, row_components, straddling

people = st.integers(0, 30).map(str)
rows = st.lists(
    st.builds(
        CropRow,
        label=st.integers(0, 1),
        group=people,
        source=st.sampled_from(["one", "two"]),
        donor=st.one_of(st.just(""), people),
        component=st.one_of(st.just(""), st.integers(0, 5).map("duplicates {}".format)),
    ),
    min_size=1,
    max_size=60,
)


@given(rows=rows, seed=st.integers(0, 5))
def test_nobody_stands_on_two_sides_neither_as_target_nor_as_donor_nor_as_a_near_duplicate(
    rows: list[CropRow], seed: int
) -> None:
    splits = assign_splits(row_components(rows), [(row.source, row.label) for row in rows], seed=seed)
    side: dict[str, str] = {}
    for row, split in zip(rows, splits, strict=True):
        for name in filter(None, (row.group, row.donor, row.component)):
            assert side.setdefault(name, split) == split


@pytest.mark.parametrize("seed", range(3))
def test_every_data_set_and_label_is_spread_in_the_shares(seed: int) -> None:
    components = [f"p{i // 2}" for i in range(400)]
    strata = [("a" if i < 200 else "b", i % 2) for i in range(400)]
    splits = assign_splits(components, strata, seed=seed)
    assert splits == assign_splits(components, strata, seed=seed)
    counts = Counter(zip(strata, splits, strict=True))
    for stratum in set(strata):
        for split, share in SHARES.items():
            assert counts[stratum, split] == pytest.approx(100 * share, abs=2)


def test_what_is_settled_stays_and_is_counted() -> None:
    components = [f"p{i}" for i in range(100)]
    fixed = {f"p{i}": "holdout" for i in range(25)}
    splits = assign_splits(components, ["all"] * 100, fixed=fixed)
    assert splits[:25] == ["holdout"] * 25
    assert Counter(splits[25:]) == {"train": 60, "val": 15}


def test_a_family_that_would_swallow_the_holdout_trains() -> None:
    components = ["large"] * 50 + [f"p{i}" for i in range(50)]
    splits = assign_splits(components, ["all"] * 100)
    assert splits[0] == "train"
    assert straddling(components, splits) == []
    assert straddling(["a", "a"], ["train", "val"]) == ["a"]
