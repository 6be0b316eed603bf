"""Is it a face at all?  Patterns and drawings pass the detector, and their embeddings give them away.

A linear rule on the embedding of a track (`ml.faces.recognition.embedding`): `tests/ml/not_a_face_fit.py` fitted it on
drawn patterns and faces that MTCNN takes for people, against faces of video and photos, small, dark and grey ones too.
Error rates: docs/measurements.md#no-face-at-all.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from ml.faces.recognition.embedding import Embedding

WEIGHTS = Path(__file__).parents[2] / "pretrained" / "not_a_face.safetensors"


@cache
def _rule() -> tuple[NDArray[np.float32], float]:
    tensors = load_file(WEIGHTS)
    return tensors["weight"], float(tensors["bias"][0])


def is_face(embedding: Embedding) -> bool:
    """Return whether an embedding (128,), best the mean of several crops, is that of a face."""
    weight, bias = _rule()
    return float(embedding @ weight) + bias > 0
