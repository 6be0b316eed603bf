"""FaceForensics++ and DeepFakeDetection."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from ml.config import Label
from ml.data.catalog.files import (
    MAX_NAME,
    DatasetError,
    DatasetItem,
    FileTree,
    FoundFile,
    identity_name,
    read_json,
    shown,
)
from ml.data.catalog.layouts.layout import Layout, left_alone

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
_STRICTEST = ("test", "val", "train", "")


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
    notes += left_alone(masks, "they are masks") + left_alone(elsewhere, "they are in none of the set's folders")
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
