"""Scan a folder of a known data set: for each video its label, people, forgery method and the set's split.

Nothing is written and no video is opened.  The layouts are in `ml.data.catalog.layouts`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ml.data.catalog.files import MAX_NAME, DatasetError, DatasetItem, FileTree, shown
from ml.data.catalog.layouts import celeb_df, dfdc, faceforensics, own_videos
from ml.data.catalog.layouts.celeb_df import CELEB_FOLDERS
from ml.data.catalog.layouts.faceforensics import FF_FOLDERS
from ml.data.catalog.layouts.layout import Layout

__all__ = ["FORMATS", "DatasetError", "DatasetItem", "DatasetScan", "scan"]

FORMATS = ("celeb-df", "ffpp", "dfdc", "folder", "csv")


@dataclass(frozen=True)
class DatasetScan:
    """`missing`: files that the set's lists name but the folder lacks.  `notes`: sentences about what was skipped."""

    format: str
    name: str
    items: tuple[DatasetItem, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]


def scan(path: Path, format: str | None = None, *, name: str | None = None) -> DatasetScan:
    """Read the folder (or CSV file) at `path`; the format is guessed if none is given.

    Raises DatasetError: nothing there, an unknown layout, a list that contradicts a folder.
    """
    if format is not None and format not in FORMATS:
        raise DatasetError(f"There is no format {format!r}. Choose one of {', '.join(FORMATS)}.")
    try:
        root = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise DatasetError(f"There is no folder {shown(str(path))}. Check the path.") from error
    list_file = ""
    if root.is_file():
        if root.suffix.lower() != ".csv" or format not in (None, "csv"):
            raise DatasetError(f"{shown(str(path))} is a file. Give the data set's folder, or a CSV file.")
        root, list_file, format = root.parent, root.name, "csv"
    if root.name.lower() in CELEB_FOLDERS | FF_FOLDERS and format in (None, "celeb-df", "ffpp"):
        raise DatasetError(
            f"{shown(str(path))} is one part of a data set. Give the folder above it, where the set's lists are:"
            f" they say which videos are for tests only."
        )
    tree = FileTree(root)
    chosen = format or _guess(tree)
    dataset = name or _default_name(chosen, root)
    if len(dataset) > MAX_NAME or not dataset.isprintable():
        raise DatasetError(f"The name of a data set has at most {MAX_NAME} printable characters. Give one with --name.")
    read = own_videos.read_csv(tree, dataset, list_file) if chosen == "csv" else _READERS[chosen](tree, dataset)
    items = tuple(sorted(read.items, key=lambda item: item.relative))
    return DatasetScan(chosen, dataset, items, tuple(map(shown, read.missing)), (*read.notes, *tree.notes))


def _default_name(format: str, root: Path) -> str:
    """Return the set's own name, the same for every copy; for one's own videos the folder's."""
    if format in ("folder", "csv"):
        return re.sub(r"[^\w.-]+", "-", shown(root.name))[:MAX_NAME].strip("-") or "dataset"
    version = re.search(r"v[12]\b", root.name.lower())
    return f"celeb-df-{version.group()}" if format == "celeb-df" and version else format


def _guess(tree: FileTree) -> str:
    folders = {part.lower() for file in tree.videos for part in file.folders}
    found = []
    if folders & CELEB_FOLDERS.keys():
        found.append("celeb-df")
    if folders & FF_FOLDERS.keys():
        found.append("ffpp")
    if dfdc.dfdc_lists(tree):
        found.append("dfdc")
    if own_videos.csv_lists(tree):
        found.append("csv")
    if not found and (folders | {tree.root.name.lower()}) & {"real", "fake"}:
        found.append("folder")
    if len(found) == 1:
        return found[0]
    where = shown(str(tree.root))
    if found:
        raise DatasetError(
            f"{where} looks like several data sets ({', '.join(found)}). Give the folder of one, or say which with"
            f" --format."
        )
    raise DatasetError(
        f"{where} is not laid out like a known data set. Put the videos into folders `real` and `fake`, write a CSV"
        f" with the columns path,label, or say with --format which of {', '.join(FORMATS)} it is."
    )


_READERS: dict[str, Callable[[FileTree, str], Layout]] = {
    "celeb-df": celeb_df.read_celeb,
    "ffpp": faceforensics.read_ffpp,
    "dfdc": dfdc.read_dfdc,
    "folder": own_videos.read_folder,
}
