"""A process of an extraction team that cannot be told to end.  Its own module: a spawned process imports little."""

from __future__ import annotations

import signal
from multiprocessing.connection import Connection


def serve(pipe: Connection) -> None:
    """Ready, at work once told of any, and deaf to SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pipe.send(None)
    pipe.recv()
    signal.pause()
