"""How the broker stands, as it was when it was last looked at: whoever asks never waits for the look."""

from __future__ import annotations

import threading
import time
from enum import StrEnum

from detection import dispatch

LOOK_S = 10.0
OLD_S = 60.0


class Broker(StrEnum):
    ANSWERS = "answers"
    SILENT = "does not answer"
    UNKNOWN = "not known yet"


_lock = threading.Lock()
_looking = False
_looked_at = -OLD_S
_found = Broker.UNKNOWN


def broker() -> Broker:
    """As at the last look, of at most a minute ago; begins another in a thread when that is a while ago."""
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
