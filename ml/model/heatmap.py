"""Occlusion maps (Zeiler and Fergus, ECCV 2014): where the score of each face comes from.

Each cell of the network's input is covered in turn with the face's mean grey; the map is by how much that lowers the
FAKE margin of the whole sequence.  So a map shows what moved the score, not what is forged.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml.config import Label
from ml.faces.alignment import Matrix
from ml.model.inference import Classifier, Crop
from ml.model.preprocessing import crops_to_tensor, input_matrices

STRENGTH = 0.6
"""Share of the colour in a blended pixel where the map is 1."""
CELLS = 6
"""A map has so many cells on each side: each costs a pass of the network."""
BATCH = 64
"""Covered faces that go through the network together."""


@torch.inference_mode()
def face_heatmaps(classifier: Classifier, crops: Sequence[Crop]) -> list[NDArray[np.float32]]:
    """Return a map, float32 (H, W) from 0 to 1, for each RGB crop of one person in time order.

    The sequence shares one scale: 1 is the strongest cell of all its faces, so a face that hardly counted stays dark.
    All
    are 0 if nothing speaks for FAKE.  Raises ValueError without a crop.
    """
    if not crops:
        raise ValueError("a sequence needs at least one face")
    config = classifier.info.config
    matrices = input_matrices(crops, config)
    frames = crops_to_tensor(crops, config, matrices).to(classifier.device)  # (T, 3, S, S)
    features = classifier.features_of(frames)  # (T, F)
    base = float(_margins(classifier, features[None])[0])
    drops = np.zeros((len(crops), CELLS * CELLS), np.float32)
    for t, frame in enumerate(frames):
        covered = _covered(frame)  # (CELLS * CELLS, 3, S, S)
        changed = torch.cat([classifier.features_of(part) for part in covered.split(BATCH)])  # (CELLS * CELLS, F)
        sequences = features.repeat(len(changed), 1, 1)  # (CELLS * CELLS, T, F)
        sequences[:, t] = changed
        drops[t] = base - _margins(classifier, sequences).cpu().numpy()
    raw = np.maximum(drops, 0).reshape(-1, CELLS, CELLS)
    top = float(raw.max())
    # What the rounding of the network's arithmetic moves is no evidence.
    scaled = raw / top if np.isfinite(top) and top > 1e-4 else np.zeros_like(raw)
    return [
        _over_crop(one, crop, matrix, config.input_size)
        for one, crop, matrix in zip(scaled, crops, matrices, strict=True)
    ]


def _margins(classifier: Classifier, sequences: Tensor) -> Tensor:
    """(B, T, F) -> the sequences' logit differences FAKE minus REAL, (B,)."""
    lengths = torch.full((len(sequences),), sequences.shape[1])
    logits, _ = classifier.model.classify_features(sequences, lengths)
    return logits[:, Label.FAKE] - logits[:, Label.REAL]


def _covered(frame: Tensor) -> Tensor:
    """(3, S, S) -> (CELLS * CELLS, 3, S, S): each with another cell in the frame's mean grey, row by row."""
    side = frame.shape[-1]
    edges = [round(k * side / CELLS) for k in range(CELLS + 1)]
    copies = frame.repeat(CELLS * CELLS, 1, 1, 1)
    grey = frame.mean()
    for row in range(CELLS):
        for column in range(CELLS):
            cell = copies[row * CELLS + column]
            cell[:, edges[row] : edges[row + 1], edges[column] : edges[column + 1]] = grey
    return copies


def blend(crop: Crop, heatmap: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the map as colour over its RGB crop, (H, W, 3) uint8 RGB; unchanged where the map is 0.

    Raises ValueError if the sizes differ.
    """
    if crop.shape[:2] != heatmap.shape:
        raise ValueError(f"a map of {heatmap.shape} does not lie over a crop of {crop.shape[:2]}")
    levels = np.rint(heatmap * 255).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    share = STRENGTH * heatmap[..., None]
    return np.asarray(np.rint(crop * (1 - share) + colours * share), dtype=np.uint8)


def _over_crop(small: NDArray[np.float32], crop: Crop, matrix: Matrix, size: int) -> NDArray[np.float32]:
    """Lay a map of a few cells of the network's input over the crop that the input was cut from.

    Cubic, as straight lines would draw edges that are not there; 0 where the network saw nothing of the crop.
    """
    height, width = crop.shape[:2]
    seen = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
    large = cv2.warpAffine(seen, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return np.clip(np.asarray(large, dtype=np.float32), 0.0, 1.0)
