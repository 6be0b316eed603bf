"""A signal that stops this process, raised only where the work that is at hand can be given back.

A signal's exception could otherwise arise between the claim of a piece of work and the code that gives it back, or in
the middle of giving it back: the row would then stay `running` until its lease ends.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_interruptible = False
_requested: BaseException | None = None


@contextmanager
def stops_with(
    error: Callable[[], BaseException], number: int, *, second: signal.Handlers | None = None
) -> Iterator[None]:
    """Within the block the signal raises what `error` makes, now or as soon as the code is `interruptible` again.

    The second such signal goes to the handler `second`, or to that of before: by it a person ends what hangs.  In a
    thread other than the main one nothing is changed, because only the main one hears signals.
    """
    global _requested
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        global _requested
        signal.signal(number, before if second is None else second)
        _requested = error()
        if _interruptible:
            raise _requested

    _requested = None
    before = signal.signal(number, stop)
    try:
        yield
    finally:
        signal.signal(number, before)
        _requested = None


@contextmanager
def interruptible() -> Iterator[None]:
    """Code that may be broken off at any instruction: it holds nothing, or who called it gives back what it holds."""
    global _interruptible
    before, _interruptible = _interruptible, True
    try:
        check()
        yield
    finally:
        _interruptible = before


def check() -> None:
    """Raise what the signal asked for, if there was one and it has not ended the work yet."""
    if _interruptible and _requested is not None:
        raise _requested
