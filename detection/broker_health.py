"""Whether the broker answers, as of the last check; asking never waits for a check."""

from __future__ import annotations

import threading
import time
from enum import StrEnum

from detection import dispatch

LOOK_S = 10.0
OLD_S = 60.0


class Broker(StrEnum):
    """Whether the broker answers."""

    ANSWERS = "answers"
    SILENT = "does not answer"
    UNKNOWN = "not known yet"


_lock = threading.Lock()
_looking = False
_looked_at = -OLD_S
_found = Broker.UNKNOWN


def broker() -> Broker:
    """Return the result of the last check, at most a minute old, and start another one in a thread when it is due."""
    global _looking
    with _lock:
        age = time.monotonic() - _looked_at
        if age > LOOK_S and not _looking:
            _looking = True
            threading.Thread(target=_look, name="broker-look", daemon=True).start()
        return _found if age <= OLD_S else Broker.UNKNOWN


def _look() -> None:
    global _looking, _looked_at, _found
    found = Broker.SILENT
    try:
        if dispatch.broker_answers():
            found = Broker.ANSWERS
    finally:
        with _lock:
            _looking, _looked_at, _found = False, time.monotonic(), found
