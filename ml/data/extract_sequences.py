"""Sequences for training, cut from the videos of known data sets by the product's own extraction."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.config import Label
from ml.data.catalog.files import DatasetItem
from ml.data.catalog.scan import DatasetError, scan
from ml.data.crop_pack import CropRow, PackError, PackWriter
from ml.data.splits import HOLDOUT, TRAIN, VAL
from ml.faces.detector import FaceDetector
from ml.faces.extract import extract_faces
from ml.video.decode import VideoError

_ONE_ROOM = ("grid", "intel")
"""First words of names whose clips may show the same few people: each is one component."""


@cache
def _detector() -> FaceDetector:
    return FaceDetector(threads=1)  # the processes share the cores, so their threads must not


def _start_worker() -> None:
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
    context = multiprocessing.get_context("spawn")  # a library's threads do not survive a fork
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
        yield from pool.map(_people, paths)


def official_side(split: str, *, tests_known: bool) -> str:
    """The side of a data set's own split, or an empty string where people are to be dealt.

    A copy without its test list is judged on its validation list.
    """
    if split == "test" or (split == VAL and not tests_known):
        return HOLDOUT
    return split if split in (TRAIN, VAL) else ""


def one_room(dataset: str, stem: str) -> str:
    """The component of clips that may share people, or an empty string."""
    return next((f"{dataset}_{name}" for name in _ONE_ROOM if stem.startswith(f"{name}_")), "")


def add_videos(writer: PackWriter, data: Path, folders: Sequence[str], *, workers: int = 1) -> None:
    """Adds every person of every video of the data sets `data/folder`; `workers` processes extract.

    A real video's people are all REAL.  Of a fake only one person is taken (the first track, the one most present): who
    else is in the picture is not forged, and would be a wrong label.  Raises PackError when a folder is no data set.
    """
    items: list[tuple[DatasetItem, str]] = []
    for folder in folders:
        try:
            found = scan(data / folder)
        except DatasetError as error:
            raise PackError(str(error)) from error
        tests_known = any(item.official_split == "test" for item in found.items)
        items += [(item, official_side(item.official_split, tests_known=tests_known)) for item in found.items]
    results = extract_all([item.path for item, _ in items], workers=workers)
    for number, ((item, side), people) in enumerate(zip(items, results, strict=True), 1):
        name = f"{item.dataset}/{item.relative}"
        if isinstance(people, str):
            print(f"skipped {name}: {people}", file=sys.stderr)
            continue
        for index, crops in enumerate(people.crops[:1] if item.label == Label.FAKE else people.crops):
            for order, crop in enumerate(crops):
                writer.add_crop(
                    crop,
                    CropRow(
                        label=int(item.label),
                        group=item.identity,
                        source=item.dataset,
                        donor=item.donor,
                        method=item.method,
                        split=side,
                        sequence=f"{name}#{index}",
                        order=order,
                        origin=name,
                        video=name,
                        compression=item.compression,
                        height=people.height,
                        face_px=people.face_px[index][order],
                        component=one_room(item.dataset, item.path.stem),
                    ),
                )
        if number % 10 == 0 or number == len(items):
            print(f"videos: {number}/{len(items)}", flush=True)
