"""Same person or not?  `python -m ml.bench.same_person FOLDER`: the embedding's errors on pairs of clips.

FOLDER holds PERSON/CLIP/*.jpg (frames of a clip, or crops of faces) or PERSON/CLIP.mp4; a clip is the mean of its
faces.  Pairs of clips of one person are compared with pairs of other people's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ml.config import FaceConfig
from ml.faces.crop import crop_face, crop_landmarks
from ml.faces.detector import FaceDetector
from ml.faces.extract import extract_faces
from ml.faces.mtcnn.cascade import DetectedFace
from ml.faces.recognition.embedding import Embedding, FaceEmbedder, mean_embedding

PICTURES = {".jpg", ".jpeg", ".png"}
BORDER = 0.25
"""Added around a picture, as a share of its sides: crops of faces have none, and the detector needs one."""
Image = NDArray[np.uint8]
Distances = NDArray[np.float64]


def equal_error(same: Distances, other: Distances) -> tuple[float, float]:
    """Return the equal error rate and its distance: there as many pairs of one person lie beyond as others within."""
    same, other = np.sort(same), np.sort(other)
    distances = np.concatenate([same, other])
    missed = 1 - np.searchsorted(same, distances, side="right") / len(same)
    false = np.searchsorted(other, distances, side="right") / len(other)
    at = int(np.abs(missed - false).argmin())
    return float(missed[at] + false[at]) / 2, float(distances[at])


def compare(clips: Sequence[tuple[str, Embedding]], threshold: float) -> dict[str, Any]:
    """Compare each clip (person, embedding) with each other one.  Raises ValueError without pairs of both kinds."""
    people = np.array([person for person, _ in clips])
    embeddings = np.stack([embedding for _, embedding in clips])
    first, second = (np.array(index) for index in zip(*combinations(range(len(clips)), 2), strict=True))
    apart = np.linalg.norm(embeddings[first] - embeddings[second], axis=1).astype(np.float64)
    alike = people[first] == people[second]
    same, other = apart[alike], apart[~alike]
    if not len(same) or not len(other):
        raise ValueError("this needs two clips of one person, and two people")
    rate, distance = equal_error(same, other)
    return {
        "people": len(set(people)),
        "clips": len(clips),
        "pairs_of_one_person": len(same),
        "pairs_of_others": len(other),
        "equal_error_rate": round(rate, 4),
        "at_distance": round(distance, 3),
        "threshold": threshold,
        "one_person_missed": round(float((same > threshold).mean()), 4),
        "others_taken_for_one": round(float((other <= threshold).mean()), 4),
    }


def embed_picture(path: Path, detector: FaceDetector, embedder: FaceEmbedder) -> Embedding | None:
    """Embed the largest face of a picture, None where there is none or no picture."""
    read = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if read is None:
        return None
    rows, columns = (round(BORDER * side) for side in read.shape[:2])
    bordered = cv2.copyMakeBorder(read, rows, rows, columns, columns, cv2.BORDER_REPLICATE)
    image: Image = np.ascontiguousarray(bordered[..., ::-1], dtype=np.uint8)
    config = detector.config
    faces = [face for face in detector.detect([image])[0] if face.probability >= config.min_probability]
    if not faces:
        return None
    box, _, landmarks = max(faces, key=_area)
    crop = crop_face(image, box, landmarks, size=config.crop_size, margin=config.margin)
    points = crop_landmarks(box, landmarks, size=config.crop_size, margin=config.margin)
    return embedder.embed(crop, points)


def embed_video(path: Path, detector: FaceDetector, embedder: FaceEmbedder) -> list[Embedding]:
    """Embed the faces of the most prominent person of a video."""
    config = detector.config
    tracks = extract_faces(path, detector=detector).tracks
    return [
        embedder.embed(f.crop, crop_landmarks(f.box, f.landmarks, size=config.crop_size, margin=config.margin))
        for f in (tracks[0].faces if tracks else ())
    ]


def embed_clips(folder: Path) -> Iterator[tuple[str, Embedding]]:
    """Yield the person and the embedding of each clip in which a face is found."""
    detector, embedder = FaceDetector(), FaceEmbedder()
    for clip in tqdm(sorted(folder.glob("*/*")), disable=None):
        if clip.is_dir():
            pictures = sorted(path for path in clip.iterdir() if path.suffix.lower() in PICTURES)
            found = [
                embedding for path in pictures if (embedding := embed_picture(path, detector, embedder)) is not None
            ]
        else:
            found = embed_video(clip, detector, embedder)
        if found:
            yield clip.parent.name, mean_embedding(found)


def main() -> int:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m ml.bench.same_person", description=__doc__)
    parser.add_argument("folder", type=Path)
    clips = list(embed_clips(parser.parse_args().folder))
    print(json.dumps(compare(clips, FaceConfig().same_person_distance), indent=2))
    return 0


def _area(face: DetectedFace) -> float:
    x1, y1, x2, y2 = face.box
    return (x2 - x1) * (y2 - y1)


if __name__ == "__main__":
    sys.exit(main())
