"""Celeb-DF, v1 and v2."""

from __future__ import annotations

import re

from ml.config import Label
from ml.data.catalog.files import (
    DatasetError,
    DatasetItem,
    FileTree,
    FoundFile,
    check_label,
    identity_name,
    read_text,
    shown,
    split_suffix,
)
from ml.data.catalog.layouts.layout import Layout, left_alone

CELEB_FOLDERS = {"celeb-real": Label.REAL, "youtube-real": Label.REAL, "celeb-synthesis": Label.FAKE}
_CELEB_LIST = "list_of_testing_videos.txt"
_CELEB_REAL = re.compile(r"id([0-9]+)_[0-9]+")
_CELEB_FAKE = re.compile(r"id([0-9]+)_id([0-9]+)_[0-9]+")


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
    notes += left_alone(sum(found is None for found in placed.values()), "they are in none of the set's folders")
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
