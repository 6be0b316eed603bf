"""A few child processes in one terminal: started, their lines prefixed, restarted when they die, ended together."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import IO

MAX_DEATHS = 5
DEATHS_WINDOW_S = 60.0
GRACE_S = 14.0
TICK_S = 0.2
PR_SET_PDEATHSIG = 1


class ChildKeepsDyingError(Exception):
    """A child has died so often that restarting it is no use; the message names it."""


@dataclass
class Child:
    """One command.  It runs in a session of its own, so that a Ctrl-C reaches the supervisor only."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    deaths: deque[float] = field(default_factory=deque)


class Supervisor:
    """Runs children until SIGINT, SIGTERM or SIGHUP arrives."""

    def __init__(self, children: Sequence[Child], *, out: IO[str], each_second: Callable[[], None]) -> None:
        """`each_second` is called about once a second while all is well."""
        self.children = children
        self.out = out
        self.each_second = each_second
        self._stopping = threading.Event()
        self._signals = 0
        self._width = max(len(child.name) for child in children)
        self._write_lock = threading.Lock()

    def run(self) -> None:
        """Returns when everything has ended after a signal.  Raises ChildKeepsDyingError, also with nothing left."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        try:
            for child in self.children:
                self._start(child)
            next_call = time.monotonic()
            while not self._stopping.wait(TICK_S):
                for child in self.children:
                    self._look_after(child)
                if time.monotonic() >= next_call:
                    next_call = time.monotonic() + 1.0
                    self.each_second()
        finally:
            self._end_all()

    def say(self, line: str, *, name: str = "up") -> None:
        """Write a line of its own, or of the child `name`."""
        with self._write_lock:
            self.out.write(f"{name:<{self._width}} | {line}\n")
            self.out.flush()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._signals += 1
        self._stopping.set()

    def _start(self, child: Child) -> None:
        child.process = subprocess.Popen(
            list(child.command),
            env={**os.environ, **child.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
        assert child.process.stdout is not None
        threading.Thread(target=self._copy_lines, args=(child.name, child.process.stdout), daemon=True).start()

    def _copy_lines(self, name: str, stream: IO[str]) -> None:
        for line in stream:
            self.say(line.rstrip("\n"), name=name)

    def _look_after(self, child: Child) -> None:
        assert child.process is not None
        code = child.process.poll()
        if code is None:
            return
        _signal_group(child.process, signal.SIGKILL)  # what it left behind
        now = time.monotonic()
        child.deaths.append(now)
        while child.deaths[0] < now - DEATHS_WINDOW_S:
            child.deaths.popleft()
        if len(child.deaths) >= MAX_DEATHS:
            raise ChildKeepsDyingError(
                f"'{child.name}' ended {len(child.deaths)} times within a minute, the last time with code {code};"
                f" its own lines above say why. Everything is stopped."
            )
        self.say(f"{child.name} ended with code {code}; it is started again.")
        self._stopping.wait(len(child.deaths) - 1)
        if not self._stopping.is_set():
            self._start(child)

    def _end_all(self) -> None:
        """SIGTERM, time to put work down, then SIGKILL; a second Ctrl-C skips the wait."""
        running = [child.process for child in self.children if child.process is not None]
        signals = self._signals
        for process in running:
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline and self._signals == signals:
            if all(process.poll() is not None for process in running):
                break
            time.sleep(0.05)
        for process in running:
            _signal_group(process, signal.SIGKILL)
            process.wait()


def _signal_group(process: subprocess.Popen[str], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says the latter for a group of zombies
        os.killpg(process.pid, number)


_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def end_with_parent() -> None:
    """In the child, before its program: SIGTERM when the supervisor dies, even by kill -9 (Linux)."""
    if _prctl is not None:
        _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
