"""Tracks into people, by their faces: one person seen again is one, two people in one place are two.

`ml.faces.tracking.link` follows faces by place and colour.  That ends at a cut, and it fails where one person takes
another's place in grey or in a dissolve.  Both are settled here by embeddings, of as few faces as will do: at most
PROBES of a track, all of them only where two probes differ; of several tracks only those that might be one person.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.config import FaceConfig
from ml.faces.crop import crop_landmarks
from ml.faces.recognition.embedding import Embedding, FaceEmbedder, mean_embedding
from ml.faces.tracking import Detection, linspace_indices
from ml.faces.view import lifted
from ml.video.prefetch import parallel_map

PROBES = 4
"""Faces of a track that are embedded: the first, the last and the two neighbours that look least alike."""
MAX_TRACKS = 24
"""Tracks that are compared, the most prominent ones; the others stay as they are."""
MAX_FACES = 60
"""Of a track with two people in it: so many, spread over it, are told apart, the others are left out."""
MIN_CLUSTER = 3
"""Fewer faces that differ from the rest of a track are poor views of the same person."""
NOBODYS = 0.8
"""A face is nobody's whose distance from its own cluster is at least this share of that from another one."""
Track = list[Detection]


class PersonLinker:
    """Links tracks into people.  Embeddings are kept, so that each face is embedded once."""

    def __init__(self, embedder: FaceEmbedder, config: FaceConfig, threads: int = 1) -> None:
        self.embedder, self.config, self.threads = embedder, config, threads
        self._known: dict[int, tuple[Detection, Embedding]] = {}  # by identity; the detection keeps its id taken

    def link(self, tracks: Sequence[Track]) -> list[Track]:
        """Return one list of faces per person, in time order; a face belongs to one at most.

        No two faces of one frame become one person.
        """
        ranked = sorted(tracks, key=lambda t: -sum(d.area for d in t))
        parts = [(number, part) for number, track in enumerate(ranked[:MAX_TRACKS]) for part in self._split(track)]
        return self._merge([part for _, part in parts], np.array([number for number, _ in parts])) + ranked[MAX_TRACKS:]

    def embedding_of(self, person: Track) -> Embedding:
        """Return a person's embedding (128,), the mean of a few faces."""
        return mean_embedding(self._embed(_probes(person)))

    def _embed(self, faces: Sequence[Detection]) -> list[Embedding]:
        new = [face for face in faces if id(face) not in self._known]
        for face, embedding in zip(new, parallel_map(self._embed_one, new, self.threads), strict=True):
            self._known[id(face)] = face, embedding
        return [self._known[id(face)][1] for face in faces]

    def _embed_one(self, face: Detection) -> Embedding:
        size, margin = self.config.crop_size, self.config.margin
        landmarks = crop_landmarks(face.box, face.landmarks, size=size, margin=margin)
        return self.embedder.embed(lifted(face.crop), landmarks)

    def _split(self, track: Track) -> list[Track]:
        """Take a track apart where one person may have taken another's place.

        Faces that are nobody's, as those within a dissolve, are left out.  Parts that are one person after all are
        joined again as other tracks are.
        """
        if len(track) < 2 * MIN_CLUSTER or _diameter(self._embed(_probes(track))) <= self.config.one_track_distance:
            return [track]
        faces = [track[k] for k in linspace_indices(len(track), MAX_FACES)]
        distances = _distances(self._embed(faces))
        clusters = [c for c in average_linkage(distances, self.config.one_view_distance) if len(c) >= MIN_CLUSTER]
        if len(clusters) < 2:
            return [track]
        from_cluster = np.stack([distances[:, cluster].mean(axis=1) for cluster in clusters])  # (clusters, faces)
        parts = [
            [faces[k] for k in own if from_cluster[i, k] < NOBODYS * np.delete(from_cluster[:, k], i).min()]
            for i, own in enumerate(clusters)
        ]
        return [part for part in parts if part]

    def _merge(self, tracks: list[Track], origin: NDArray[np.int64]) -> list[Track]:
        """Join the tracks of one person.  Tracks that share a frame are two people.

        Parts of one track (equal `origin`) have been seen to differ: they must be nearer to be joined again.
        """
        frames = [{face.frame_number for face in track} for track in tracks]
        apart = np.array([[bool(a & b) for b in frames] for a in frames])
        if apart.all():
            return tracks  # each shares a frame with itself
        lone = apart.all(axis=1)
        distances = np.full(apart.shape, np.inf)
        some = np.flatnonzero(~lone)
        means = [self.embedding_of(tracks[k]) for k in some]
        distances[np.ix_(some, some)] = _distances(means)
        parted = origin[:, None] == origin[None]
        distances[parted] *= self.config.same_person_distance / self.config.one_view_distance
        distances[apart] = np.inf
        groups = average_linkage(distances, self.config.same_person_distance)
        return [sorted((f for k in group for f in tracks[k]), key=lambda f: f.frame_number) for group in groups]


def average_linkage(distances: NDArray[np.float64], most: float) -> list[list[int]]:
    """Cluster by mean distance until no two clusters are within `most`; infinite distances are never joined."""
    clusters = [[k] for k in range(len(distances))]
    between = np.array(distances, dtype=np.float64)
    np.fill_diagonal(between, np.inf)
    while len(clusters) > 1 and between.min() <= most:
        i, j = sorted(int(k) for k in np.unravel_index(int(between.argmin()), between.shape))
        a, b = len(clusters[i]), len(clusters[j])
        between[i] = between[:, i] = (a * between[i] + b * between[j]) / (a + b)
        between[i, i] = np.inf
        between = np.delete(np.delete(between, j, axis=0), j, axis=1)
        clusters[i] += clusters.pop(j)
    return [sorted(cluster) for cluster in clusters]


def _probes(track: Track) -> list[Detection]:
    if len(track) <= PROBES:
        return track
    small = [_thumbnail(face) for face in track]
    seam = int(np.argmin([float((a * b).sum()) for a, b in pairwise(small)]))
    return [track[k] for k in sorted({0, seam, seam + 1, len(track) - 1})]


def _thumbnail(face: Detection) -> NDArray[np.float32]:
    """16 x 16 grey levels of the face, without their mean and contrast: product 1 for equal ones."""
    side = len(face.crop)
    inner = face.crop[side // 6 : -side // 6, side // 6 : -side // 6]
    grey = cv2.resize(cv2.cvtColor(inner, cv2.COLOR_RGB2GRAY), (16, 16), interpolation=cv2.INTER_AREA)
    levels = np.asarray(grey, dtype=np.float32)
    levels -= levels.mean()
    return levels / max(float(np.linalg.norm(levels)), 1e-6)


def _distances(embeddings: Sequence[Embedding]) -> NDArray[np.float64]:
    stacked = np.stack(embeddings).astype(np.float64)
    return np.asarray(np.linalg.norm(stacked[:, None] - stacked[None], axis=2))


def _diameter(embeddings: Sequence[Embedding]) -> float:
    return max((float(np.linalg.norm(a - b)) for a, b in combinations(embeddings, 2)), default=0.0)
