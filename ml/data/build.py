"""Training data: packs are built from data sets, and split by identity.

python -m ml.data build-pack --data ../shared/data --out var/pack.safetensors
python -m ml.data show var/pack.safetensors
"""

from __future__ import annotations

import argparse
import csv
import sys
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ml.config import Label
from ml.data.crop_pack import CropRow, Pack, PackError, PackWriter
from ml.data.splits import HOLDOUT, TRAIN, VAL, assign_splits, straddling

PARTS = ("dfdc", "web_colour", "videos")
VIDEO_FOLDERS = ("ffpp", "celeb-df", "other")


def class_weights(labels: Iterable[int]) -> Tensor:
    """(2,) float32 for CrossEntropyLoss: total / (2 x count).  Raises ValueError when a class is missing."""
    counts = Counter(int(label) for label in labels)
    missing = [label.name for label in Label if counts[label] == 0]
    if missing:
        raise ValueError(f"no {' and no '.join(missing)} in the training split: nothing to learn from one side only.")
    total = counts[Label.REAL] + counts[Label.FAKE]
    return torch.tensor([total / (2 * counts[label]) for label in Label], dtype=torch.float32)


def connected_groups(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Identity -> the name of its component.  Two identities that share a fake (target and donor) are one component.

    `pairs` are (group, donor); an empty donor links nothing.
    """
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for group, donor in pairs:
        root = find(group)
        if donor:
            other = find(donor)
            first, second = sorted((root, other))
            parent[second] = first
    return {name: find(name) for name in parent}


def row_components(rows: Sequence[CropRow]) -> list[str]:
    """Component of each row: rows with different components share no identity, neither as target nor as donor."""
    links = [(row.group, row.donor) for row in rows] + [(row.group, row.component) for row in rows if row.component]
    component = connected_groups(links)
    return [component[row.group] for row in rows]


def split_rows(pack: Pack, *, seed: int = 0) -> dict[str, list[int]]:
    """Indices of the crops that train, validate and are held out, disjoint by component.

    A row's own `split` is kept, and takes its component along; the rest is dealt by `ml.data.splits.SHARES`, source by
    source.  Raises PackError when a component would stand on both sides.
    """
    components = row_components(pack.rows)
    fixed = {component: row.split for component, row in zip(components, pack.rows, strict=True) if row.split}
    dealt = assign_splits(components, [(row.source, row.label) for row in pack.rows], fixed=fixed, seed=seed)
    splits = [row.split or split for row, split in zip(pack.rows, dealt, strict=True)]
    if shared := straddling(components, splits):
        raise PackError(f"these people stand in training and in validation: {', '.join(shared[:5])}")
    return {name: [i for i, split in enumerate(splits) if split == name] for name in (TRAIN, VAL, HOLDOUT)}


def _add_dfdc(writer: PackWriter, folder: Path) -> None:
    """DFDC crops: one per video, split by estimated actor; the pasted face's owner is unknown.

    Every second validation actor is held out, for judging only.
    """
    with (folder / "labels.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    kept_apart = sorted({row["group"] for row in rows if row["split"] == VAL})
    side = {name: (VAL, HOLDOUT)[k % 2] for k, name in enumerate(kept_apart)}
    archives = {name: zipfile.ZipFile(folder / f"{name}.zip") for name in ("train_real", "train_fake", "val")}
    for row in rows:
        label = Label[row["label"]]
        archive = "val" if row["split"] == "val" else f"train_{label.name.lower()}"
        writer.add_encoded(
            archives[archive].read(row["name"]),
            CropRow(
                label=int(label),
                group=row["group"],
                source="dfdc",
                method="dfdc" if label == Label.FAKE else "",
                split=side.get(row["group"], TRAIN),
                origin=f"dfdc_{row['original']}",
            ),
        )


def _add_web_colour(writer: PackWriter, folder: Path) -> None:
    """Web photos, all REAL.  File names give the person where they have one; the rest may be anybody, so is one group.

    Photos only train: that one group cannot be shown to be disjoint from itself, and a photo is no video.
    """
    for path in sorted(folder.glob("*.jpg")):
        parts = path.stem.split("_")
        named = len(parts) == 4 and parts[0].isdigit() and parts[1].isdigit()
        writer.add_encoded(
            path.read_bytes(),
            CropRow(
                label=int(Label.REAL),
                group=f"web_{parts[2]}" if named else "web_unnamed",
                source="web_colour",
                split=TRAIN,
                origin=f"web_{path.stem}",
            ),
        )


def build_pack(data: Path, out: Path, parts: Sequence[str] = PARTS, *, workers: int = 1) -> Pack:
    """Reads the data folder and writes the pack.  Raises PackError, naming what is missing."""
    writer = PackWriter()
    try:
        if "dfdc" in parts:
            _add_dfdc(writer, data / "dfdc_faces")
        if "web_colour" in parts:
            _add_web_colour(writer, data / "faces" / "web_colour")
        if "videos" in parts:
            from ml.data.extract_sequences import (
                add_videos,  # needs PyAV and MTCNN, which a bare training machine lacks
            )

            add_videos(writer, data, VIDEO_FOLDERS, workers=workers)
    except (FileNotFoundError, KeyError) as error:
        raise PackError(f"the data folder {data} is not as expected: {error}") from error
    return Pack(writer.write(out))


def describe(pack: Pack) -> str:
    """Counts by source and label, for a person."""
    counts: Counter[tuple[str, str, bool]] = Counter(
        (row.source, Label(row.label).name, bool(row.sequence)) for row in pack.rows
    )
    lines = [f"{pack.path.name}: {len(pack)} crops, {len(pack.sequences())} sequences"]
    lines += [
        f"  {source:12} {label:5} {'in sequences' if sequence else 'single'}: {n}"
        for (source, label, sequence), n in sorted(counts.items())
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ml.data", description="Build and look at packs of face crops.")
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build-pack", help="read a data folder, write one packed file")
    build.add_argument("--data", type=Path, required=True, help="folder with dfdc_faces/, faces/, ffpp/, ...")
    build.add_argument("--out", type=Path, required=True)
    build.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    build.add_argument("--workers", type=int, default=2, help="processes that extract faces")
    show = commands.add_parser("show", help="count what a pack holds")
    show.add_argument("pack", type=Path)
    args = parser.parse_args(argv)
    try:
        pack = (
            build_pack(args.data, args.out, args.parts, workers=args.workers)
            if args.command == "build-pack"
            else Pack(args.pack)
        )
    except PackError as error:
        print(error, file=sys.stderr)
        return 1
    print(describe(pack))
    return 0
