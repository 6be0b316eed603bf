"""One progress bar for long work: tqdm on a terminal, plain lines elsewhere, or a callback of the caller's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

ProgressCallback = Callable[[str, float], None]
"""Told what is being done and how far it is (0 to 1).  It may raise, and so stop the work."""
LOG_INTERVAL_S = 60.0


class ProgressBar:
    """Counts `total` steps of `what`, of which `done` are behind, on stderr.

    With `on_progress`, that is told instead of the screen.  Away from a terminal there is a line now and then, every
    `log_interval_s` at most, and none for work that is shorter.  `look` is tqdm's.
    """

    def __init__(
        self,
        total: int,
        what: str,
        *,
        done: int = 0,
        on_progress: ProgressCallback | None = None,
        log_interval_s: float = LOG_INTERVAL_S,
        **look: Any,
    ) -> None:
        self._total, self._what, self._done, self._on_progress = total, what, done, on_progress
        terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=what,
            file=sys.stderr if terminal else _Lines(),
            disable=on_progress is not None,
            dynamic_ncols=terminal,
            mininterval=0.1 if terminal else log_interval_s,
            maxinterval=10.0 if terminal else log_interval_s,
            delay=0 if terminal else log_interval_s,  # short work writes nothing into a log
            ascii=not terminal,
            miniters=0,  # the interval alone decides
            **look,
        )

    @classmethod
    def of_share(cls, what: str = "") -> Self:
        """A bar for work that says itself how far it is (`show`); it goes away in the end."""
        return cls(100, what, leave=False, bar_format="{desc} {percentage:3.0f}% |{bar}|")

    def step(self, note: str = "") -> None:
        """Count one step; `note` stands beside it."""
        self._done += 1
        if self._on_progress is not None:
            self._on_progress(f"{self._what} {note}".strip(), self._done / max(1, self._total))
        else:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(1)

    def wait(self, note: str) -> None:
        """Nothing can be done at present; `note` says why."""
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(0)

    def show(self, what: str, share: float) -> None:
        """Is a ProgressCallback."""
        self._bar.set_description_str(what, refresh=False)
        self._bar.update(round(share * self._total) - self._bar.n)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()


class _Lines:
    """Standard error without the carriage returns by which a terminal overwrites a line."""

    def write(self, text: str) -> None:
        line = text.strip("\r\n ")
        if line:
            sys.stderr.write(line + "\n")

    def flush(self) -> None:
        sys.stderr.flush()
