"""A file that lies elsewhere, of which only what is asked for is fetched, once.

FFmpeg reads it through PyAV's custom input; what has been fetched lies in a sparse local file beside a list of which
blocks are there.  So no more memory is taken than for a local file, and no byte is fetched twice.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

BLOCK_BYTES = 256 * 1024
"""Fetched at once at least: an object store takes some 30 ms for any answer."""


class FetchError(Exception):
    """Part of the file could not be fetched: not the file's fault."""


class RangedFile:
    """`size` bytes, of which `fetch(first, count)` returns `count` from `first` on; may be used by several threads.

    `cache` is a local path that does not exist yet; its name is told to FFmpeg, which goes by the suffix for a few raw
    formats.
    """

    def __init__(self, size: int, fetch: Callable[[int, int], bytes], cache: Path) -> None:
        self.size, self.name = size, cache.name
        self.failure: FetchError | None = None
        self._fetch = fetch
        self._there = [False] * -(-size // BLOCK_BYTES)
        self._lock = threading.Lock()
        self._file = os.open(cache, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)

    def close(self) -> None:
        """Give the local file's descriptor back; readers are of no use afterwards."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def open(self) -> Reader:
        """Return a reader at the beginning, for one thread; nothing is to be closed."""
        return Reader(self)

    def read_at(self, position: int, count: int) -> bytes:
        """At most `count` bytes from `position` on; fewer at the end of the file.

        Raises FetchError, from the first failure on always: FFmpeg would take a part that is missing for damage.
        """
        count = min(count, self.size - position)
        if count <= 0:
            return b""
        self._have(position // BLOCK_BYTES, (position + count - 1) // BLOCK_BYTES)
        return os.pread(self._file, count, position)

    def _have(self, first: int, last: int) -> None:
        """Fetch those of the blocks that are missing, neighbours together."""
        with self._lock:
            if self.failure is not None:
                raise self.failure
            block = first
            while block <= last:
                if self._there[block]:
                    block += 1
                    continue
                end = block
                while end <= last and not self._there[end]:
                    end += 1
                begin = block * BLOCK_BYTES
                wanted = min(end * BLOCK_BYTES, self.size) - begin
                data = self._fetched(begin, wanted)
                os.pwrite(self._file, data, begin)
                self._there[block:end] = [True] * (end - block)
                block = end

    def _fetched(self, begin: int, wanted: int) -> bytes:
        try:
            data = self._fetch(begin, wanted)
        except Exception as error:
            self.failure = FetchError(f"{type(error).__name__}: {error}")
            raise self.failure from error
        if len(data) != wanted:
            self.failure = FetchError(f"{len(data)} bytes came where {wanted} were asked for.")
            raise self.failure
        return data


class Reader:
    """What PyAV asks of a file."""

    def __init__(self, file: RangedFile) -> None:
        self._file, self._position = file, 0
        self.name = file.name

    def read(self, count: int) -> bytes:
        """At most `count` bytes; none at the end."""
        data = self._file.read_at(self._position, count)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, which may lie beyond the end; returns it.  Raises ValueError for one before the beginning."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._file.size}[whence]
        if base + offset < 0:
            raise ValueError("before the beginning of the file")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the place."""
        return self._position


VideoFile = Path | RangedFile
"""What videos are read from."""


def check_fetched(file: VideoFile) -> None:
    """Raise FetchError where a part was missing, whatever FFmpeg made of that."""
    if isinstance(file, RangedFile) and file.failure is not None:
        raise file.failure
