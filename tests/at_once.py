"""The same call in many threads, each with a database connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connection

T = TypeVar("T")
MANY = 8


def at_once(call: Callable[[int], T]) -> list[T]:
    """Call it in as many threads, which all wait for each other first."""
    ready = threading.Barrier(MANY)

    def one(number: int) -> T:
        try:
            ready.wait(10)
            return call(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(MANY) as pool:
        return list(pool.map(one, range(MANY)))
