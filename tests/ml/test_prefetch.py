"""Items made ahead come in order, errors in their place, and nothing is left running."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator

import pytest

from ml.video.prefetch import parallel_map, prefetch


def threads() -> int:
    return sum(thread.name == "prefetch" for thread in threading.enumerate())


def test_they_come_in_order_and_some_are_made_before_they_are_asked_for() -> None:
    made: list[int] = []

    def items() -> Generator[int]:
        for k in range(20):
            made.append(k)
            yield k

    found = prefetch(items(), 3)
    assert next(found) == 0
    time.sleep(0.2)
    assert 3 <= len(made) <= 6
    assert list(found) == list(range(1, 20))
    assert threads() == 0


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Generator[int]:
        yield 1
        raise ValueError("damaged")

    found = prefetch(items(), 3)
    assert next(found) == 1
    with pytest.raises(ValueError, match="damaged"):
        next(found)
    assert threads() == 0


def test_whoever_stops_early_ends_the_thread_and_closes_the_source() -> None:
    closed = threading.Event()

    def items() -> Generator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    found = prefetch(items(), 2)
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert closed.is_set()
    assert threads() == 0


def test_side_by_side_keeps_the_order_and_asks_for_items_as_they_are_needed() -> None:
    asked: list[int] = []

    def items() -> Generator[int]:
        for k in range(20):
            asked.append(k)
            yield k

    def slowly(k: int) -> tuple[int, str]:
        time.sleep(0.02 if k % 2 else 0.001)
        return k, threading.current_thread().name

    found = parallel_map(slowly, items(), 2)
    first = next(found)
    assert len(asked) <= 4
    rest = [first, *found]
    assert [k for k, _ in rest] == list(range(20))
    assert len({name for _, name in rest}) == 2
    assert {name for _, name in parallel_map(slowly, range(3), 1)} == {threading.current_thread().name}


def test_side_by_side_begins_nothing_after_an_error() -> None:
    begun: list[int] = []

    def work(k: int) -> int:
        begun.append(k)
        if k == 1:
            raise ValueError("damaged")
        return k

    found = parallel_map(work, range(100), 2)
    assert next(found) == 0
    with pytest.raises(ValueError, match="damaged"):
        list(found)
    assert len(begun) < 10
