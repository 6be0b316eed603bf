"""Files in storage: read in parts; and stored first, then the rows that name them, and deleted if those cannot be."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction

VIDEOS = "videos"
"""The folder in storage of all videos: where a video waits it is there, unless the storage is not."""
_DISK_AWAY = frozenset(
    {errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT}
)
_BUCKET_AWAY = (
    "ConnectionError", "HTTPClientError", "IncompleteReadError",
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError",
)  # fmt: skip
"""Exceptions of botocore."""
_OF_THE_FILE = frozenset({"InvalidObjectState"})
"""Codes of S3 by which an answer 403 is of one file, not of us."""


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


def is_away(error: BaseException) -> bool:
    """Return whether the error, or what it was raised from, says that storage as a whole does not answer.

    That is the trouble of all files: a bucket that is down or refuses us, a network disk that has gone, a disk that is
    not mounted.  A single file that is missing or damaged is not.
    """
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, FileNotFoundError):
            return _is_not_mounted()
        if (isinstance(chain, OSError) and chain.errno in _DISK_AWAY) or _is_bucket_away(chain):
            return True
        chain = chain.__cause__
    return False


def _is_not_mounted() -> bool:
    with suppress(OSError):
        return getattr(default_storage, "bucket", None) is None and not default_storage.exists(VIDEOS)
    return True


def _is_bucket_away(error: BaseException) -> bool:
    if type(error).__name__ == "RetriesExceededError":  # boto3 has two of this name, both for downloads that break off
        return True
    module: Any = sys.modules.get("botocore.exceptions")
    if module is None:
        return False
    if isinstance(error, module.ClientError):
        answer: Any = error
        code = answer.response.get("Error", {}).get("Code", "")
        status = answer.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or code == "NoSuchBucket" or (status in (401, 403, 429) and code not in _OF_THE_FILE)
    return isinstance(error, tuple(getattr(module, name) for name in _BUCKET_AWAY))


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
