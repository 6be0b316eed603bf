"""The files of a data set's folder, matched by folder and stem whatever their case and suffix.

Lists that come with data sets name `.mp4` files where a copy may have `.avi`, and folders in another case.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml.config import Label

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".m4v", ".flv", ".wmv"}
)  # fmt: skip
MAX_LIST_BYTES = 256 * 1024 * 1024


MAX_IDENTITY = 160
MAX_NAME = 60


class DatasetError(Exception):
    """The folder cannot be read as a data set; the message is a sentence with the next step."""


def shown(text: str) -> str:
    """Return a name as text for databases, terminals and JSON; unprintable characters are escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte that is not UTF-8, as the file system's names carry it
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


@dataclass(frozen=True)
class DatasetItem:
    """One video.  `path` is absolute; `relative` is below the data set's folder, safe to store and print."""

    path: Path
    relative: str
    dataset: str
    label: Label
    identity: str
    donor: str = ""
    method: str = ""
    compression: str = ""
    official_split: str = ""


def identity_name(text: str) -> str:
    """Return a name short enough for the database, still unique per person."""
    text = shown(text)
    if len(text) <= MAX_IDENTITY:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"{text[: MAX_IDENTITY - 17]}-{digest}"


def split_suffix(name: str) -> tuple[str, str]:
    """Return the name without its video suffix, and the suffix in lower case (empty if it has none)."""
    stem, dot, ending = name.rpartition(".")
    suffix = f".{ending.lower()}" if dot else ""
    return (stem, suffix) if stem and suffix in VIDEO_SUFFIXES else (name, "")


@dataclass(frozen=True)
class FoundFile:
    """A file; `relative` is its path below the folder, with `/`."""

    path: Path
    relative: str

    @property
    def folders(self) -> tuple[str, ...]:
        """Return the names of the folders above it."""
        return tuple(self.relative.split("/")[:-1])

    @property
    def name(self) -> str:
        """Return the file's name."""
        return self.relative.rsplit("/", 1)[-1]

    @property
    def stem(self) -> str:
        """Return the name without its video suffix."""
        return split_suffix(self.name)[0]

    @property
    def is_video(self) -> bool:
        """Return whether it has a video suffix."""
        return bool(split_suffix(self.name)[1])


class FileTree:
    """Every file below a folder, except hidden ones and links that lead out of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notes: list[str] = []
        self.files = sorted(self._walk(), key=lambda file: file.relative)
        self.videos = [file for file in self.files if file.is_video]
        self._exact = {file.relative: file for file in self.files}
        self._lower: dict[str, list[FoundFile]] = {}
        self._stems: dict[str, list[FoundFile]] = {}
        for file in self.files:
            self._lower.setdefault(file.relative.lower(), []).append(file)
        for file in self.videos:
            self._stems.setdefault(split_suffix(file.relative)[0].lower(), []).append(file)

    def named(self, name: str) -> list[FoundFile]:
        """Return the files of this name (lower case), in any folder."""
        return [file for file in self.files if file.name.lower() == name]

    def by_stem(self, relative: str) -> list[FoundFile]:
        """Return all videos of this folder and stem: every copy of what a list names."""
        return self._stems.get(split_suffix(relative)[0].lower(), [])

    def best(self, relative: str) -> list[FoundFile]:
        """Return the file itself, else the same name in another case, else videos of the same stem."""
        exact = self._exact.get(relative)
        return [exact] if exact else self._lower.get(relative.lower()) or self.by_stem(relative)

    def _walk(self) -> Iterator[FoundFile]:
        unreadable: list[OSError] = []
        links = 0
        for folder, folders, names in os.walk(self.root, onerror=unreadable.append):
            visible = [name for name in folders if not name.startswith(".")]
            links += sum(os.path.islink(os.path.join(folder, name)) for name in visible)  # os.walk follows none
            folders[:] = visible
            for name in names:
                path = Path(folder, name)
                if name.startswith("."):
                    continue
                if path.is_symlink() and not _stays_inside(path, self.root):
                    links += 1
                elif path.is_file():
                    yield FoundFile(path, path.relative_to(self.root).as_posix())
        if links:
            self.notes.append(f"{links} symbolic links were not followed; copy what they point to if it is wanted.")
        for error in unreadable[:5]:
            self.notes.append(f"{shown(str(error.filename))} cannot be read: {error.strerror}.")


def _stays_inside(link: Path, root: Path) -> bool:
    try:
        return link.resolve(strict=True).is_relative_to(root)
    except (OSError, RuntimeError):  # it leads nowhere, or in a circle
        return False


def read_text(file: FoundFile) -> str:
    """Return a list's text.  Raises DatasetError.

    Bytes that are not UTF-8 stay as Python has them in file names, so that they still match.
    """
    try:
        if file.path.stat().st_size > MAX_LIST_BYTES:
            raise DatasetError(f"{shown(file.relative)} is too large for a list. Move it elsewhere and try again.")
        return file.path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise DatasetError(f"{shown(file.relative)} cannot be read: {error.strerror}. Check its rights.") from error


def read_json(file: FoundFile) -> Any:
    """Return a list's JSON.  Raises DatasetError."""
    try:
        return json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{shown(file.relative)} is not valid JSON. Fetch it again.") from error


def csv_rows(source: FoundFile) -> list[dict[str, str]]:
    """Return the rows by their columns in lower case; missing cells are empty.  Raises DatasetError."""
    try:
        reader = csv.DictReader(io.StringIO(read_text(source), newline=""), restval="")
        return [{str(k).strip().lower(): v.strip() for k, v in row.items() if isinstance(v, str)} for row in reader]
    except csv.Error as error:
        raise DatasetError(f"{shown(source.relative)} is not valid CSV ({error}). Correct it and try again.") from error


def folder_label(file: FoundFile, root_name: str = "") -> Label | None:
    """Return the label that folders named `real` or `fake` give, or None.

    The nearest above the file counts, else the data set's own folder.  Raises DatasetError if the folders above the
    file contradict each other.
    """
    said = {name.lower() for name in file.folders} & {"real", "fake"}
    if len(said) == 2:
        raise DatasetError(
            f"{shown(file.relative)} lies below a folder `real` and a folder `fake`. Move it so that one is left."
        )
    word = said.pop() if said else root_name.lower()
    return {"real": Label.REAL, "fake": Label.FAKE}.get(word)


def check_label(file: FoundFile, label: Label, *, folder: Label | None, source: str) -> None:
    """Raise DatasetError if a list contradicts the folder."""
    if folder is not None and folder != label:
        raise DatasetError(
            f"{shown(file.relative)} is {label.name.lower()} in {shown(source)}, but its folder says"
            f" {folder.name.lower()}. Correct one of them; nothing was imported."
        )
