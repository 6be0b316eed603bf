"""Sequences for training, cut from a data folder's videos by the product's own extraction.

The folder has a `MANIFEST.csv` with the columns path, label, group.  File names of FaceForensics++ and Celeb-DF also
name a fake's donor; both people of a fake then stay on the same side of every split.
"""

from __future__ import annotations

import csv
import multiprocessing
import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ml.config import Label
from ml.faces import FaceDetector, extract_faces
from ml.pack import CropRow, PackWriter
from ml.video import VideoError

_FFPP_PAIR = re.compile(r"^(\d{3})_(\d{3})$")
_DFD_PAIR = re.compile(r"^(\d{2})_(\d{2})__")
_CELEB_PAIR = re.compile(r"^id(\d+)_id(\d+)_\d+$")
_ONE_ROOM = ("grid", "intel")
"""Sources whose clips may show the same few people: each source is one group."""


def donor_of(path: str) -> str:
    """The pasted face's identity as the groups name it, or an empty string for reals and unknown donors.

    `000_003` is target 000 and source (donor) 003; `06_04__scene` and `id60_id61_0003` likewise.
    """
    stem = Path(path).stem
    for pattern, prefix in ((_FFPP_PAIR, "ff"), (_DFD_PAIR, "dfd"), (_CELEB_PAIR, "cdf")):
        found = pattern.match(stem)
        if found:
            return f"{prefix}{found.group(2)}"
    return ""


def method_of(path: str) -> str:
    """Forgery method of a fake, as its data set names it."""
    parts = Path(path).parts
    if "manipulated_sequences" in parts:
        return parts[parts.index("manipulated_sequences") + 1]
    return {"Celeb-synthesis": "Celeb-DF", "fake": "other"}.get(parts[-2], "")


def group_of(group: str, path: str) -> str:
    """The manifest's group, coarser where clips of one source may share people."""
    stem = Path(path).stem
    return next((name for name in _ONE_ROOM if stem.startswith(f"{name}_")), group)


@cache
def _detector() -> FaceDetector:
    return FaceDetector()


def _start_worker() -> None:
    torch.set_num_threads(1)  # the processes share the cores, so their threads must not
    cv2.setNumThreads(1)


@dataclass(frozen=True)
class FoundPeople:
    """RGB crops of each person of one video in time order, with the longer side of each face's box in pixels."""

    crops: list[list[NDArray[np.uint8]]]
    face_px: list[list[float]]
    height: int
    """Of the frame, pixels."""


def _people(path: Path) -> FoundPeople | str:
    try:
        found = extract_faces(path, detector=_detector())
    except VideoError as error:
        return error.detail
    if not found.tracks:
        return "no face"
    return FoundPeople(
        [[face.crop for face in track.faces] for track in found.tracks],
        [[float(max(f.box[2] - f.box[0], f.box[3] - f.box[1])) for f in track.faces] for track in found.tracks],
        found.info.height,
    )


def extract_all(paths: Sequence[Path], *, workers: int) -> Iterator[FoundPeople | str]:
    """The people of each video in the order of `paths`, or why there are none; `workers` processes extract."""
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
        yield from pool.map(_people, paths)


def add_videos(writer: PackWriter, data: Path, folders: Sequence[str], *, workers: int = 1) -> None:
    """Adds every person of every video that `MANIFEST.csv` lists under `folders`; `workers` processes extract.

    A real video's people are all REAL.  Of a fake only one person is taken (the first track, the one most present): who
    else is in the picture is not forged, and would be a wrong label.
    """
    with (data / "MANIFEST.csv").open(newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["path"].split("/")[0] in folders]
    rows = [row for row in rows if row["label"] in Label.__members__ and (data / row["path"]).is_file()]
    results = extract_all([data / row["path"] for row in rows], workers=workers)
    for number, (row, found) in enumerate(zip(rows, results, strict=True), 1):
        path, label = row["path"], Label[row["label"]]
        if isinstance(found, str):
            print(f"skipped {path}: {found}", file=sys.stderr)
            continue
        for index, crops in enumerate(found.crops[:1] if label == Label.FAKE else found.crops):
            for order, crop in enumerate(crops):
                writer.add_crop(
                    crop,
                    CropRow(
                        label=int(label),
                        group=group_of(row["group"], path),
                        source=path.split("/")[0],
                        donor=donor_of(path) if label == Label.FAKE else "",
                        method=method_of(path) if label == Label.FAKE else "",
                        sequence=f"{path}#{index}",
                        order=order,
                        origin=path,
                        video=path,
                        height=found.height,
                        face_px=found.face_px[index][order],
                    ),
                )
        if number % 10 == 0 or number == len(rows):
            print(f"videos: {number}/{len(rows)}", flush=True)
