"""One packed file of face crops: what training reads, and all that a bare GPU machine needs to be sent.

A pack is a safetensors file (no pickle, memory-mapped) with three byte tensors: `blob`, the encoded images end to end
(JPEG as the data set had it, or PNG for crops that the product's own extraction cut); `offsets`, int64, where each
begins; `table`, the rows as JSON, column by column.  A crop comes out as (H, W, 3) uint8 **RGB**.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from ml.config import Label

PACK_VERSION = "1"
SPOOL_BYTES = 64 * 1024 * 1024


class PackError(Exception):
    """The file is not a pack, or a row in it cannot be used; the message says why."""


@dataclass(frozen=True)
class CropRow:
    """What is known of one crop.  Empty strings mean: not known, or not applicable."""

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
    """Of the frame, pixels; 0 where unknown."""
    face_px: float = 0.0
    """Longer side of the face's box, pixels of the full frame; 0 where unknown."""
    component: str = ""
    """People who are linked, where whoever made the pack knows more than `group` and `donor` say."""


class PackWriter:
    """Collects encoded crops and rows, and writes the file at once.  Images wait on disk, not in memory."""

    def __init__(self) -> None:
        self._images = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115 (closed with the writer)
        self._lengths: list[int] = []
        self._rows: list[CropRow] = []

    def add_encoded(self, image: bytes, row: CropRow) -> None:
        """`image` is a JPEG or PNG file's bytes, kept as they are: compression is part of the evidence."""
        Label(row.label)  # refuses anything but 0 and 1
        self._images.write(image)
        self._lengths.append(len(image))
        self._rows.append(row)

    def add_crop(self, crop: NDArray[np.uint8], row: CropRow) -> None:
        """`crop` is (H, W, 3) uint8 RGB, stored lossless."""
        ok, encoded = cv2.imencode(".png", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
        if not ok:
            raise PackError("a crop could not be encoded as PNG")
        self.add_encoded(encoded.tobytes(), row)

    def write(self, path: Path) -> Path:
        """Atomic.  Raises PackError when there is nothing to write."""
        if not self._rows:
            raise PackError("the pack would be empty: no crop was found.")
        columns = {f.name: [getattr(row, f.name) for row in self._rows] for f in fields(CropRow)}
        offsets = np.concatenate([[0], np.cumsum(self._lengths)]).astype("<i8").tobytes()
        table = json.dumps(columns).encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(path.suffix + ".partial")
        with partial.open("wb") as out:
            out.write(_header(offsets=len(offsets), table=len(table), blob=sum(self._lengths)))
            out.write(offsets)
            out.write(table)
            self._images.seek(0)
            shutil.copyfileobj(self._images, out, 1024 * 1024)
        partial.replace(path)
        return path


def _header(*, offsets: int, table: int, blob: int) -> bytes:
    """A safetensors header; written here because the library wants every tensor in memory at once."""
    ends = np.cumsum([0, offsets, table, blob]).tolist()
    body: dict[str, object] = {"__metadata__": {"pack_version": PACK_VERSION}}
    shapes = {"offsets": ("I64", [offsets // 8]), "table": ("U8", [table]), "blob": ("U8", [blob])}
    for k, (name, (dtype, shape)) in enumerate(shapes.items()):
        body[name] = {"dtype": dtype, "shape": shape, "data_offsets": [ends[k], ends[k + 1]]}
    encoded = json.dumps(body).encode()
    encoded += b" " * (-len(encoded) % 8)
    return len(encoded).to_bytes(8, "little") + encoded


class Pack:
    """A pack opened for reading; images are memory-mapped and decoded one at a time.

    Rows can be read as `pack.rows[i]`, crops as `pack.crop(i)`.  Safe to hand to forked loader processes.
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
        except (SafetensorError, OSError, ValueError) as error:
            raise PackError(f"{path.name} cannot be read as a pack: {error}") from error
        self.path = path
        names = [f.name for f in fields(CropRow) if f.name in columns]  # older packs know less
        self.rows: list[CropRow] = [
            CropRow(**dict(zip(names, values, strict=True)))
            for values in zip(*(columns[name] for name in names), strict=True)
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def crop(self, index: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB.  Raises PackError when the stored bytes are no image."""
        data = self._blob[self._offsets[index] : self._offsets[index + 1]]
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR)
        if bgr is None:
            raise PackError(f"crop {index} of {self.path.name} cannot be decoded")
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def encoded(self, index: int) -> bytes:
        """The image file's bytes."""
        return self._blob[self._offsets[index] : self._offsets[index + 1]].tobytes()

    def labels(self) -> NDArray[np.int64]:
        return np.array([row.label for row in self.rows], dtype=np.int64)

    def sequences(self) -> dict[str, list[int]]:
        """Sequence id -> indices of its crops in time order."""
        found: dict[str, list[int]] = {}
        for index, row in enumerate(self.rows):
            if row.sequence:
                found.setdefault(row.sequence, []).append(index)
        return {name: sorted(indices, key=lambda i: self.rows[i].order) for name, indices in found.items()}

    def singles(self) -> list[int]:
        """Indices of the crops that belong to no sequence."""
        return [index for index, row in enumerate(self.rows) if not row.sequence]

    def content_sha256(self) -> str:
        """Hex digest over rows and images: the training data's hash that weights carry."""
        digest = hashlib.sha256()
        for index, row in enumerate(self.rows):
            digest.update(json.dumps(asdict(row), sort_keys=True).encode())
            digest.update(self.encoded(index))
        return digest.hexdigest()
