"""Caches that count: the requests of each user within a minute.  One question to the server a request, not three."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import redis
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache


class Counts(Protocol):
    def count(self, key: str, *, timeout: int) -> int: ...


class SharedCounts(RedisCache):
    """Over Redis, for all web processes."""

    @cached_property
    def _client(self) -> redis.Redis:
        return self._cache.get_client(None, write=True)

    def count(self, key: str, *, timeout: int) -> int:
        """One more under the key, and how many that makes; forgotten `timeout` seconds after the last."""
        full = self.make_and_validate_key(key)
        with self._client.pipeline(transaction=False) as line:
            line.incr(full)
            line.expire(full, timeout)
            return int(line.execute()[0])


class OwnCounts(LocMemCache):
    """In memory, of this process alone."""

    def count(self, key: str, *, timeout: int) -> int:
        """One more under the key, and how many that makes; forgotten `timeout` seconds after the first."""
        self.add(key, 0, timeout=timeout)
        return int(self.incr(key))
