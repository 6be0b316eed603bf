"""Extract training sequences from the videos of known data sets, with the product's own extraction."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.config import FaceConfig, Label
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
def _detector(faces_per_person: int) -> FaceDetector:
    defaults = FaceConfig()
    config = replace(
        defaults,
        faces_per_track=faces_per_person,
        first_pass_frames=max(defaults.first_pass_frames, 3 * faces_per_person // 2),
    )
    return FaceDetector(threads=1, config=config)  # the processes share the cores, so their threads must not


def _start_worker() -> None:
    cv2.setNumThreads(1)


@dataclass(frozen=True)
class FoundPeople:
    """RGB crops of each person of one video in time order, with the longer side of each face box in pixels."""

    crops: list[list[NDArray[np.uint8]]]
    frame_numbers: list[list[int]]
    face_px: list[list[float]]
    height: int
    """Height of the frame in pixels."""


def _people(path: Path, *, faces_per_person: int) -> FoundPeople | str:
    detector = _detector(faces_per_person)
    try:
        found = extract_faces(path, detector=detector, faces=detector.config)
    except VideoError as error:
        return error.detail
    if not found.tracks:
        return "no face"
    return FoundPeople(
        [[face.crop for face in track.faces] for track in found.tracks],
        [[face.frame_number for face in track.faces] for track in found.tracks],
        [[float(max(f.box[2] - f.box[0], f.box[3] - f.box[1])) for f in track.faces] for track in found.tracks],
        found.info.height,
    )


def extract_all(
    paths: Sequence[Path], *, workers: int, faces_per_person: int = FaceConfig.faces_per_track
) -> Iterator[FoundPeople | str]:
    """Yield the people of each video in the order of `paths`, or why there are none; `workers` processes extract."""
    context = multiprocessing.get_context("spawn")  # a library's threads do not survive a fork
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
        yield from pool.map(partial(_people, faces_per_person=faces_per_person), paths)


def official_split_of(split: str, *, tests_known: bool) -> str:
    """Return the split by a data set's own lists, or an empty string where people are to be assigned.

    A copy without its test list is judged on its validation list.
    """
    if split == "test" or (split == VAL and not tests_known):
        return HOLDOUT
    return split if split in (TRAIN, VAL) else ""


def one_room(dataset: str, stem: str) -> str:
    """Return the component of clips that may share people, or an empty string."""
    return next((f"{dataset}_{name}" for name in _ONE_ROOM if stem.startswith(f"{name}_")), "")


def original_clip(item: DatasetItem) -> str:
    """Name the clip that a video was made from: a forgery and its original have the same."""
    if item.dataset == "celeb-df":  # <target>_<source>_<recording>, and <target>_<recording>
        target, *_, recording = item.path.stem.split("_")
        return f"{item.dataset}/{target}_{recording}"
    if item.dataset == "ffpp":
        return f"{item.dataset}/{item.identity}/{item.compression}"
    return f"{item.dataset}/{item.relative}"


def add_people(writer: PackWriter, people: FoundPeople, row: CropRow) -> None:
    """Add the people of one video, `row` saying what is known of it.

    A real video's people are all REAL.  Of a fake only one person is taken (the first track, the one most present): who
    else is in the picture is not forged, and would be a wrong label.
    """
    for index, crops in enumerate(people.crops[:1] if row.label == Label.FAKE else people.crops):
        for k, crop in enumerate(crops):
            about = replace(
                row,
                sequence=f"{row.video}#{index}",
                order=people.frame_numbers[index][k],
                height=people.height,
                face_px=people.face_px[index][k],
            )
            writer.add_crop(crop, about)


def add_videos(writer: PackWriter, data: Path, folders: Sequence[str], *, frames: int, workers: int = 1) -> None:
    """Add the people of every video of the data sets `data/folder`, `frames` faces each; `workers` processes extract.

    Raises PackError when a folder is no data set.
    """
    items: list[tuple[DatasetItem, str]] = []
    for folder in folders:
        try:
            found = scan(data / folder)
        except DatasetError as error:
            raise PackError(str(error)) from error
        tests_known = any(item.official_split == "test" for item in found.items)
        items += [(item, official_split_of(item.official_split, tests_known=tests_known)) for item in found.items]
    results = extract_all([item.path for item, _ in items], workers=workers, faces_per_person=frames)
    for number, ((item, split), people) in enumerate(zip(items, results, strict=True), 1):
        name = f"{item.dataset}/{item.relative}"
        if isinstance(people, str):
            print(f"skipped {name}: {people}", file=sys.stderr)
            continue
        row = CropRow(
            label=int(item.label),
            group=item.identity,
            source=item.dataset,
            donor=item.donor,
            method=item.method,
            split=split,
            origin=original_clip(item),
            video=name,
            compression=item.compression,
            component=one_room(item.dataset, item.path.stem),
        )
        add_people(writer, people, row)
        if number % 10 == 0 or number == len(items):
            print(f"videos: {number}/{len(items)}", flush=True)
