"""Make one training pack from data sets, photos and collected files, every crop as the product stores it.

python -m ml.data prepare --data ../shared/data --out var/pack.safetensors
python -m ml.data prepare --data ../shared/data --sources SOURCES.csv --collected DIR --out var/pack.safetensors
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

from ml.config import Label
from ml.data.crop_pack import CropRow, Pack, PackError, PackWriter
from ml.data.splits import HOLDOUT, TRAIN, VAL

PARTS = ("dfdc", "web_colour", "videos")
VIDEO_FOLDERS = ("ffpp", "celeb-df", "other")
FRAMES = 32
"""Faces taken of each person of a video: more moments help, up to about this many."""


def _add_dfdc(writer: PackWriter, folder: Path) -> None:
    """Add DFDC crops: one per video, split by estimated actor; the pasted face's owner is unknown."""
    with (folder / "labels.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    judged = judging_splits(row["group"] for row in rows if row["split"] == VAL)
    archives = {name: zipfile.ZipFile(folder / f"{name}.zip") for name in ("train_real", "train_fake", "val")}
    for row in rows:
        label = Label[row["label"]]
        archive = "val" if row["split"] == VAL else f"train_{label.name.lower()}"
        writer.add_encoded(
            archives[archive].read(row["name"]),
            CropRow(
                label=int(label),
                group=row["group"],
                source="dfdc",
                method="dfdc" if label == Label.FAKE else "",
                split=judged.get(row["group"], TRAIN),
                origin=f"dfdc_{row['original']}",
            ),
        )


def _add_web_colour(writer: PackWriter, folder: Path) -> None:
    """Add web photos, all REAL.  File names give the person where they have one; the rest may be anybody, so one group.

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


def judging_splits(groups: Iterable[str]) -> dict[str, str]:
    """Split a data set's validation people: every second one is for calibration, the others are held out."""
    return {name: (VAL, HOLDOUT)[k % 2] for k, name in enumerate(sorted(set(groups)))}


def prepare_pack(
    data: Path,
    out: Path,
    parts: Sequence[str] = PARTS,
    *,
    sources: Path | None = None,
    collected: Path | None = None,
    frames: int = FRAMES,
    workers: int = 1,
) -> Pack:
    """Read the data folder, and the files that `sources` names below `collected`; write the pack with landmarks.

    Raises PackError, naming what is missing.
    """
    writer = PackWriter()
    try:
        if sources is not None and collected is not None:
            from ml.data.collected import add_collected  # needs PyAV and MTCNN, which a bare training machine lacks

            add_collected(writer, sources, collected, frames=frames, workers=workers)
        if "dfdc" in parts:
            _add_dfdc(writer, data / "dfdc_faces")
        if "web_colour" in parts:
            _add_web_colour(writer, data / "faces" / "web_colour")
        if "videos" in parts:
            from ml.data.extract_sequences import add_videos  # likewise

            add_videos(writer, data, VIDEO_FOLDERS, frames=frames, workers=workers)
    except (FileNotFoundError, KeyError) as error:
        raise PackError(f"the data folder {data} is not as expected: {error}") from error
    writer.find_landmarks()
    return Pack(writer.write(out))


def describe(pack: Pack) -> str:
    """Count a pack's crops by source and label, for a person."""
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
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m ml.data", description="Build and look at packs of face crops.")
    commands = parser.add_subparsers(dest="command", required=True)
    prepare = commands.add_parser("prepare", help="read data sets, write one packed file")
    prepare.add_argument("--data", type=Path, required=True, help="folder with dfdc_faces/, faces/, ffpp/, ...")
    prepare.add_argument("--out", type=Path, required=True)
    prepare.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS), help="of the data folder")
    prepare.add_argument("--sources", type=Path, metavar="CSV", help="names files in DIR: see ml/data/collected.py")
    prepare.add_argument("--collected", type=Path, metavar="DIR")
    prepare.add_argument("--frames", type=int, default=FRAMES, help="faces taken of each person of a video")
    prepare.add_argument("--workers", type=int, default=2, help="processes that extract faces")
    show = commands.add_parser("show", help="count what a pack holds")
    show.add_argument("pack", type=Path)
    args = parser.parse_args(argv)
    try:
        if args.command == "show":
            pack = Pack(args.pack)
        else:
            pack = prepare_pack(
                args.data,
                args.out,
                args.parts,
                sources=args.sources,
                collected=args.collected,
                frames=args.frames,
                workers=args.workers,
            )
    except PackError as error:
        print(error, file=sys.stderr)
        return 1
    print(describe(pack))
    return 0
