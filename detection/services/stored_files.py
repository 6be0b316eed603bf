"""Store files first, then the rows that name them, and delete the files if the rows cannot be there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from django.db import IntegrityError, transaction


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
