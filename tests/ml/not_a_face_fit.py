"""Fits the rule that tells faces from patterns: `python -m tests.ml.not_a_face_fit FOLDER`.

FOLDER holds pictures of faces (*.jpg, anywhere below it).  Every fourth is taken as it is, every fourth reduced to 14
to 40 pixels, every fourth grey and dimmed or brightened.  The patterns are drawn (`tests.ml.patterns`), and of
each what a detector with lowered thresholds takes for faces.  Prints the errors of a cross-validation.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from ml.config import FaceConfig
from ml.faces.crop import crop_face, crop_landmarks
from ml.faces.detector import FaceDetector
from ml.faces.recognition.embedding import Embedding
from ml.faces.recognition.not_a_face import WEIGHTS
from tests.ml.patterns import damask, drawn_face, tiles

Image = NDArray[np.uint8]
DRAWN = ((damask, 150, 3), (drawn_face, 190, 1), (tiles, 210, 2))
"""What is drawn, how often, and how many detections of each picture are taken."""
CAUTION = 0.5
"""Added to the rule's score, in log-odds: a face lost is worse than a pattern kept."""


def patterns() -> Iterator[Embedding]:
    """Yield embeddings of what a detector sees in drawn patterns."""
    rng = np.random.default_rng(1)
    detector = FaceDetector(config=FaceConfig(mtcnn_thresholds=(0.5, 0.5, 0.5), min_probability=0.7))
    for draw, count, most in DRAWN:
        for number in range(count):
            picture = draw(rng)
            if number % 5 < 2:
                picture = np.asarray(cv2.GaussianBlur(picture, (5, 5), 0), dtype=np.uint8)
            yield from _embedded(detector, picture, most)


def faces(folder: Path) -> Iterator[Embedding]:
    """Yield embeddings of the faces in the pictures of a folder."""
    rng = np.random.default_rng(2)
    detector = FaceDetector()
    for number, path in enumerate(sorted(folder.rglob("*.jpg"))):
        read = cv2.imread(str(path))
        if read is None:
            continue
        border = read.shape[0] // 4
        read = cv2.copyMakeBorder(read, border, border, border, border, cv2.BORDER_REPLICATE)
        yield from _embedded(detector, np.ascontiguousarray(read[..., ::-1], dtype=np.uint8), 1, number % 4, rng)


def _embedded(
    detector: FaceDetector, picture: Image, most: int, change: int = 0, rng: np.random.Generator | None = None
) -> Iterator[Embedding]:
    size, margin = detector.config.crop_size, detector.config.margin
    found = detector.detect([picture])[0]
    for box, probability, landmarks in found[:most]:
        if probability < detector.config.min_probability:
            continue
        crop: Any = crop_face(picture, box, landmarks, size=size, margin=margin)
        if rng is not None and change == 1:
            side = int(rng.integers(14, 40))
            crop = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
            crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_CUBIC)
        elif rng is not None and change == 2:
            crop = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            crop = cv2.convertScaleAbs(crop, alpha=float(rng.uniform(0.15, 1.2)))
        points = crop_landmarks(box, landmarks, size=size, margin=margin)
        yield detector.embedder.embed(np.asarray(crop, dtype=np.uint8), points)


def main(folder: Path) -> None:
    """Fit, print the errors and write the rule."""
    negative, positive = list(patterns()), list(faces(folder))
    x, y = np.stack(negative + positive), np.repeat([0, 1], [len(negative), len(positive)])
    rule = LogisticRegression(C=30, class_weight="balanced", max_iter=5000)
    scores = cross_val_predict(rule, x, y, cv=5, method="decision_function") + CAUTION
    kept, lost = float((scores[y == 0] > 0).mean()), float((scores[y == 1] <= 0).mean())
    print(f"{len(negative)} patterns, {kept:.1%} taken for faces; {len(positive)} faces, {lost:.1%} taken for patterns")
    rule.fit(x, y)
    bias = np.asarray(rule.intercept_ + CAUTION, dtype=np.float32)
    save_file({"weight": rule.coef_[0].astype(np.float32), "bias": bias}, str(WEIGHTS))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
