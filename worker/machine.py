"""The machine: what a figure was measured on, and who goes first on it."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path

STEP_BACK = 10


def cpu() -> str:
    """The processor's name, as far as the system tells."""
    found = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        found = names[0] if names else found
    return found


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def step_back() -> None:
    """Let whoever answers people go first: this process gets the cores that the web, the database and the broker leave.

    It stays so; call it where the work is done, before there are threads.
    """
    with contextlib.suppress(OSError):
        os.nice(STEP_BACK - min(STEP_BACK, os.nice(0)))
    # Linux may share the cores among sessions first (autogroup), and a process' own niceness counts only within one.
    if os.getsid(0) in (os.getpid(), os.getppid()):  # a session of the worker's own, not somebody's terminal
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(STEP_BACK))
