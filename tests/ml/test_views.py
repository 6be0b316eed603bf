"""Faces that the first look misses: larger than the frame, cut by its edge, in the dark; and what a search may cost."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ml.config import FaceConfig
from ml.faces.detector import FaceDetector
from ml.faces.extract import Extraction, extract_faces
from ml.faces.mtcnn.cascade import Cascade, DetectedFace
from ml.faces.mtcnn.networks import Networks
from ml.faces.view import View, is_dark, lifted
from ml.video.decode import decode
from ml.video.probe import probe
from tests.ml.clips import DEMO, faces_of, quadrants, write_clip

Image = NDArray[np.uint8]
FRAMES = 30


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


@pytest.fixture(scope="module")
def person() -> list[Image]:
    return faces_of("one-person.mp4")[:FRAMES]


@pytest.fixture(scope="module")
def head(detector: FaceDetector) -> NDArray[np.float64]:
    """Box of the face in the first of the person's frames."""
    return np.array(detector.detect([faces_of("one-person.mp4")[0]], min_face=64)[0][0].box)


def searched(tmp_path: Path, detector: FaceDetector, frames: Sequence[Image]) -> Extraction:
    sizes = [side // 2 * 2 for side in frames[0].shape[:2]]
    path = write_clip(
        tmp_path / "clip.mp4",
        frames=len(frames),
        picture=lambda n: np.ascontiguousarray(frames[n][: sizes[0], : sizes[1]]),
        options={"preset": "ultrafast", "crf": "16"},
    )
    return extract_faces(path, detector=detector)


@pytest.mark.parametrize("view", [View(320), View(320, padding=0.25), View(320, rotation=90), View(320, rotation=180)])
def test_a_view_leads_back_to_the_frame(person: list[Image], detector: FaceDetector, view: View) -> None:
    frame = next(decode(DEMO / "one-person.mp4"))
    copy = view.render(frame)
    corner = DetectedFace((0.0, 0.0, 20.0, 10.0), 1.0, ((0.0, 0.0),))
    assert copy.to_frame(corner).landmarks != corner.landmarks or view == View(320)
    if view.rotation == 0:
        faces = detector.detect([copy.image])[0]
        expected = detector.detect([frame.rgb(long_side=320)])[0]
        scale = frame.shown_size[0] / 320
        assert np.abs(np.array(copy.to_frame(faces[0]).box) / scale - expected[0].box).max() < 8
    # A red dot of the frame is where the copy's transform says it is.
    height, width = copy.image.shape[:2]
    ends = np.array([[0, 0], [width, height]]) @ copy.matrix[:, :2].T + copy.matrix[:, 2]
    border = 2 * view.padding * max(frame.shown_size)
    assert sorted(np.abs(ends[1] - ends[0])) == pytest.approx(
        sorted(side + border for side in frame.shown_size), rel=0.01
    )


@pytest.mark.parametrize("zoom", [0.98, 0.8])
def test_a_face_as_large_as_the_frame_or_larger_is_found(
    tmp_path: Path, detector: FaceDetector, person: list[Image], head: NDArray[np.float64], zoom: float
) -> None:
    x1, y1, x2, y2 = head
    cx, cy, half_x, half_y = (x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2 * zoom, (y2 - y1) / 2 * zoom
    part = slice(int(cy - half_y), int(cy + half_y)), slice(int(cx - half_x), int(cx + half_x))
    found = searched(tmp_path, detector, [frame[part] for frame in person[:12]])
    assert [len(track.faces) for track in found.tracks] == [10]
    face = found.tracks[0].faces[0]
    assert np.abs(np.add(face.box[:2], face.box[2:]) / 2 - (half_x, half_y)).max() < 0.25 * (x2 - x1)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_face_cut_by_the_edge_is_found_and_its_crop_padded(
    tmp_path: Path, detector: FaceDetector, person: list[Image], head: NDArray[np.float64], side: str
) -> None:
    x1, _, x2, _ = head
    quarter = 0.25 * (x2 - x1)
    part = slice(int(x1 + quarter), None) if side == "left" else slice(0, int(x2 - quarter))
    found = searched(tmp_path, detector, [person[n % 6][:, part] for n in range(12)])
    assert [len(track.faces) for track in found.tracks] == [10]
    crop = found.tracks[0].faces[0].crop
    edge = crop[60:160, :8] if side == "left" else crop[60:160, -8:]
    assert np.abs(np.diff(edge.astype(int), axis=1)).mean() < 1.5, "the border is repeated"


def test_a_webcam_picture_that_leaves_the_corner_of_a_screen_is_found(
    tmp_path: Path, detector: FaceDetector, person: list[Image]
) -> None:
    def screen(frame: Image) -> Image:
        picture = np.full((360, 640, 3), 128, np.uint8)
        x = int(frame.shape[1] * 0.3)
        webcam = cv2.resize(frame[:, x : x + frame.shape[0]], (120, 120), interpolation=cv2.INTER_AREA)
        picture[:120, 640 - 74 :] = webcam[:, :74]
        return picture

    found = searched(tmp_path, detector, [screen(frame) for frame in person])
    assert [len(track.faces) for track in found.tracks] == [10]


def dark(frame: Image, seed: int, noise: float = 2.0) -> Image:
    grain = np.random.default_rng(seed).normal(0, noise, frame.shape)
    return np.clip(frame * 0.045 + grain, 0, 255).astype(np.uint8)


def test_somebody_in_near_darkness_is_found_and_the_crops_stay_dark(
    tmp_path: Path, detector: FaceDetector, person: list[Image]
) -> None:
    frames = [dark(frame[::2, ::2], number) for number, frame in enumerate(person)]
    least = FaceConfig().min_probability
    assert not any(face.probability >= least for faces in detector.detect(frames) for face in faces)
    found = searched(tmp_path, detector, frames)
    assert [len(track.faces) for track in found.tracks] == [10]
    assert max(face.crop.mean() for face in found.tracks[0].faces) < 40
    assert found.thumbnail.mean() < 40


def test_only_dark_pictures_are_lifted(person: list[Image]) -> None:
    bright, night = person[0], dark(person[0], 0)
    assert not is_dark(bright)
    assert lifted(bright) is bright
    assert is_dark(night)
    assert lifted(night).mean() > 60
    assert lifted(np.zeros((40, 60, 3), np.uint8)).shape == (40, 60, 3)


@pytest.fixture
def pixels(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Pixels that each of MTCNN's networks sees."""
    seen: Counter[str] = Counter()
    run = Networks._run

    def counted(self: Networks, name: str, picture: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        seen[name] += picture[..., 0].size
        return run(self, name, picture)

    monkeypatch.setattr(Networks, "_run", counted)
    return seen


def test_a_crowd_costs_its_frames_and_says_who_is_left_out(
    tmp_path: Path, detector: FaceDetector, person: list[Image], pixels: Counter[str]
) -> None:
    x = int(person[0].shape[1] * 0.25)
    tiles = [cv2.resize(frame[:, x : x + frame.shape[0]], (120, 120), interpolation=cv2.INTER_AREA) for frame in person]
    crowd = [np.asarray(np.tile(tile, (4, 4, 1)), dtype=np.uint8) for tile in tiles]
    found = searched(tmp_path, detector, crowd)
    assert [len(track.faces) for track in found.tracks] == [10] * FaceConfig().max_tracks
    assert found.people_left_out == 16 - FaceConfig().max_tracks
    assert pixels["onet"] + pixels["rnet"] < 16 * FRAMES * 48 * 48 * 4


def test_a_large_video_of_nobody_costs_a_bounded_search(
    tmp_path: Path, detector: FaceDetector, pixels: Counter[str]
) -> None:
    pattern = [np.asarray(cv2.resize(quadrants(n), (1920, 1080)), dtype=np.uint8) for n in range(FRAMES)]
    assert searched(tmp_path, detector, pattern).tracks == ()
    searching = sum(pixels.values())
    pixels.clear()
    detector.detect([pattern[0]], min_face=FaceConfig().min_face_detect)
    assert searching < 9 * pixels["pnet"], "of 30 frames, each of which would cost one at full size"


def test_strips_of_a_large_picture_see_what_the_whole_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    cascade = Cascade()
    for height, width in ((97, 130), (98, 131), (12, 300), (13, 300)):
        level = rng.random((1, height, width, 3), np.float32) * 255
        whole = cascade._networks.pnet(level)
        monkeypatch.setattr("ml.faces.mtcnn.cascade.MAX_PNET_PIXELS", 2000)
        strips = cascade._pnet(level)
        assert [each.shape for each in strips] == [each.shape for each in whole]
        assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(strips, whole, strict=True))


MEMORY = """
import sys
from pathlib import Path
from ml.faces.extract import extract_faces
extract_faces(Path(sys.argv[1]))
# Not ru_maxrss, which a process inherits from the one that started it.
print(next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_large_dark_video_of_nobody_takes_less_than_700_mb(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 14, (1080, 1920, 3)).astype(np.uint8) for _ in range(3)]
    path = write_clip(
        tmp_path / "night.mp4", frames=60, picture=lambda n: frames[n % 3], options={"preset": "ultrafast", "crf": "30"}
    )
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, timeout=150, check=True
    )
    assert int(done.stdout) < 700


@pytest.mark.parametrize(("suffix", "share"), [(".mp4", 0.3), (".mkv", 0.5), (".avi", 0.5)])
def test_what_is_missing_of_a_broken_upload_is_said(
    tmp_path: Path, suffix: str, share: float, person: list[Image]
) -> None:
    path = tmp_path / f"whole{suffix}"
    frames = [np.ascontiguousarray(frame[::2, ::2]) for frame in person]
    write_clip(path, frames=FRAMES, picture=lambda n: frames[n], options={"g": "10"})
    assert probe(path).claimed in (FRAMES, None)
    assert not extract_faces(path).truncated
    if suffix == ".mp4":  # its index in front, as an upload that broke off still opens
        path = faststart(path, tmp_path / "fast.mp4")
    data = path.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(data[: int(len(data) * share)])
    found = extract_faces(cut)
    assert found.truncated
    assert found.frames_claimed == pytest.approx(FRAMES, abs=1)
    assert found.frames_decoded < 0.8 * FRAMES


def faststart(path: Path, out: Path) -> Path:
    with av.open(str(path)) as source, av.open(str(out), "w", options={"movflags": "+faststart"}) as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size:
                packet.stream = copy
                target.mux(packet)
    return out
