"""Files in storage: read in parts; and stored first, then the rows that name them, and deleted if those cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction


def open_range(name: str, first: int, count: int) -> Any:
    """Return the body (`read`, `iter_chunks`, `close`) of `count` bytes of a file in S3, from `first` on.

    None where files are stored elsewhere.  Opening a file there would fetch all of it first.  Raises botocore's
    ClientError, also where there is no such file.
    """
    bucket = getattr(default_storage, "bucket", None)
    if bucket is None:
        return None
    return bucket.Object(name).get(Range=f"bytes={first}-{first + count - 1}")["Body"]


def read_range(name: str, first: int, count: int) -> bytes:
    """Return `count` bytes of a stored file from `first` on, fewer at its end.

    Raises OSError, or what the storage raises.
    """
    body = open_range(name, first, count)
    if body is None:
        with default_storage.open(name) as handle:
            handle.seek(first)
            return bytes(handle.read(count))
    try:
        return bytes(body.read())
    finally:
        body.close()


class StoredFiles:
    """Delete new files on an error, unless the transaction that names them may have committed.

        with StoredFiles(lambda: remove_tree(folder)) as files:
            default_storage.save(...)
            with files.transaction():
                ...  # rows that name them

    An error at or after COMMIT (a broken connection, a time limit, a signal) does not say whether the rows exist, and
    asking may come before the server is done: the files stay, and a sweep deletes them if no row names them.
    """

    def __init__(self, remove: Callable[[], object]) -> None:
        self._remove = remove
        self._in_doubt = False

    def __enter__(self) -> Self:
        return self

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block in a transaction; from its COMMIT on, an error leaves the files."""
        with transaction.atomic():
            yield
            self._in_doubt = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or (self._in_doubt and not isinstance(error, IntegrityError)):  # that one is a COMMIT refused
            return
        self._remove()
