"""The count of requests: over a real Redis-compatible server, and in a file that processes share."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.cache import caches

from detection.api.counts import NEIGHBOURS, MachineCounts
from detection.api.throttle import _counted
from worker.process import embedded_broker


def test_web_processes_share_one_count_that_loses_nothing_and_goes_away(embedded: Path, settings: Any) -> None:
    embedded_broker.ensure()
    address = f"unix://{embedded / 'valkey.sock'}"
    shared = {"BACKEND": "detection.api.counts.SharedCounts", "LOCATION": address}
    settings.CACHES = settings.CACHES | {"requests": shared}
    with ThreadPoolExecutor(8) as threads:  # each with connections of its own, as processes have
        numbers = list(threads.map(lambda _: _counted("requests:1:2"), range(200)))
    assert sorted(numbers) == list(range(1, 201))
    (key,) = redis.Redis.from_url(address).keys("*requests:1:2")
    assert 0 < redis.Redis.from_url(address).ttl(key) <= 120
    caches["requests"].close()


COUNT = """
import sys
from detection.api.counts import MachineCounts
counts = MachineCounts(sys.argv[1], {})
print(*[counts.count("requests:1:2", timeout=120) for _ in range(300)])
"""


def test_processes_of_one_machine_share_a_count_in_a_file_that_loses_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COUNT, str(tmp_path / "counts")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    numbers = [int(number) for process in running for number in process.communicate(timeout=300)[0].split()]
    assert sorted(numbers) == list(range(1, 901))


def test_threads_share_it_too(tmp_path: Path) -> None:
    counts = MachineCounts(str(tmp_path / "counts"), {})
    with ThreadPoolExecutor(8) as threads:
        numbers = list(threads.map(lambda _: counts.count("a", timeout=120), range(400)))
    assert sorted(numbers) == list(range(1, 401))


def test_a_count_is_its_keys_own_and_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_800_000_000.0]
    monkeypatch.setattr("detection.api.counts.time.time", lambda: now[0])
    counts = MachineCounts(str(tmp_path / "counts"), {})
    keys = [f"requests:{user}:0" for user in range(3000)]
    assert {counts.count(key, timeout=120) for key in keys} == {1}
    assert {counts.count(key, timeout=120) for key in keys} == {2}
    now[0] += 120
    assert counts.count(keys[0], timeout=120) == 1
    counts.clear()
    assert counts.count(keys[0], timeout=120) == 1


def test_a_full_neighbourhood_forgets_whoever_is_forgotten_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detection.api.counts.SLOTS", NEIGHBOURS + 1)  # all keys stand in the same eight
    counts = MachineCounts(str(tmp_path / "counts"), {})
    for number in range(NEIGHBOURS):
        counts.count(f"key {number}", timeout=100 + number)
    assert counts.count("one more", timeout=200) == 1
    assert counts.count("key 1", timeout=101) == 2
    assert counts.count("key 0", timeout=300) == 1
