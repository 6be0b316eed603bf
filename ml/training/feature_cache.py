"""Cache the features of crops on disk, so that retraining the heads on a frozen backbone takes seconds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml.data.erasure import owner_folder
from ml.model.network import FaceSequenceClassifier
from ml.progress import ProgressCallback
from ml.training.frame_stage import frame_features

CHUNK = 64
"""Sequences computed, then stored: what a kill costs at most."""


@dataclass(frozen=True)
class Crops:
    """A run of crops whose features are wanted together; equal `key` means equal pixels."""

    key: str
    count: int
    load: Callable[[int], NDArray[np.uint8]]
    """Gives crop 0 .. count - 1, RGB."""
    video: str = ""
    """Whose faces they are: the features of a video lie together, so that they can be removed with it."""


def _load_at(places: Sequence[tuple[Crops, int]], n: int) -> NDArray[np.uint8]:
    item, k = places[n]
    return item.load(k)


def backbone_sha256(model: FaceSequenceClassifier) -> str:
    """Return the hex digest of everything but the crops that features depend on: backbone weights and preprocessing."""
    c = model.config
    preprocessing = (c.backbone, c.members, c.input_size, c.mean, c.std, c.alignment.value)
    digest = hashlib.sha256(str(preprocessing).encode())
    for name, tensor in sorted(model.backbone.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


class FeatureCache:
    """One file per sequence below `folder`, in a folder per backbone; any number of processes may use it."""

    def __init__(self, folder: Path, model: FaceSequenceClassifier) -> None:
        self.folder = folder / backbone_sha256(model)[:24]
        self.model = model

    def get(self, wanted: Sequence[Crops], *, on_progress: ProgressCallback | None = None) -> list[Tensor]:
        """Return features (count, F) float32 of each run, computing what is missing.

        Values are rounded to half precision, so that a first and a second reading give the same numbers.
        """
        found = [self._read(item) for item in wanted]
        missing = [k for k, features in enumerate(found) if features is None]
        for start in range(0, len(missing), CHUNK):
            chunk = [(k, wanted[k]) for k in missing[start : start + CHUNK]]
            if on_progress:
                on_progress(f"features of {len(missing)} sequences", start / len(missing))
            for (k, item), features in zip(chunk, self._computed([item for _, item in chunk]), strict=True):
                self._write(item, features)
                found[k] = features.float()
        return [features for features in found if features is not None]

    def _computed(self, items: Sequence[Crops]) -> Sequence[Tensor]:
        """Return features (count, F) float16 of each run."""
        if self.model.together:
            return [frame_features(self.model, item.load, item.count, batch=item.count).half() for item in items]
        places = [(item, i) for item in items for i in range(item.count)]
        return frame_features(self.model, partial(_load_at, places), len(places)).half().split([i.count for i in items])

    def _path(self, item: Crops) -> Path:
        return self.folder / owner_folder(item.video) / item.key[:2] / f"{item.key}.npy"

    def _read(self, item: Crops) -> Tensor | None:
        try:
            stored = np.load(self._path(item), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        if stored.shape != (item.count, self.model.config.feature_dim):
            return None
        return torch.from_numpy(stored.astype(np.float32))

    def _write(self, item: Crops, features: Tensor) -> None:
        path = self._path(item)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as handle:
            np.save(handle, features.numpy())
        partial.replace(path)
