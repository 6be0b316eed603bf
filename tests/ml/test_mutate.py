"""Mutants: always the same ones, and of every kind."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from ml.bench.fuzz.mutate import Mutant, Seed, mutant, read_seeds
from ml.bench.fuzz.scripts import NAMES, Bait
from ml.bench.fuzz.seeds import write_seeds
from ml.video.decode import decode

BAIT = Bait(port=4321, video=Path("/bait/canary.mp4"), text=Path("/bait/canary.txt"))
CHANGES = {
    "flip_bits", "overwrite", "delete", "duplicate", "truncate", "number", "address", "four_letters", "box_size",
    "element_size", "count", "sides", "elsewhere", "script",
}  # fmt: skip


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Seed]:
    return read_seeds(write_seeds(tmp_path_factory.mktemp("seeds")))


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="only Linux has it")
def test_who_made_the_seeds_is_no_real_time_process_afterwards(seeds: list[Seed]) -> None:
    assert any(seed.name == "av1.mp4" for seed in seeds)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


@pytest.fixture(scope="module")
def mutants(seeds: list[Seed]) -> list[Mutant]:
    return [mutant(seeds, key=7, number=number, bait=BAIT) for number in range(len(seeds), 1500)]


def test_the_seeds_are_sound_and_of_many_kinds(seeds: list[Seed], tmp_path: Path) -> None:
    assert len(seeds) >= 15
    assert len({seed.suffix for seed in seeds}) >= 10
    for seed in seeds:
        path = tmp_path / seed.name
        path.write_bytes(seed.data)
        assert 18 <= sum(1 for _ in decode(path)) <= 24, seed.name


def test_the_first_are_the_seeds_as_they_are(seeds: list[Seed]) -> None:
    assert [mutant(seeds, key=3, number=n, bait=BAIT).data for n in range(len(seeds))] == [s.data for s in seeds]


def test_a_mutant_is_the_same_each_time_and_another_key_makes_another(seeds: list[Seed], mutants: list[Mutant]) -> None:
    again = [mutant(seeds, key=7, number=one.number, bait=BAIT) for one in mutants[:50]]
    assert again == mutants[:50]
    others = [mutant(seeds, key=8, number=one.number, bait=BAIT) for one in mutants[:50]]
    assert sum(a.data == b.data for a, b in zip(others, again, strict=True)) == 0


def test_every_kind_of_change_is_made_and_shows(seeds: list[Seed], mutants: list[Mutant]) -> None:
    made = Counter(part.split()[0] for one in mutants for part in one.how.split("; ") if part)
    assert set(made) == CHANGES
    assert min(made.values()) >= 10
    unchanged = {seed.data for seed in seeds}
    assert sum(one.data in unchanged for one in mutants) < len(mutants) / 50


def test_every_script_comes_up_and_names_bait(mutants: list[Mutant]) -> None:
    scripts = [one for one in mutants if one.how.startswith("script ")]
    assert {name for name in NAMES if any(one.how.startswith(f"script {name} ") for one in scripts)} == set(NAMES)
    named = [b"canary." in one.data or b"127.0.0.1:4321" in one.data for one in scripts]
    assert sum(named) > 0.9 * len(named)
