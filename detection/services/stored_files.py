"""Files first, then the rows that name them: what an error between the two removes, and what it must not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from django.db import IntegrityError, transaction


class StoredFiles:
    """Remove new files on an error, unless the transaction that names them may have committed.

        with StoredFiles(lambda: remove_tree(folder)) as files:
            default_storage.save(...)
            with files.transaction():
                ...  # rows that name them

    An error at COMMIT or after it (a connection that breaks, a time limit, a signal) does not say whether the rows are
    there, and asking may come before the server is done: the files stay, and a sweep removes them if no row names them.
    """

    def __init__(self, remove: Callable[[], object]) -> None:
        self._remove = remove
        self._in_doubt = False

    def __enter__(self) -> Self:
        return self

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with transaction.atomic():
            yield
            self._in_doubt = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or (self._in_doubt and not isinstance(error, IntegrityError)):  # that one is a COMMIT refused
            return
        self._remove()
