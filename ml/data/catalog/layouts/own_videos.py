"""One's own videos: in folders named `real` and `fake`, or listed in a CSV file."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ml.config import Label
from ml.data.catalog.files import (
    MAX_NAME,
    DatasetError,
    DatasetItem,
    FileTree,
    FoundFile,
    check_label,
    csv_rows,
    folder_label,
    identity_name,
    shown,
)
from ml.data.catalog.layouts.layout import LABELS, SPLITS, Layout, add_item, left_alone


def read_folder(tree: FileTree, dataset: str) -> Layout:
    """Read folders named `real` and `fake`.  Raises DatasetError."""
    items = []
    for file in tree.videos:
        label = folder_label(file, tree.root.name)
        if label is not None:
            identity = identity_name(f"{dataset}_{file.stem}")
            items.append(DatasetItem(file.path, shown(file.relative), dataset, label, identity))
    notes = left_alone(len(tree.videos) - len(items), "no folder above them is named `real` or `fake`")
    return Layout(items, (), notes)


def csv_lists(tree: FileTree) -> list[FoundFile]:
    """Return CSV files directly in the folder with the columns path and label."""
    top = [file for file in tree.files if not file.folders and file.name.lower().endswith(".csv")]
    return [file for file in top if {"path", "label"} <= _columns(file)]


def _columns(file: FoundFile) -> set[str]:
    try:
        return set(next(iter(csv_rows(file)), {}))
    except DatasetError:  # some other table
        return set()


def read_csv(tree: FileTree, dataset: str, list_file: str) -> Layout:
    """Read the videos that a CSV file names.  Raises DatasetError."""
    sources = tree.best(list_file) if list_file else csv_lists(tree)
    if len(sources) != 1:
        what = "no CSV file" if not sources else "more than one CSV file"
        raise DatasetError(f"{shown(str(tree.root))} has {what} with the columns path,label. Give the file itself.")
    items: dict[FoundFile, DatasetItem] = {}
    missing = []
    for number, row in enumerate(csv_rows(sources[0]), 2):
        where = f"Row {number} of {shown(sources[0].relative)}"
        label = LABELS.get(row.get("label", "").lower())
        split = SPLITS.get(row.get("split", "").lower())
        if label is None or split is None or not row.get("path"):
            raise DatasetError(
                f"{where} needs a path, a label (real, fake, 0 or 1; 1 is fake) and, if any, a split (train, val or"
                f" test). Correct it; nothing was imported."
            )
        relative = _inside(tree.root, row["path"], where)
        files = tree.best(relative)
        if not files:
            missing.append(relative)
        for file in files:
            check_label(file, label, folder=folder_label(file), source=sources[0].relative)
            item = DatasetItem(
                path=file.path,
                relative=shown(file.relative),
                dataset=dataset,
                label=label,
                identity=identity_name(f"{dataset}_{row.get('group') or file.stem}"),
                donor=identity_name(f"{dataset}_{row['donor']}") if row.get("donor") and label == Label.FAKE else "",
                method=shown(row.get("method", ""))[:MAX_NAME] if label == Label.FAKE else "",
                official_split=split,
            )
            add_item(items, file, item, sources[0])
    return Layout(list(items.values()), missing)


def _inside(root: Path, text: str, where: str) -> str:
    """Return the path below the data set's folder.  Raises DatasetError if it leads out of it."""
    parts: list[str] = []
    path = PurePosixPath(text.replace("\\", "/"))
    if path.is_absolute():
        path = path.relative_to(root) if path.is_relative_to(root) else PurePosixPath("..")
    for part in path.parts:
        if part != "..":
            parts.append(part)
        elif parts:
            parts.pop()
        else:
            raise DatasetError(
                f"{where} leads out of the CSV's own folder: {shown(text)}. Move the videos below it, or the CSV above"
                f" them."
            )
    return "/".join(parts)
