"""Arguments that several commands take: whole numbers, shares, files."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from django.core.management.base import CommandError


def between(least: int, most: int) -> Callable[[str], int]:
    """An argparse type: a whole number in these bounds."""

    def number(text: str) -> int:
        found = int(text) if text.isdecimal() else least - 1
        if not least <= found <= most:
            raise ArgumentTypeError(f"{text!r} is no number from {least} to {most}")
        return found

    return number


def share(text: str) -> float:
    """Parse a share above 0 and up to 1.  Raises ArgumentTypeError."""
    value = float(text)
    if not 0 < value <= 1:
        raise ArgumentTypeError(f"{text} is not a share between 0 and 1")
    return value


def files_in(paths: Sequence[Path], suffixes: Collection[str] = ()) -> list[Path]:
    """The files among the paths, and those of these suffixes (lower case; all without any) in the folders among them.

    Raises CommandError where there is no such path, or no file.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = (p for p in path.rglob("*") if not suffixes or p.suffix.lower() in suffixes)
            found += sorted(p for p in inside if p.is_file())
        elif path.is_file():
            found.append(path)
        else:
            raise CommandError(f"There is no file or folder {str(path)!r}.")
    if not found:
        what = "video" if suffixes else "file"
        raise CommandError(f"There is no {what} in {', '.join(map(str, paths))}.")
    return found
