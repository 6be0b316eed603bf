"""Caches that count the requests of each user within a minute, shared by all web processes."""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import time
from functools import cached_property
from hashlib import blake2b
from typing import Any, Protocol

import redis
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.redis import RedisCache

SLOTS = 1 << 17
SLOT = struct.Struct("<8sII")
"""Digest of the key, expiry (seconds since 1970), count."""
NEIGHBOURS = 8


class Counts(Protocol):
    """A cache that counts."""

    def count(self, key: str, *, timeout: int) -> int:
        """Count one more under the key and return the count; forgotten `timeout` seconds after the last."""


class SharedCounts(RedisCache):
    """Counts in Redis, shared by the web processes of all machines, in one round trip."""

    @cached_property
    def _client(self) -> redis.Redis:
        return self._cache.get_client(None, write=True)

    def count(self, key: str, *, timeout: int) -> int:
        """Count one more under the key and return the count; forgotten `timeout` seconds after the last."""
        full = self.make_and_validate_key(key)
        with self._client.pipeline(transaction=False) as line:
            line.incr(full)
            line.expire(full, timeout)
            return int(line.execute()[0])


class MachineCounts(BaseCache):
    """Counts in a small file, shared by the web processes of this machine without another process.

    A table of SLOTS; a key has one of NEIGHBOURS slots at the place of its digest.  When all are taken, the one that
    expires next is overwritten.
    """

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self._path = location

    def count(self, key: str, *, timeout: int) -> int:
        """Count one more under the key and return the count; forgotten `timeout` seconds after the last."""
        digest = blake2b(key.encode(), digest_size=16).digest()
        name, first = digest[:8], int.from_bytes(digest[8:], "big") % (SLOTS - NEIGHBOURS)
        now = int(time.time())
        with _threads:
            file = _opened(self._path)
            fcntl.lockf(file, fcntl.LOCK_EX)
            try:
                read = os.pread(file, NEIGHBOURS * SLOT.size, first * SLOT.size).ljust(NEIGHBOURS * SLOT.size, b"\0")
                slots = list(SLOT.iter_unpack(read))
                own = next((k for k, (owner, until, _) in enumerate(slots) if owner == name and until > now), None)
                place = min(range(NEIGHBOURS), key=lambda k: slots[k][1]) if own is None else own
                counted = 1 if own is None else slots[own][2] + 1
                os.pwrite(file, SLOT.pack(name, now + timeout, counted), (first + place) * SLOT.size)
            finally:
                fcntl.lockf(file, fcntl.LOCK_UN)
        return int(counted)

    def clear(self) -> None:
        """Forget all counts."""
        with _threads:
            os.ftruncate(_opened(self._path), 0)


_threads = threading.Lock()  # a lock on a file is the process', so its threads need one among themselves
_files: dict[tuple[int, str], int] = {}


def _opened(path: str) -> int:
    """Return one descriptor per process, never closed: closing one would release the locks of all."""
    key = os.getpid(), path
    if key not in _files:
        _files[key] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    return _files[key]
