"""Limit the address space and processor time that work on one file may use.

These are kernel limits, counted from what the process has used so far and restored afterwards, so that one process can
handle many files.  A library's error at the limit becomes OverLimit, while the machine still has memory.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

LARGEST_NEED = 512 * 1024**2
"""Bytes that no single allocation of sound work on a file reaches: the largest frame has half of it."""
LEAST_BYTES = 2 * LARGEST_NEED
"""Less than this cannot be told from a shortage."""

_STATM = Path("/proc/self/statm")
_CV2_NO_MEMORY = -4
_SAID_OF_MEMORY = ("not enough memory", "can't allocate memory", "can't start new thread", "Cannot allocate memory")


class OverLimit(Exception):  # an answer about the file, not a malfunction: hence no Error in its name
    """Work on a file exceeded a limit.  `code` is out_of_memory or too_much_cpu, `detail` a sentence."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class Limits:
    """What work on one file may use beyond what its process has used already."""

    memory_bytes: int = 4 * 1024**3
    """Address space; at least LEAST_BYTES, or every damaged file seems to need more."""
    cpu_s: int = 900
    """Processor time of all threads together."""


@contextmanager
def limited(limits: Limits) -> Iterator[None]:
    """Apply the limits within the block.  Raises OverLimit.

    Not to be nested.  Address space is limited on Linux only; processor time in the main thread only, as signals arrive
    there, and only when C code has returned to Python.  Limits from outside do the rest (`worker.stages.watchdog`, and
    the time limits of the worker's pool).
    """
    memory = _limit_memory(limits.memory_bytes)
    try:
        with _limited_cpu(limits.cpu_s):
            yield
    except Exception as error:
        if not _is_shortage(error):
            raise
        raise OverLimit(
            "out_of_memory",
            f"It needed more memory than one file may take ({limits.memory_bytes / 1024**2:,.0f} MB).",
        ) from error
    finally:
        if memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, memory)


def cpu_sentence(seconds: float) -> str:
    """Return the sentence for too much processor time."""
    return f"It needed more than {seconds:,.0f} s of processor time."


def memory_is_short() -> bool:
    """Return whether the limit is so near that an allocation may just have failed because of it."""
    limit, in_use = resource.getrlimit(resource.RLIMIT_AS)[0], _in_use()
    return limit != resource.RLIM_INFINITY and in_use is not None and limit - in_use < LARGEST_NEED


def _in_use() -> int | None:
    """Return the bytes of address space in use, or None."""
    try:
        return int(_STATM.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def _limit_memory(extra_bytes: int) -> tuple[int, int] | None:
    """Lower the soft limit; return the previous limits, or None if what is in use is unknown."""
    in_use = _in_use()
    if in_use is None:
        return None
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_lower(in_use + extra_bytes, before[0]), before[1]))
    return before


@contextmanager
def _limited_cpu(seconds: int) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def too_much(number: int, frame: FrameType | None) -> None:
        raise OverLimit("too_much_cpu", cpu_sentence(seconds))

    # Who listens must be there before the limit is, and as long as it is: unheard, the signal ends the process.
    handler = signal.signal(signal.SIGXCPU, too_much)
    before = resource.getrlimit(resource.RLIMIT_CPU)
    try:
        soft = _lower(math.ceil(time.process_time()) + seconds, before[0])
        resource.setrlimit(resource.RLIMIT_CPU, (soft, before[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, before)
        signal.signal(signal.SIGXCPU, handler)


def _lower(ours: int, theirs: int) -> int:
    """Return our limit, or a lower one that was set from outside."""
    return ours if theirs == resource.RLIM_INFINITY else min(ours, theirs)


def _is_shortage(error: Exception) -> bool:
    """Return whether a library's error means that it got no memory."""
    if isinstance(error, MemoryError):
        return True
    if getattr(error, "code", None) == _CV2_NO_MEMORY and type(error).__module__.startswith("cv2"):
        return True
    return isinstance(error, RuntimeError | OSError) and any(said in str(error) for said in _SAID_OF_MEMORY)
