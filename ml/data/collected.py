"""Pack crops, photos and videos listed in a CSV file: columns path, label, set, method, group, original, kind, split.

`kind` is crop (packed as it is), image (its largest face is cropped) or video.  `set` says where a file is from; sets
with images of one kind share a source, within which reals and forgeries are compared.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.config import FaceConfig, Label
from ml.data.crop_pack import CropRow, PackError, PackWriter
from ml.data.extract_sequences import add_people, extract_all
from ml.data.prepare import judging_splits
from ml.data.splits import TRAIN, VAL
from ml.faces.crop import crop_face
from ml.faces.detector import FaceDetector
from ml.video.frame import downscale

SOURCES = {
    "dfdc": "dfdc",
    "DFDC": "dfdc",
    "YouTube Faces (Udacity keypoints)": "ytf",
    "140k real and fake faces": "stylegan",
    "Hard fake-vs-real (Kaggle hamzaboulahia)": "stylegan",
    "VoxCeleb2 (PC-AVS samples)": "voxceleb",
    "FFHQ-like web faces": "ffhq",
    "AMFD studio portraits": "amfd",
    "AniTalker results": "talker",
    "VASA-1 demos": "talker",
    "EMO demos": "talker",
    "MEAD/RAVDESS/in-the-wild (ImaginTalk GT)": "talker",
    "web clips": "talker",
    "HDTF (SadTalker samples)": "talker",
    "LRW-like / web": "talker",
    "HDTF (V-Express)": "talker",
    "HDTF-like": "talker",
    "VoxCeleb (DaGAN driving)": "talker",
    "FaceForensics++": "ffppframes",
    "Celeb-DF v2": "celebcrops",
    "Celeb-DF v2 frames": "celebcrops",
}
"""Set -> source; a set that is not named here is a source of its own."""
MIN_FACE_SHARE = 0.1
"""Smallest face looked for in a photo, as a share of its shorter side."""


def add_collected(writer: PackWriter, sources: Path, folder: Path, *, frames: int, workers: int = 1) -> None:
    """Add every file of `sources` that lies below `folder` as REPOSITORY/PATH, with "+" for the repository's "/".

    `frames` faces are taken of each person of a video.  Files that are not there are counted and left out.  Raises
    PackError when the CSV lacks a column or has an unknown label.
    """
    rows, missing = _read(sources, folder)
    if missing:
        print(f"{sources.name}: {missing} files are not in {folder}", file=sys.stderr)
    detector = FaceDetector(config=FaceConfig())
    videos = [(path, row) for path, kind, row in rows if kind == "video"]
    for path, kind, row in rows:
        if kind == "crop":
            writer.add_encoded(path.read_bytes(), row)
        elif kind == "image" or kind == "frame":
            found = largest_face(path, detector)
            if found is not None:
                writer.add_crop(found[0], replace(row, face_px=found[1]))
    results = extract_all([path for path, _ in videos], workers=workers, faces_per_person=frames)
    for (path, row), people in zip(videos, results, strict=True):
        if isinstance(people, str):
            print(f"skipped {path.name}: {people}", file=sys.stderr)
        else:
            add_people(writer, people, row)


def largest_face(path: Path, detector: FaceDetector) -> tuple[NDArray[np.uint8], float] | None:
    """Cut the largest sure face out of a photo as extraction does.

    Return (S, S, 3) uint8 RGB and the longer side of its box in pixels, or None where there is none.
    """
    bgr = cv2.imread(str(path))
    if bgr is None:
        return None
    image = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    config = detector.config
    small = downscale(image, config.detect_long_side)
    scale = image.shape[1] / small.shape[1]
    smallest = max(config.min_face_detect, round(MIN_FACE_SHARE * min(small.shape[:2])))
    (found,) = detector.detect([small], min_face=smallest)
    sure = [face for face in found if face.probability >= config.min_track_mean_probability]
    if not sure:
        return None
    face = max(sure, key=lambda face: (face.box[2] - face.box[0]) * (face.box[3] - face.box[1]))
    x1, y1, x2, y2 = (side * scale for side in face.box)
    landmarks = tuple((x * scale, y * scale) for x, y in face.landmarks)
    crop = crop_face(image, (x1, y1, x2, y2), landmarks, size=config.crop_size, margin=config.margin)
    return crop, max(x2 - x1, y2 - y1)


def _read(sources: Path, folder: Path) -> tuple[list[tuple[Path, str, CropRow]], int]:
    """Return (path, kind, what is known) of each file that is there, and how many are not."""
    try:
        with sources.open(newline="") as handle:
            given = list(csv.DictReader(handle))
        judged = {
            name: judging_splits(row["group"] for row in given if row["split"] == VAL and row["set"] == name)
            for name in {row["set"] for row in given}
        }
        rows = [(folder / row["repo"].replace("/", "+") / row["path"], row["kind"], _row(row, judged)) for row in given]
    except (KeyError, UnicodeDecodeError, csv.Error) as error:
        raise PackError(f"{sources.name} is not a list of sources: {error}") from error
    there = [row for row in rows if row[0].is_file()]
    return there, len(rows) - len(there)


def _row(row: dict[str, str], judged: dict[str, dict[str, str]]) -> CropRow:
    label = Label[row["label"]]
    source = SOURCES.get(row["set"], row["set"])
    return CropRow(
        label=int(label),
        group=row["group"] or source,
        source=source,
        method=row["method"] if label == Label.FAKE else "",
        # What has no split of its own trains: its people cannot be told apart well enough to be judged by.
        split=judged[row["set"]].get(row["group"], TRAIN),
        origin=row["original"] or Path(row["path"]).stem,
        video=row["path"] if row["kind"] == "video" else "",
    )
