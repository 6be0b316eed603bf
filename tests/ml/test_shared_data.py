"""The same promises on real, odd and hostile files, where the research data is at hand (it is never shipped)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ml.faces.detector import FaceDetector
from ml.faces.extract import extract_faces
from ml.video.decode import VideoError

ROOT = Path(os.environ.get("DFD_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
pytestmark = [
    pytest.mark.slow,  # not each, but all of them
    pytest.mark.shared_data,
    pytest.mark.skipif(
        not (ROOT / "MANIFEST.csv").is_file(),
        reason="the research data is not here; point DFD_SHARED_DATA at it to run these",
    ),
]
REFUSED = {
    "face_animated.webp": "not_a_video",
    "ffconcat_named.mp4": "not_a_video",
    "hls_playlist_named.mp4": "not_a_video",
    "small_AudioVideoInterleave.avi": "corrupt_video",
    "small_FlashVideo.flv": "corrupt_video",
    "small_Mpeg4.mp4": "no_video_stream",
    "small_WindowsMediaVideo.wmv": "corrupt_video",
    "small_mp4-with-audio.mp4": "no_video_stream",
    "wild_audio_only_youtube.mp4": "no_video_stream",
    "wild_unfinished_672_720.mp4": "corrupt_video",
    "wild_unfinished_878_866.mp4": "no_video_stream",
    "zero_length.mp4": "empty_file",
}
NO_FACE = {
    "bitflips_in_mdat.mp4",
    "black_150.mp4",
    "faceapi_test_video.mp4",
    "imageio_newtonscradle.gif",
    "wide_2000x20.mp4",
}
FEW_FRAMES = {"frames_2.mp4": 2, "frames_9.mp4": 9, "huge_7680x4320_2frames.mp4": 2}


def files(folder: str) -> list[Path]:
    return sorted(p for p in (ROOT / folder).glob("*") if p.is_file()) if ROOT.is_dir() else []


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


@pytest.mark.parametrize("path", files("noface"), ids=lambda p: p.name)
def test_videos_without_a_usable_face_have_none(path: Path, detector: FaceDetector) -> None:
    found = extract_faces(path, detector=detector)
    assert found.tracks == ()
    assert found.sampled_frames != ()


@pytest.mark.parametrize(
    "path", [p for p in files("multiface") if "people-detection" not in p.name], ids=lambda p: p.name
)
def test_several_people_are_several_tracks(path: Path, detector: FaceDetector) -> None:
    tracks = extract_faces(path, detector=detector).tracks
    assert len(tracks) >= 2
    frames = [{f.frame_number for f in t.faces} for t in tracks]
    assert all(len(t.faces) == len(n) == 10 for t, n in zip(tracks, frames, strict=True)), "one face a frame and person"


@pytest.mark.parametrize("path", files("hostile"), ids=lambda p: p.name)
def test_hostile_files_end_with_the_right_answer(path: Path, detector: FaceDetector) -> None:
    if path.name in REFUSED:
        with pytest.raises(VideoError) as refused:
            extract_faces(path, detector=detector)
        assert refused.value.code == REFUSED[path.name]
        return
    found = extract_faces(path, detector=detector)
    if path.name in NO_FACE:
        assert found.tracks == ()
        return
    expected = FEW_FRAMES.get(path.name, 10)
    assert [len(t.faces) for t in found.tracks][:1] == [expected]


@pytest.mark.parametrize("pattern", ["celeb-df/Celeb-*/*.mp4", "ffpp/*/*/c40/videos/253*.mp4", "other/real/grid_*.mpg"])
def test_people_who_talk_to_the_camera_give_ten_faces(pattern: str, detector: FaceDetector) -> None:
    for path in sorted(ROOT.glob(pattern))[:6]:
        assert [len(t.faces) for t in extract_faces(path, detector=detector).tracks][:1] == [10], path.name
