"""Faces, people and crops, on the demo clips and on clips built from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from ml.config import FaceConfig
from ml.faces.crop import crop_face
from ml.faces.detector import FaceDetector, rejection
from ml.faces.extract import Extraction, extract_faces
from ml.faces.mtcnn.cascade import DetectedFace
from ml.faces.tracking import Detection, link, linspace_indices
from tests.ml.clips import DEMO, faces_of, write_clip


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


@pytest.fixture(scope="module")
def one_person(detector: FaceDetector) -> Extraction:
    return extract_faces(DEMO / "one-person.mp4", detector=detector)


def look_alike(number: int, x: float, crop: np.ndarray | None = None, *, size: float = 50) -> Detection:
    box = (x, 40.0, x + size, 40.0 + size)
    plain = np.full((224, 224, 3), (180, 120, 90), np.uint8) if crop is None else crop
    return Detection(number, number / 25, box, 0.99, plain)


def test_one_person_gives_ten_faces_in_time_order(one_person: Extraction) -> None:
    assert [len(t.faces) for t in one_person.tracks] == [10]
    numbers = [f.frame_number for f in one_person.tracks[0].faces]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] - numbers[0] > 100, "spread over the video"
    assert one_person.sampled_frames == ()
    for face in one_person.tracks[0].faces:
        assert face.crop.shape == (224, 224, 3)
        assert face.crop.dtype == np.uint8
        assert face.probability >= FaceConfig().min_probability


def test_a_crop_is_the_face_in_rgb_and_never_the_whole_frame(one_person: Extraction) -> None:
    frames = faces_of("one-person.mp4")
    for face in one_person.tracks[0].faces[::3]:
        x1, y1, x2, y2 = face.box
        height, width = frames[0].shape[:2]
        assert (x2 - x1) * (y2 - y1) < 0.5 * width * height
        again = crop_face(frames[face.frame_number], face.box, face.landmarks, size=224, margin=0.30)
        assert np.abs(again.astype(int) - face.crop).mean() < 1.0
        assert face.crop[..., 0].mean() > face.crop[..., 2].mean(), "skin is redder than blue: the crop is RGB"


def test_two_people_are_two_tracks_that_never_mix(detector: FaceDetector) -> None:
    found = extract_faces(DEMO / "two-people.mp4", detector=detector)
    assert [len(t.faces) for t in found.tracks] == [10, 10]
    sides = [{(f.box[0] + f.box[2]) / 2 < found.info.width / 2 for f in t.faces} for t in found.tracks]
    assert sorted(map(sorted, sides)) == [[False], [True]], "each person stays on one side of the picture"


@pytest.fixture
def asked(detector: FaceDetector, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(how many pictures, smallest face) of each question to the detector."""
    seen: list[tuple[int, int]] = []
    detect = detector.detect

    def noted(images: Sequence[np.ndarray], *, min_face: int | None = None) -> list[list[DetectedFace]]:
        seen.append((len(images), min_face or detector.config.min_face_detect))
        return detect(images, min_face=min_face)

    monkeypatch.setattr(detector, "detect", noted)
    return seen


def test_one_clear_person_is_settled_by_ten_coarse_looks(detector: FaceDetector, asked: list[tuple[int, int]]) -> None:
    found = extract_faces(DEMO / "one-person.mp4", detector=detector)
    assert [len(track.faces) for track in found.tracks] == [10]
    assert found.frames_decoded == 150
    assert sorted(asked) == [(1, 20)] * 2 + [(1, 64)] * 8


def test_somebody_small_beside_a_large_face_is_not_overlooked(tmp_path: Path) -> None:
    # So coarse that the small face is missed by it: the probes must not let that pass.
    coarse = FaceConfig(min_face_coarse=110)
    frames = faces_of("one-person.mp4")
    height, width = frames[0].shape[:2]

    def two(number: int) -> np.ndarray:
        picture = frames[number].copy()
        small = cv2.resize(frames[number][:, ::-1], (width // 4, height // 4), interpolation=cv2.INTER_AREA)
        picture[: height // 4, : width // 4] = small
        return picture

    detector = FaceDetector(config=coarse)
    assert [len(seen) for seen in detector.detect([two(30)], min_face=coarse.min_face_coarse)] == [1]
    path = write_clip(tmp_path / "two.mp4", frames=60, picture=two)
    found = extract_faces(path, detector=detector, faces=coarse)
    sizes = sorted(track.faces[0].box[2] - track.faces[0].box[0] for track in found.tracks)
    assert len(sizes) == 2
    assert sizes[0] < 45 < 100 < sizes[1]
    blind = FaceConfig(min_face_coarse=110, fine_probes=0)
    assert len(extract_faces(path, detector=detector, faces=blind).tracks) == 1, "it is the probes that find them"


def test_of_frames_too_large_to_be_kept_none_is(detector: FaceDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = extract_faces(DEMO / "two-people.mp4", detector=detector)
    monkeypatch.setattr("ml.video.frame_source.MOST_KEPT_BYTES", 1)
    found = extract_faces(DEMO / "two-people.mp4", detector=detector)
    assert [[face.box for face in track.faces] for track in found.tracks] == [
        [face.box for face in track.faces] for track in kept.tracks
    ]


def test_no_face_keeps_the_frames_for_a_person_to_look_at(detector: FaceDetector) -> None:
    found = extract_faces(DEMO / "no-face.mp4", detector=detector)
    assert found.tracks == ()
    assert len(found.sampled_frames) == FaceConfig().evidence_frames
    assert all(max(f.image.shape[:2]) <= 640 for f in found.sampled_frames)


def test_a_video_lying_on_its_side_is_turned_before_it_is_given_up(tmp_path: Path, detector: FaceDetector) -> None:
    frames = [cv2.resize(f, (320, 180)) for f in faces_of("one-person.mp4")[:20]]
    path = write_clip(tmp_path / "side.mp4", frames=20, picture=lambda n: np.ascontiguousarray(np.rot90(frames[n])))
    upright = write_clip(tmp_path / "upright.mp4", frames=20, picture=lambda n: frames[n])
    turned, straight = extract_faces(path, detector=detector), extract_faces(upright, detector=detector)
    assert len(turned.tracks) == len(straight.tracks) == 1
    a, b = turned.tracks[0].faces[0], straight.tracks[0].faces[0]
    assert a.frame_number == b.frame_number
    x1, y1, x2, y2 = b.box
    expected = (y1, 320 - x2, y2, 320 - x1)  # turned anticlockwise, the frame's width becomes its height
    assert np.abs(np.subtract(a.box, expected)).max() < 8, "boxes are given in the frame as it is shown"
    as_it_should, on_its_side = (np.abs(a.crop.astype(int) - crop).mean() for crop in (b.crop, np.rot90(b.crop)))
    assert as_it_should < on_its_side / 2, "the crop stands upright"


def test_someone_who_passes_by_is_not_the_subject(tmp_path: Path, detector: FaceDetector) -> None:
    face = [cv2.resize(f, (320, 180)) for f in faces_of("one-person.mp4")[:8]]
    empty = [cv2.resize(f, (320, 180)) for f in faces_of("no-face.mp4")[:92]]
    frames = empty[:40] + face + empty[40:]
    found = extract_faces(
        write_clip(tmp_path / "passer-by.mp4", frames=100, picture=lambda n: frames[n]), detector=detector
    )
    assert found.tracks == ()
    assert "short_track" in {b.reason for f in found.sampled_frames for b in f.boxes}


@pytest.mark.parametrize("count", [1, 2, 9])
def test_a_video_of_few_frames_gives_the_faces_it_has(tmp_path: Path, detector: FaceDetector, count: int) -> None:
    frames = [cv2.resize(f, (320, 180)) for f in faces_of("one-person.mp4")[:count]]
    path = write_clip(tmp_path / "short.mp4", frames=count, picture=lambda n: frames[n])
    assert [len(t.faces) for t in extract_faces(path, detector=detector).tracks] == [count]


def test_a_cut_between_two_people_in_one_place_ends_the_track() -> None:
    before = [[look_alike(n, 100)] for n in range(0, 40, 10)]
    after = [[look_alike(n, 102)] for n in range(40, 80, 10)]
    assert [len(t) for t in link(before + after, [], FaceConfig())] == [8]
    assert [len(t) for t in link(before + after, [38], FaceConfig())] == [4, 4]


def test_another_complexion_in_the_same_place_is_another_person() -> None:
    other = np.full((224, 224, 3), (40, 60, 160), np.uint8)
    looks = [[look_alike(n, 100)] for n in range(5)] + [[look_alike(n, 100, other)] for n in range(5, 10)]
    assert [len(t) for t in link(looks, [], FaceConfig())] == [5, 5]


def test_where_two_faces_cross_both_tracks_end() -> None:
    looks = [[look_alike(n, 100 + 6 * n), look_alike(n, 160 - 6 * n)] for n in range(11)]
    for track in link(looks, [], FaceConfig()):
        steps = np.diff([d.box[0] for d in track])
        assert len(set(np.sign(steps))) <= 1, "nobody turns round: a change of direction is a change of person"


@pytest.mark.parametrize(
    ("box", "probability", "reason"),
    [
        ((10, 10, 60, 60), 0.99, None),
        ((10, 10, 60, 60), 0.80, "low_probability"),
        ((10, 10, 18, 60), 0.99, "too_small"),
        ((-30, 10, 20, 60), 0.99, "outside"),
    ],
)
def test_a_rejected_box_says_why(
    box: tuple[float, float, float, float], probability: float, reason: str | None
) -> None:
    face = DetectedFace(box, probability, ((30.0, 30.0),))
    assert rejection(face, width=100, height=100, config=FaceConfig()) == reason


def test_a_crop_at_the_border_stays_square_and_centred() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[:20, :20] = 255
    crop = crop_face(image, (-5, -5, 25, 25), size=60, margin=0.0)
    assert crop.shape == (60, 60, 3)
    assert crop[2, 2].tolist() == [255, 255, 255]
    assert crop[58, 58].tolist() == [0, 0, 0]


def test_progress_never_goes_back_and_what_it_raises_ends_the_work(detector: FaceDetector) -> None:
    seen: list[float] = []
    extract_faces(DEMO / "one-person.mp4", detector=detector, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len(seen) > 5

    asked: list[float] = []

    def refuse(value: float) -> None:
        asked.append(value)
        raise RuntimeError("the lease is lost")

    with pytest.raises(RuntimeError, match="lease"):
        extract_faces(DEMO / "one-person.mp4", detector=detector, progress=refuse)
    assert len(asked) == 1


def test_even_spreads_without_repeating() -> None:
    assert linspace_indices(150, 16)[0] == 0
    assert linspace_indices(150, 16)[-1] == 149
    assert len(linspace_indices(150, 16)) == 16
    assert (linspace_indices(3, 16), linspace_indices(0, 16), linspace_indices(1, 16)) == ([0, 1, 2], [], [0])
