"""The count of requests, over a real Redis-compatible server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import redis
from django.core.cache import caches

from detection.api.throttle import _counted
from worker import broker


def test_web_processes_share_one_count_that_loses_nothing_and_goes_away(embedded: Path, settings: Any) -> None:
    broker.ensure()
    address = f"unix://{embedded / 'valkey.sock'}"
    shared = {"BACKEND": "detection.api.counts.SharedCounts", "LOCATION": address}
    settings.CACHES = settings.CACHES | {"requests": shared}
    with ThreadPoolExecutor(8) as threads:  # each with connections of its own, as processes have
        numbers = list(threads.map(lambda _: _counted("requests:1:2"), range(200)))
    assert sorted(numbers) == list(range(1, 201))
    (key,) = redis.Redis.from_url(address).keys("*requests:1:2")
    assert 0 < redis.Redis.from_url(address).ttl(key) <= 120
    caches["requests"].close()
