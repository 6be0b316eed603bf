"""One progress bar for long work: tqdm on a terminal, plain lines elsewhere, or a callback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tqdm import tqdm

ProgressCallback = Callable[[str, float], None]
"""Told what is being done and how far it is (0 to 1).  It may raise, and so stop the work."""
LOG_INTERVAL_S = 60.0


class ProgressBar:
    """Count `total` steps of `what`, of which `done` are behind; a callback replaces the screen."""

    def __init__(self, total: int, what: str, *, done: int = 0, on_progress: ProgressCallback | None = None) -> None:
        self._total, self._what, self._done, self._on_progress = total, what, done, on_progress
        terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=what,
            disable=on_progress is not None,
            mininterval=0.1 if terminal else LOG_INTERVAL_S,
            maxinterval=10.0 if terminal else LOG_INTERVAL_S,
            delay=0 if terminal else LOG_INTERVAL_S,  # short work writes nothing into a log
            ascii=not terminal,
        )

    def step(self, note: str = "") -> None:
        """Count one step; `note` stands beside it."""
        self._done += 1
        if self._on_progress is not None:
            self._on_progress(f"{self._what} {note}".strip(), self._done / max(1, self._total))
        else:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
