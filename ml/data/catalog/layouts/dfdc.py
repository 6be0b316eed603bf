"""DFDC: folders with a metadata.json each, or a labels.csv."""

from __future__ import annotations

from dataclasses import dataclass

from ml.config import Label
from ml.data.catalog.files import (
    DatasetError,
    DatasetItem,
    FileTree,
    FoundFile,
    check_label,
    csv_rows,
    folder_label,
    identity_name,
    read_json,
    shown,
)
from ml.data.catalog.layouts.layout import LABELS, SPLITS, Layout, add_item, left_alone


@dataclass(frozen=True)
class DfdcList:
    """A part's list with its rows: name, label, split."""

    source: FoundFile
    rows: tuple[tuple[str, str, str], ...]


def dfdc_lists(tree: FileTree, *, broken_raises: bool = False) -> list[DfdcList]:
    """Return the set's lists; other files of these names are ignored."""
    lists = []
    for source in tree.named("metadata.json"):
        try:
            content = read_json(source)
        except DatasetError:
            if broken_raises:
                raise
            continue
        if isinstance(content, dict) and all(isinstance(row, dict) and "label" in row for row in content.values()):
            rows = [(name, str(row["label"]), str(row.get("split", ""))) for name, row in content.items()]
            lists.append(DfdcList(source, tuple(rows)))
    for source in tree.named("labels.csv"):
        table = csv_rows(source)
        if table and {"filename", "label"} <= table[0].keys():
            lists.append(DfdcList(source, tuple((row["filename"], row["label"], "test") for row in table)))
    return [found for found in lists if found.rows]


def read_dfdc(tree: FileTree, dataset: str) -> Layout:
    """Read DFDC.  Raises DatasetError."""
    items: dict[FoundFile, DatasetItem] = {}
    missing = []
    for found in dfdc_lists(tree, broken_raises=True):
        source = found.source
        folder = "/".join(source.folders)
        part = source.folders[-1] if source.folders else tree.root.name
        for name, word, split in found.rows:
            listed = f"{folder}/{name}" if folder else name
            label = LABELS.get(word.strip().lower())
            if label is None:
                raise DatasetError(
                    f"{shown(source.relative)} calls {shown(name)} {shown(word)!r}, which is neither REAL nor FAKE."
                    f" Correct the list; nothing was imported."
                )
            files = tree.by_stem(listed)
            if not files:
                missing.append(listed)
            for file in files:
                check_label(file, label, folder=folder_label(file), source=source.relative)
                item = DatasetItem(
                    path=file.path,
                    relative=shown(file.relative),
                    dataset=dataset,
                    label=label,
                    identity=identity_name(f"dfdc_{part.removeprefix('dfdc_')}"),
                    method="DFDC" if label == Label.FAKE else "",
                    official_split=SPLITS.get(split.lower(), ""),
                )
                add_item(items, file, item, source)
    if not items and not missing:
        raise DatasetError(
            f"{shown(str(tree.root))} has no metadata.json with labels (or labels.csv with filename,label). Give the"
            f" folder that holds the dfdc_train_part folders."
        )
    notes = left_alone(len(tree.videos) - len(items), "no metadata.json names them")
    return Layout(list(items.values()), missing, notes)
