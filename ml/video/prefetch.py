"""Work on a video in several threads: FFmpeg decodes while the detector looks, at several frames at a time."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
WAIT_S = 0.1
JOIN_S = 5.0
"""Then the thread hangs in the library, and whoever watches over the process ends it."""


def prefetch(items: Generator[T], depth: int) -> Iterator[T]:
    """The same items in the same order, up to `depth` of them made before they are asked for.

    What `items` raises is raised here, after the items before it.  `items` is closed when this generator is.
    """
    made: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(entry: tuple[bool, T | BaseException | None]) -> None:
        while not stop.is_set():
            try:
                made.put(entry, timeout=WAIT_S)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put((True, item))
                if stop.is_set():
                    break
            put((False, None))
        except BaseException as error:
            put((False, error))
        finally:
            items.close()

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            more, item = made.get()
            if more:
                yield item  # type: ignore[misc]
            elif item is None:
                return
            else:
                assert isinstance(item, BaseException)
                raise item
    finally:
        stop.set()
        thread.join(JOIN_S)


def parallel_map(work: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """`work` of each item, in their order, `threads` of them at a time; items are asked for as they are needed.

    What `work` raises is raised here, and what has not begun then never does.
    """
    if threads == 1:
        yield from map(work, items)
        return
    begun: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="side")
    try:
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) > threads:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
