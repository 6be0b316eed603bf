"""Small videos of different content that cost little to analyse."""

from __future__ import annotations

import secrets
from pathlib import Path

from tests.stack import CLIPS


def copies(folder: Path, count: int, *, of: str = "one-person.mp4") -> list[Path]:
    """The clip, each time with another box that players skip: other bytes, the same pictures."""
    original = (CLIPS / of).read_bytes()
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"copy-{number}.mp4" for number in range(count)]
    for path in paths:
        path.write_bytes(original + b"\0\0\0\x18free" + secrets.token_bytes(16))
    return paths
