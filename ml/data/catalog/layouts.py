"""The layouts of the data sets: from the files of a folder to labelled videos.

One person has one name in all sets of one maker: FaceForensics++ `ff183`, its actors `dfd06`, Celeb-DF `cdf32` (or
`cdfyt00170`), DFDC `dfdc_<folder>`; names from folders or CSV files are prefixed with the set's name.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ml.config import Label
from ml.data.catalog.files import (
    MAX_NAME,
    DatasetError,
    DatasetItem,
    FileTree,
    FoundFile,
    check_label,
    folder_label,
    identity_name,
    read_json,
    read_text,
    shown,
    split_suffix,
)

CELEB_FOLDERS = {"celeb-real": Label.REAL, "youtube-real": Label.REAL, "celeb-synthesis": Label.FAKE}
_CELEB_LIST = "list_of_testing_videos.txt"
_CELEB_REAL = re.compile(r"id([0-9]+)_[0-9]+")
_CELEB_FAKE = re.compile(r"id([0-9]+)_id([0-9]+)_[0-9]+")
FF_FOLDERS = {"original_sequences": Label.REAL, "manipulated_sequences": Label.FAKE}
_FF_METHODS = {
    name.lower(): name
    for name in ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter", "DeepFakeDetection")
}
_FF_COMPRESSION = re.compile(r"(raw|c[0-9]{1,2})")
_FF_REAL = re.compile(r"([0-9]{3})")
_FF_FAKE = re.compile(r"([0-9]{3})_([0-9]{3})")
_DFD_REAL = re.compile(r"([0-9]{2})__")
_DFD_FAKE = re.compile(r"([0-9]{2})_([0-9]{2})__")
_LABELS = {"real": Label.REAL, "fake": Label.FAKE, "0": Label.REAL, "1": Label.FAKE}
_SPLITS = {"": "", "train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_STRICTEST = ("test", "val", "train", "")


@dataclass(frozen=True)
class Layout:
    """The videos, files that the set's lists name but the folder lacks, and sentences about what was skipped."""

    items: Sequence[DatasetItem]
    missing: Sequence[str] = ()
    notes: Sequence[str] = ()


def _left_alone(count: int, why: str) -> list[str]:
    return [f"{count} videos were left alone: {why}."] if count else []


# --- Celeb-DF --------------------------------------------------------------------------------------------------------


def read_celeb(tree: FileTree, dataset: str) -> Layout:
    """Read Celeb-DF (v1 and v2).  Raises DatasetError."""
    placed = {file: _celeb_folder(file) for file in tree.videos}
    tests, missing, notes = _celeb_tests(tree, placed)
    items, odd = [], 0
    for file, found in placed.items():
        if found is None:
            continue
        folder, label = found[0], CELEB_FOLDERS[found[0]]
        match = (_CELEB_FAKE if label == Label.FAKE else _CELEB_REAL).fullmatch(file.stem)
        donor = ""
        if folder == "youtube-real":
            identity = f"cdfyt{file.stem}"
        elif match:
            identity = f"cdf{match.group(1)}"
            donor = f"cdf{match.group(2)}" if label == Label.FAKE else ""
        else:
            identity, odd = f"cdf_{file.stem}", odd + 1
        items.append(
            DatasetItem(
                path=file.path,
                relative=shown(file.relative),
                dataset=dataset,
                label=label,
                identity=identity_name(identity),
                donor=donor,
                method="Celeb-DF" if label == Label.FAKE else "",
                official_split="test" if file in tests else "",
            )
        )
    if odd:
        notes.append(f"{odd} names are not in the set's form; each counts as a person of its own.")
    notes += _left_alone(sum(found is None for found in placed.values()), "they are in none of the set's folders")
    return Layout(items, missing, notes)


def _celeb_folder(file: FoundFile) -> tuple[str, str] | None:
    """Return the set's folder (lower case) that holds the file, and the path from there on."""
    for index, part in enumerate(file.folders):
        if part.lower() in CELEB_FOLDERS:
            return part.lower(), "/".join((*file.folders[index:], file.name))
    return None


def _celeb_tests(
    tree: FileTree, placed: dict[FoundFile, tuple[str, str] | None]
) -> tuple[set[FoundFile], list[str], list[str]]:
    """Return the test videos, missing ones, and notes.  In this list, and only there, 1 means real."""
    by_key: dict[str, list[FoundFile]] = {}
    for file, found in placed.items():
        if found:
            by_key.setdefault(split_suffix(found[1])[0].lower(), []).append(file)
    lists = tree.named(_CELEB_LIST)
    tests: set[FoundFile] = set()
    missing = []
    for source in lists:
        for number, line in enumerate(read_text(source).splitlines(), 1):
            if not line.strip():
                continue
            word, _, listed = line.strip().partition(" ")
            listed = listed.strip().replace("\\", "/")
            if word not in ("0", "1") or not listed:
                raise DatasetError(
                    f"Line {number} of {shown(source.relative)} is not `0 path` or `1 path`. Fetch the list again."
                )
            files = by_key.get(split_suffix(listed)[0].lower(), [])
            label = Label.REAL if word == "1" else Label.FAKE
            for file in files:
                found = placed[file]
                assert found is not None
                check_label(file, label, folder=CELEB_FOLDERS[found[0]], source=source.relative)
            tests.update(files)
            if not files:
                missing.append(listed)
    notes = [] if lists else ["There is no List_of_testing_videos.txt, so no video is known to be for tests only."]
    return tests, missing, notes


# --- FaceForensics++ and DeepFakeDetection ---------------------------------------------------------------------------


def read_ffpp(tree: FileTree, dataset: str) -> Layout:
    """Read FaceForensics++ and DeepFakeDetection.  Raises DatasetError."""
    split_of, partners, notes = _ff_splits(tree)
    items = []
    masks = elsewhere = odd = 0
    present: dict[tuple[str, bool], set[str]] = {}
    for file in tree.videos:
        lower = [part.lower() for part in file.folders]
        marker = next((index for index, part in enumerate(lower) if part in FF_FOLDERS), None)
        if marker is None or "masks" in lower:
            masks, elsewhere = masks + (marker is not None), elsewhere + (marker is None)
            continue
        label = FF_FOLDERS[lower[marker]]
        below = file.folders[marker + 1 :]
        item, known = _ff_item(file, dataset, label, below)
        odd += not known
        sides = [split_of.get(person, "") for person in (item.identity, item.donor) if person]
        items.append(item if not any(sides) else replace(item, official_split=min(sides, key=_STRICTEST.index)))
        if _FF_REAL.fullmatch(file.stem) or _FF_FAKE.fullmatch(file.stem):
            present.setdefault(("/".join(file.folders), label == Label.REAL), set()).add(file.stem)
    missing = []
    for (folder, real), stems in sorted(present.items()):
        wanted = set(partners) if real else {f"{a}_{b}" for a, others in partners.items() for b in others}
        missing += [f"{folder}/{stem}" for stem in sorted(wanted - stems)]
    if odd:
        notes.append(f"{odd} names are not in the set's form; each counts as a person of its own.")
    notes += _left_alone(masks, "they are masks") + _left_alone(elsewhere, "they are in none of the set's folders")
    return Layout(items, missing, notes)


def _ff_item(file: FoundFile, dataset: str, label: Label, below: tuple[str, ...]) -> tuple[DatasetItem, bool]:
    """Return the item, without its split, and whether its name has the set's form."""
    pair = _FF_FAKE.fullmatch(file.stem) or _DFD_FAKE.match(file.stem)
    single = _FF_REAL.fullmatch(file.stem) or _DFD_REAL.match(file.stem)
    if pair and label == Label.REAL:
        raise DatasetError(
            f"{shown(file.relative)} has the name of a fake (target and donor) among the originals. Move it to where it"
            f" belongs; nothing was imported."
        )
    prefix = "ff" if _FF_FAKE.fullmatch(file.stem) or _FF_REAL.fullmatch(file.stem) else "dfd"
    match = pair or single
    method = below[0] if label == Label.FAKE and below else ""
    item = DatasetItem(
        path=file.path,
        relative=shown(file.relative),
        dataset=dataset,
        label=label,
        identity=f"{prefix}{match.group(1)}" if match else identity_name(f"ff_{file.stem}"),
        donor=f"{prefix}{pair.group(2)}" if pair else "",
        method=_FF_METHODS.get(method.lower(), shown(method)[:MAX_NAME]),
        compression=next((part.lower() for part in below if _FF_COMPRESSION.fullmatch(part.lower())), ""),
    )
    return item, match is not None


def _ff_splits(tree: FileTree) -> tuple[dict[str, str], dict[str, set[str]], list[str]]:
    """Return the split of each identity, each number's partners (fakes exist in both orders), and notes."""
    split_of: dict[str, str] = {}
    partners: dict[str, set[str]] = {}
    for split in ("train", "val", "test"):
        for source in tree.named(f"{split}.json"):
            pairs = read_json(source)
            if not _are_pairs(pairs):
                name = shown(source.relative)
                raise DatasetError(f'{name} is not a list of pairs like ["000", "003"]. Fetch it again.')
            for first, second in pairs:
                partners.setdefault(first, set()).add(second)
                partners.setdefault(second, set()).add(first)
                for number in (first, second):
                    if split_of.setdefault(f"ff{number}", split) != split:
                        raise DatasetError(
                            f"{number} is in {split}.json and in {split_of[f'ff{number}']}.json. Fetch the lists again;"
                            f" nothing was imported."
                        )
    notes = [] if partners else ["There is no train.json, val.json or test.json, so the set's splits are not known."]
    return split_of, partners, notes


def _are_pairs(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and _are_ids(pair) for pair in value
    )


def _are_ids(pair: list[Any]) -> bool:
    return all(isinstance(text, str) and _FF_REAL.fullmatch(text) for text in pair)


# --- DFDC ------------------------------------------------------------------------------------------------------------


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
            label = _LABELS.get(word.strip().lower())
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
                    official_split=_SPLITS.get(split.lower(), ""),
                )
                _add(items, file, item, source)
    if not items and not missing:
        raise DatasetError(
            f"{shown(str(tree.root))} has no metadata.json with labels (or labels.csv with filename,label). Give the"
            f" folder that holds the dfdc_train_part folders."
        )
    notes = _left_alone(len(tree.videos) - len(items), "no metadata.json names them")
    return Layout(list(items.values()), missing, notes)


def _add(items: dict[FoundFile, DatasetItem], file: FoundFile, item: DatasetItem, source: FoundFile) -> None:
    """Add an item; raise DatasetError if two rows disagree about a file."""
    if items.setdefault(file, item).label != item.label:
        raise DatasetError(
            f"{shown(source.relative)} calls {shown(file.relative)} both real and fake. Correct the list; nothing was"
            f" imported."
        )


# --- one's own videos ------------------------------------------------------------------------------------------------


def read_folder(tree: FileTree, dataset: str) -> Layout:
    """Read folders named `real` and `fake`.  Raises DatasetError."""
    items = []
    for file in tree.videos:
        label = folder_label(file, tree.root.name)
        if label is not None:
            identity = identity_name(f"{dataset}_{file.stem}")
            items.append(DatasetItem(file.path, shown(file.relative), dataset, label, identity))
    notes = _left_alone(len(tree.videos) - len(items), "no folder above them is named `real` or `fake`")
    return Layout(items, (), notes)


def csv_rows(source: FoundFile) -> list[dict[str, str]]:
    """Return the rows by their columns in lower case; missing cells are empty.  Raises DatasetError."""
    try:
        reader = csv.DictReader(io.StringIO(read_text(source), newline=""), restval="")
        return [{str(k).strip().lower(): v.strip() for k, v in row.items() if isinstance(v, str)} for row in reader]
    except csv.Error as error:
        raise DatasetError(f"{shown(source.relative)} is not valid CSV ({error}). Correct it and try again.") from error


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
        label = _LABELS.get(row.get("label", "").lower())
        split = _SPLITS.get(row.get("split", "").lower())
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
            _add(items, file, item, sources[0])
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
