"""People are told apart by their faces: across cuts and dissolves, in grey, and when they return."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ml.config import FaceConfig
from ml.faces.crop import crop_face
from ml.faces.detector import FaceDetector
from ml.faces.extract import Extraction, extract_faces
from ml.faces.recognition.embedding import Embedding, FaceEmbedder
from ml.faces.recognition.identity import MAX_FACES, PROBES, PersonLinker, average_linkage
from ml.faces.tracking import Detection
from tests.ml.clips import portrait, write_clip

Image = NDArray[np.uint8]
FRAMES, SIZE = 60, 192


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


def talking(name: str, number: int) -> Image:
    """A talker's frame of that number."""
    turn = 2 * np.pi * number / 25
    return portrait(name, size=SIZE, roll=3 * np.sin(turn), shift=(2 * np.sin(turn), 0.0), talk=float(np.sin(3 * turn)))


def grey(image: Image) -> Image:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), dtype=np.uint8)


def in_turns(number: int) -> Image:
    return grey(talking("collins" if number // 10 % 2 == 0 else "hopper", number))


def dissolve(number: int) -> Image:
    share = float(np.clip((number - 20) / 20, 0, 1))
    mixed = cv2.addWeighted(talking("collins", number), 1 - share, talking("hopper", number), share, 0)
    return np.asarray(mixed, dtype=np.uint8)


def leaves_and_returns(number: int) -> Image:
    """One person on the left, then a dark title, then the same person, smaller, on the right."""
    picture = np.zeros((SIZE, 2 * SIZE, 3), np.uint8)
    if number < 25:
        picture[:] = (150, 170, 190)
        picture[:, :SIZE] = talking("collins", number)
    elif number >= 30:
        picture[:] = (150, 170, 190)
        picture[:, SIZE:] = portrait("collins", size=SIZE, scale=0.8, light=0.8, talk=float(np.sin(number)))
    return picture


@pytest.mark.parametrize(
    ("picture", "people"),
    [
        (in_turns, ["collins", "hopper"]),
        (dissolve, ["collins", "hopper"]),
        (lambda number: grey(dissolve(number)), ["collins", "hopper"]),
        (leaves_and_returns, ["collins"]),
    ],
    ids=["cuts in grey", "dissolve", "dissolve in grey", "returns elsewhere"],
)
def test_the_faces_say_who_is_who(
    picture: Callable[[int], Image], people: list[str], detector: FaceDetector, tmp_path: Path
) -> None:
    found = extract_faces(write_clip(tmp_path / "clip.mp4", frames=FRAMES, picture=picture), detector=detector)
    assert [len(track.faces) for track in found.tracks] == [10] * len(people)
    assert sorted(_who(found, detector)) == people


def _who(found: Extraction, detector: FaceDetector) -> list[str]:
    """The portrait that is nearest to each person."""
    linker = PersonLinker(detector.embedder, FaceConfig())
    names = ("collins", "hopper")
    known = {}
    for name in names:
        image = portrait(name)
        face = detector.detect([image])[0][0]
        crop = crop_face(image, face.box, face.landmarks, size=224, margin=0.3)
        known[name] = linker.embedding_of([Detection(0, 0.0, face.box, 1.0, crop, face.landmarks)])
    return [min(names, key=lambda n: float(np.linalg.norm(known[n] - track.embedding))) for track in found.tracks]


def test_one_track_costs_four_embeddings_and_two_people_in_one_frame_no_more(tmp_path: Path) -> None:
    detector = FaceDetector()
    embedder = detector.embedder = CountingEmbedder()
    one = write_clip(tmp_path / "one.mp4", frames=30, picture=lambda number: talking("collins", number))
    assert len(extract_faces(one, detector=detector).tracks) == 1
    assert embedder.embedded <= PROBES
    embedder.embedded = 0

    def beside(number: int) -> Image:
        return np.hstack([talking("collins", number), talking("hopper", number + 7)])

    assert (
        len(extract_faces(write_clip(tmp_path / "two.mp4", frames=30, picture=beside), detector=detector).tracks) == 2
    )
    assert embedder.embedded <= 2 * PROBES


class CountingEmbedder(FaceEmbedder):
    embedded = 0

    def embed(self, crop: Image, landmarks: tuple[tuple[float, float], ...]) -> Embedding:
        self.embedded += 1
        return super().embed(crop, landmarks)


class ByColour(FaceEmbedder):
    """Takes the mean colour of a crop for who it is."""

    def embed(self, crop: Image, landmarks: tuple[tuple[float, float], ...]) -> Embedding:
        return np.asarray(crop.mean(axis=(0, 1)) / 100, dtype=np.float32)


def face(number: int, level: int, x: float = 0.0) -> Detection:
    points = ((x + 20, 20.0), (x + 40, 20.0), (x + 30, 30.0), (x + 22, 45.0), (x + 38, 45.0))
    crop = np.full((224, 224, 3), level, np.uint8)
    return Detection(number, number / 25, (x, 0.0, x + 60, 60.0), 0.99, crop, points)


@pytest.fixture
def linker() -> PersonLinker:
    return PersonLinker(ByColour(), FaceConfig())


def numbers(people: list[list[Detection]]) -> list[list[int]]:
    return sorted([d.frame_number for d in person] for person in people)


def test_tracks_of_one_person_are_joined_and_those_of_two_are_not(linker: PersonLinker) -> None:
    first, other = [face(n, 50) for n in (0, 1)], [face(n, 200) for n in (2, 3)]
    again = [face(n, 52) for n in (4, 5)]
    assert numbers(linker.link([first, other, again])) == [[0, 1, 4, 5], [2, 3]]


def test_two_faces_in_one_frame_are_two_people_however_alike(linker: PersonLinker) -> None:
    left, right = [face(n, 50) for n in range(4)], [face(n, 50, x=100.0) for n in range(3, 8)]
    assert numbers(linker.link([left, right])) == [[0, 1, 2, 3], [3, 4, 5, 6, 7]]


def test_a_track_with_two_people_is_split_and_a_poor_view_is_not_another_person(linker: PersonLinker) -> None:
    changing = [face(n, 50 if n < 5 else 200) for n in range(10)]
    assert numbers(linker.link([changing])) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    blurred = [face(n, 200 if n == 9 else 50) for n in range(10)]
    assert numbers(linker.link([blurred])) == [list(range(10))]


def test_what_is_compared_is_bounded(linker: PersonLinker) -> None:
    changing = [face(n, 50 if n % 2 else 200) for n in range(3 * MAX_FACES)]
    assert sum(len(person) for person in linker.link([changing])) == MAX_FACES


def test_average_linkage_joins_the_nearest_first_and_never_what_must_stay_apart() -> None:
    places = np.array([0.0, 0.1, 0.15, 2.0, 2.3])
    distances = np.abs(places[:, None] - places[None])
    assert average_linkage(distances, 0.5) == [[0, 1, 2], [3, 4]]
    distances[1, 2] = distances[2, 1] = np.inf
    assert average_linkage(distances, 0.5) == [[0, 1], [2], [3, 4]]
    assert average_linkage(distances[:1, :1], 0.5) == [[0]]
