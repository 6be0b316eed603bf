"""The files that a command is to work on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from django.core.management.base import CommandError


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
