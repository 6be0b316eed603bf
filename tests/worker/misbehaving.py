"""Processes that look at hostile files, and misbehave as FFmpeg might; they must be importable by a spawned process."""

from __future__ import annotations

import ctypes
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

from ml.config import VideoConfig
from worker.bench.fuzz import child
from worker.bench.fuzz.child import Job

CRASHES, HANGS, SPINS, EATS, BREAKS, READS = range(6)
"""What the mutants of these numbers do; the others are looked at."""


def hang_in_c() -> None:
    """As a decoder that never returns: no signal is heard, and only SIGKILL ends it."""
    libc, lock = ctypes.CDLL(None), ctypes.create_string_buffer(256)  # zeros are a mutex that nobody holds
    libc.pthread_mutex_lock(lock)
    libc.pthread_mutex_lock(lock)


def serve(pipe: Connection, job: Job) -> None:
    real = child.look

    def look(path: Path, config: VideoConfig) -> str:
        match int(path.stem.removeprefix("mutant-")):
            case n if n == CRASHES:
                os.kill(os.getpid(), signal.SIGSEGV)
            case n if n == HANGS:
                hang_in_c()
            case n if n == SPINS:
                while True:
                    pass
            case n if n == EATS:
                bytearray(2 * job.limits.memory_bytes)
            case n if n == BREAKS:
                raise KeyError("nobody expects this")
            case n if n == READS:
                job.bait.text.read_text()
        return real(path, config)

    child.look = look
    child.serve(pipe, job)
