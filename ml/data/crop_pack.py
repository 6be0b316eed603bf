"""A pack: one safetensors file with face crops and their labels, all that training reads.

A pack has three byte tensors (memory-mapped, no pickle): `blob`, the encoded images end to end (JPEG as the data set
had it, or PNG for crops cut by the product's own extraction); `offsets`, int64, where each begins; `table`, the rows as
JSON, column by column.  Some have a fourth, `landmarks` (N, 68, 2) float16.  A crop is read as (H, W, 3) uint8 **RGB**.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from ml.config import Label

PACK_VERSION = "1"
SPOOL_BYTES = 64 * 1024 * 1024
LANDMARKS, LANDMARK_BATCH = 68, 64
Points = NDArray[np.float32]


class PackError(Exception):
    """The file is not a pack, or a row cannot be used; the message says why."""


@dataclass(frozen=True)
class CropRow:
    """Labels and origin of one crop.  Empty strings mean unknown or not applicable."""

    label: int
    group: str
    """Identity, or source clip where the identity is unknown.  Splits go by it, never by file."""
    source: str
    """Data set, such as `dfdc` or `ffpp`.  Labels are balanced within it."""
    donor: str = ""
    """A fake's second identity (the pasted face); it stays on the same side of a split as `group`."""
    method: str = ""
    """Forgery method, such as `Deepfakes`."""
    split: str = ""
    """`train`, `val` or `holdout` where it is settled."""
    sequence: str = ""
    """The person in one video whose crops belong together; empty for single crops."""
    order: int = 0
    """Place of the crop in its sequence, in time order."""
    origin: str = ""
    """The clip the crop was made from: a fake and its real original share it."""
    video: str = ""
    """Names the video that a sequence belongs to; all its people together get one verdict."""
    compression: str = ""
    height: int = 0
    """Height of the frame in pixels; 0 if unknown."""
    face_px: float = 0.0
    """Longer side of the face's box, pixels of the full frame; 0 where unknown."""
    component: str = ""
    """People who are linked, where whoever made the pack knows more than `group` and `donor` say."""
    segment: int = 0
    """Of a long video; its verdict is made from those of its segments (`ml.model.decision`)."""


def decode_crop(encoded: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """Decode an image file's bytes into (H, W, 3) uint8 RGB.  Raises PackError, which calls the crop by `name`."""
    bgr = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    if bgr is None:
        raise PackError(f"{name} cannot be decoded")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _find_landmarks(
    missing: Sequence[int],
    crop: Callable[[int], NDArray[np.uint8]],
    on_progress: Callable[[float], None] | None = None,
) -> Iterator[tuple[int, Points]]:
    """Yield the landmarks of each missing crop, found in batches."""
    from ml.faces.landmarks import face_landmarks  # brings ONNX Runtime, which reading a pack does not need

    for start in range(0, len(missing), LANDMARK_BATCH):
        some = missing[start : start + LANDMARK_BATCH]
        yield from zip(some, face_landmarks([crop(i) for i in some], batch=LANDMARK_BATCH), strict=True)
        if on_progress:
            on_progress(start / len(missing))


class PackWriter:
    """Collect encoded crops and rows, and write them as one file; images wait on disk, not in memory."""

    def __init__(self) -> None:
        self._images = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115 (closed with the writer)
        self._lengths: list[int] = []
        self._rows: list[CropRow] = []
        self._landmarks: list[Points | None] = []

    def add_encoded(self, image: bytes, row: CropRow, landmarks: Points | None = None) -> None:
        """Add a JPEG or PNG file's bytes, kept as they are: compression is part of the evidence.

        `landmarks` are the face's 68 points (68, 2) in pixels of the crop, where they have been looked for.
        """
        Label(row.label)  # refuses anything but 0 and 1
        self._images.write(image)
        self._lengths.append(len(image))
        self._rows.append(row)
        self._landmarks.append(landmarks)

    def add_crop(self, crop: NDArray[np.uint8], row: CropRow) -> None:
        """Add a crop, (H, W, 3) uint8 RGB, stored lossless."""
        ok, encoded = cv2.imencode(".png", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
        if not ok:
            raise PackError("a crop could not be encoded as PNG")
        self.add_encoded(encoded.tobytes(), row)

    def find_landmarks(self) -> None:
        """Find the landmarks of every crop that has none, so that they are written with it."""
        starts = np.concatenate([[0], np.cumsum(self._lengths)])

        def crop(i: int) -> NDArray[np.uint8]:
            self._images.seek(int(starts[i]))
            return decode_crop(np.frombuffer(self._images.read(self._lengths[i]), np.uint8), f"crop {i}")

        missing = [i for i, points in enumerate(self._landmarks) if points is None]
        for i, points in _find_landmarks(missing, crop):
            self._landmarks[i] = points
        self._images.seek(0, os.SEEK_END)

    def write(self, path: Path) -> Path:
        """Write the file atomically and return its path.  Raises PackError without any crop."""
        if not self._rows:
            raise PackError("the pack would be empty: no crop was found.")
        columns = {f.name: [getattr(row, f.name) for row in self._rows] for f in fields(CropRow)}
        offsets = np.concatenate([[0], np.cumsum(self._lengths)]).astype("<i8").tobytes()
        table = json.dumps(columns).encode()
        unknown = np.full((LANDMARKS, 2), np.nan, np.float32)
        landmarks = b""
        if any(points is not None for points in self._landmarks):
            known = [unknown if points is None else points for points in self._landmarks]
            landmarks = np.stack(known).astype("<f2").tobytes()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(path.suffix + ".partial")
        with partial.open("wb") as out:
            out.write(
                _header(
                    len(self._rows), landmarks=len(landmarks), offsets=len(offsets), table=len(table),
                    blob=sum(self._lengths),
                )
            )  # fmt: skip
            out.write(landmarks)
            out.write(offsets)
            out.write(table)
            self._images.seek(0)
            shutil.copyfileobj(self._images, out, 1024 * 1024)
        partial.replace(path)
        return path


def _header(rows: int, *, landmarks: int, offsets: int, table: int, blob: int) -> bytes:
    """Return a safetensors header for parts of these sizes; the library would need every tensor in memory at once."""
    parts = {
        "landmarks": ("F16", [rows, LANDMARKS, 2], landmarks),
        "offsets": ("I64", [offsets // 8], offsets),
        "table": ("U8", [table], table),
        "blob": ("U8", [blob], blob),
    }
    body: dict[str, object] = {"__metadata__": {"pack_version": PACK_VERSION}}
    end = 0
    for name, (dtype, shape, size) in parts.items():
        if size or name != "landmarks":
            body[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
            end += size
    encoded = json.dumps(body).encode()
    encoded += b" " * (-len(encoded) % 8)
    return len(encoded).to_bytes(8, "little") + encoded


class Pack:
    """A pack opened for reading; images are memory-mapped and decoded one at a time.

    `pack.rows[i]` is a row and `pack.crop(i)` its crop.  Safe to pass to forked loader processes.
    """

    def __init__(self, path: Path) -> None:
        try:
            with safe_open(str(path), framework="pt") as handle:
                version = (handle.metadata() or {}).get("pack_version")
                if version != PACK_VERSION:
                    raise PackError(f"{path.name} is not a pack of version {PACK_VERSION} (found {version}).")
                self._blob = handle.get_tensor("blob").numpy()
                self._offsets = handle.get_tensor("offsets").numpy()
                columns = json.loads(handle.get_tensor("table").numpy().tobytes())
                stored = set(handle.keys())
                points = handle.get_tensor("landmarks").float().numpy() if "landmarks" in stored else None
        except (SafetensorError, OSError, ValueError) as error:
            raise PackError(f"{path.name} cannot be read as a pack: {error}") from error
        self.path = path
        names = [f.name for f in fields(CropRow) if f.name in columns]  # older packs know less
        self.rows: list[CropRow] = [
            CropRow(**dict(zip(names, values, strict=True)))
            for values in zip(*(columns[name] for name in names), strict=True)
        ]
        self._landmarks: Points = (
            np.full((len(self.rows), LANDMARKS, 2), np.nan, np.float32) if points is None else points
        )

    def __len__(self) -> int:
        return len(self.rows)

    def crop(self, index: int) -> NDArray[np.uint8]:
        """Return crop `index`, (H, W, 3) uint8 RGB.  Raises PackError if the stored bytes are no image."""
        data = self._blob[self._offsets[index] : self._offsets[index + 1]]
        return decode_crop(data, f"crop {index} of {self.path.name}")

    def landmarks(self, indices: Sequence[int], *, on_progress: Callable[[float], None] | None = None) -> Points:
        """Return the 68 landmarks of these crops, (N, 68, 2) float32 in pixels of each.

        What the file lacks is computed now, some hundred crops a second, and kept in memory; `on_progress` is told how
        far that is, 0 to 1.
        """
        missing = [i for i in indices if np.isnan(self._landmarks[i, 0, 0])]
        for i, points in _find_landmarks(missing, self.crop, on_progress):
            self._landmarks[i] = points
        return self._landmarks[list(indices)]

    def encoded(self, index: int) -> bytes:
        """Return the image file's bytes."""
        return self._blob[self._offsets[index] : self._offsets[index + 1]].tobytes()

    def labels(self) -> NDArray[np.int64]:
        """Return the labels, (N,) int64 of `ml.config.Label`."""
        return np.array([row.label for row in self.rows], dtype=np.int64)

    def sequences(self) -> dict[str, list[int]]:
        """Map each sequence id to the indices of its crops in time order."""
        found: dict[str, list[int]] = {}
        for index, row in enumerate(self.rows):
            if row.sequence:
                found.setdefault(row.sequence, []).append(index)
        return {name: sorted(indices, key=lambda i: self.rows[i].order) for name, indices in found.items()}

    def singles(self) -> list[int]:
        """Return the indices of crops that belong to no sequence."""
        return [index for index, row in enumerate(self.rows) if not row.sequence]

    def content_sha256(self) -> str:
        """Return the hex SHA-256 over rows and images, which weights carry as the hash of their training data."""
        digest = hashlib.sha256()
        for index, row in enumerate(self.rows):
            digest.update(json.dumps(asdict(row), sort_keys=True).encode())
            digest.update(self.encoded(index))
        return digest.hexdigest()
