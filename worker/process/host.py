"""The machine: what a figure was measured on, and who goes first on it."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import sys
from pathlib import Path
from typing import Any

NICENESS = 10


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


def facts() -> dict[str, Any]:
    """What a figure was measured on."""
    return {
        "cpu": cpu(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def status_bytes(name: str) -> int | None:
    """A size that Linux tells of this process (proc(5): VmHWM, RssFile, ...); None elsewhere."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)


def peak_bytes() -> int:
    """The most memory that this process has had; what getrusage says on Linux begins with what its parent had."""
    unit = 1 if sys.platform == "darwin" else 1024
    return status_bytes("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def own_process(function: str, *arguments: object) -> tuple[list[str], dict[str, str]]:
    """Command and environment of a process that calls the function (`module.name`) with these, Django set up."""
    module, name = function.rsplit(".", 1)
    program = f"import sys, django; django.setup(); from {module} import {name}; {name}(*sys.argv[1:])"
    return [sys.executable, "-c", program, *map(str, arguments)], {"DJANGO_SETTINGS_MODULE": "dfdsite.settings"} | dict(
        os.environ
    )


def lower_priority() -> None:
    """Let whoever answers people go first: this process gets the cores that the web, the database and the broker leave.

    It stays so; call it where the work is done, before there are threads.
    """
    with contextlib.suppress(OSError):
        os.nice(NICENESS - min(NICENESS, os.nice(0)))
    # Linux may share the cores among sessions first (autogroup), and a process' own niceness counts only within one.
    if os.getsid(0) in (os.getpid(), os.getppid()):  # a session of the worker's own, not somebody's terminal
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(NICENESS))
