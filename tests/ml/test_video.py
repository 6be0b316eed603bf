"""Decoding, refusing and trimming files that nobody vouches for."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from ml.config import VideoConfig
from ml.video.decode import VideoError, decode
from ml.video.frame import DecodedFrame
from ml.video.probe import VideoInfo, probe
from ml.video.trim import clip_suffix, trim
from tests.ml.clips import quadrants, write_clip

DEMO = Path(__file__).resolve().parents[2] / "demo" / "clips"


def video_info(path: Path, config: VideoConfig | None = None) -> VideoInfo:
    return probe(path, config).info(next(decode(path, config)))


def corners(image: np.ndarray) -> list[str]:
    """The colours at top left, top right, bottom left, bottom right."""
    height, width = image.shape[:2]
    names = {(1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue", (1, 1, 1): "white"}
    points = [(h, w) for h in (height // 5, 4 * height // 5) for w in (width // 5, 4 * width // 5)]
    return [names.get((int(image[p][0] > 128), int(image[p][1] > 128), int(image[p][2] > 128)), "?") for p in points]


def display_matrix(path: Path, degrees: int) -> Path:
    """Write the turn into the mp4's track header: the nine numbers of its matrix follow 40 bytes after the version."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    matrix = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    for slot, value in zip((0, 1, 3, 4), matrix, strict=True):
        data[at + 4 * slot : at + 4 * slot + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "options"),
    [
        ("plain.mp4", "libx264", "yuv420p", {}),
        ("interlaced.mp4", "libx264", "yuv420p", {"flags": "+ildct+ilme", "x264-params": "interlaced=1"}),
        ("av1.mp4", "libsvtav1", "yuv420p", {"preset": "12"}),
        ("vp9.webm", "libvpx-vp9", "yuv420p", {}),
        ("hevc10.mp4", "libx265", "yuv420p10le", {"x265-params": "log-level=none"}),
        ("yuv444.mp4", "libx264", "yuv444p", {}),
        ("mpeg2.mpg", "mpeg2video", "yuv420p", {}),
        ("motion-jpeg.avi", "mjpeg", "yuvj420p", {}),
        ("lossless.mkv", "ffv1", "yuv420p", {}),
    ],
)
def test_every_codec_decodes_to_upright_rgb(
    tmp_path: Path, name: str, codec: str, pixels: str, options: dict[str, str]
) -> None:
    path = write_clip(tmp_path / name, codec=codec, pixels=pixels, options=options)
    frames = list(decode(path))
    assert len(frames) == 12
    assert {tuple(corners(f.rgb())) for f in frames} == {("red", "green", "blue", "white")}
    assert np.abs(frames[5].rgb().astype(int) - quadrants(5)).mean() < 12
    assert [f.number for f in frames] == list(range(12))
    assert frames[-1].timestamp_s == pytest.approx(11 / 25, abs=0.01)


@pytest.mark.parametrize(
    ("degrees", "seen"),
    [
        (90, ["blue", "red", "white", "green"]),
        (180, ["white", "blue", "green", "red"]),
        (270, ["green", "white", "red", "blue"]),
    ],
)
def test_the_turn_that_the_container_asks_for_is_applied(tmp_path: Path, degrees: int, seen: list[str]) -> None:
    path = display_matrix(write_clip(tmp_path / "phone.mp4"), degrees)
    info = video_info(path)
    assert corners(next(decode(path)).rgb()) == seen
    assert (info.width, info.height) == ((96, 128) if degrees % 180 else (128, 96))


def test_long_pixels_are_made_square(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "anamorphic.mp4", aspect=Fraction(2, 1))
    assert (video_info(path).width, next(decode(path)).rgb().shape) == (256, (96, 256, 3))


def test_long_pixels_make_no_picture_larger_than_a_file_may_have() -> None:
    stored = av.VideoFrame(3840, 2160, "yuv420p")
    wide, too_wide = (DecodedFrame(0, 0.0, stored, Fraction(aspect)) for aspect in (2, 9))
    assert wide.shown_size == (7680, 2160)
    assert too_wide.shown_size == (3840, 240)
    assert too_wide.rgb().shape == (240, 3840, 3)


def test_only_the_first_150_frames_are_looked_at_and_copied(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "long.mp4", frames=170)
    clip = tmp_path / f"clip{clip_suffix(video_info(path))}"
    trim(path, clip)
    assert probe(path).frames == sum(1 for _ in decode(path)) == 150
    # Those after the 150th are there because earlier ones are made from them.
    assert 150 <= sum(1 for _ in decode(clip, VideoConfig(max_frames=1000))) <= 153
    for original, copy in zip(decode(path), decode(clip), strict=True):
        assert np.array_equal(original.rgb(), copy.rgb()), "the copy must hold the very same pixels"


def test_a_damaged_file_keeps_what_was_decoded_before_the_damage(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "cut.mkv", frames=60, options={"g": "10"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    assert 5 < sum(1 for _ in decode(path)) < 60


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n", "not_a_video"),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "not_a_video"),
        (b"#!/bin/sh\nrm -rf /\n" * 50, "not_a_video"),
        (b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2mp41" + b"\x00" * 200, "corrupt_video"),
    ],
)
def test_what_is_no_video_is_refused_with_its_code(tmp_path: Path, content: bytes, code: str) -> None:
    path = tmp_path / "named.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError) as refused:
        video_info(path)
    assert refused.value.code in ((code, "no_video_stream") if code == "corrupt_video" else (code,))
    assert refused.value.detail.endswith(".")


def test_a_playlist_never_opens_the_file_it_names(tmp_path: Path) -> None:
    inner = write_clip(tmp_path / "inner.mp4")
    script = tmp_path / "script.mp4"
    for text in (f"ffconcat version 1.0\nfile {inner.name}\n", f"#EXTM3U\n#EXTINF:1,\n{inner.name}\n#EXT-X-ENDLIST\n"):
        script.write_text(text)
        with pytest.raises(VideoError, match="not a video"):
            list(decode(script))


def test_limits_on_resolution_and_duration_are_kept(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", frames=30)
    with pytest.raises(VideoError) as large:
        video_info(path, VideoConfig(max_pixels=128 * 96 - 1))
    with pytest.raises(VideoError) as long:
        video_info(path, VideoConfig(max_duration_s=1.0))
    assert (large.value.code, long.value.code) == ("resolution_too_large", "video_too_long")


def test_a_full_disk_is_not_taken_for_a_video_that_cannot_be_copied(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("/dev/full, a disk that is always full, is Linux's")
    out = tmp_path / "clip.mp4"
    out.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        trim(DEMO / "one-person.mp4", out)


def test_sound_that_sets_in_late_in_a_transport_stream_is_no_trouble(tmp_path: Path) -> None:
    silent = write_clip(tmp_path / "silent.ts", codec="mpeg2video").read_bytes()
    with av.open(str(tmp_path / "sound.ts"), "w") as container:
        sounds = [container.add_stream("mp2", rate=48000, layout="mono") for _ in range(8)]
        for number in range(12):
            for sound in sounds:
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), format="s16", layout="mono")
                frame.sample_rate, frame.pts = 48000, number * 1152
                container.mux(sound.encode(frame))
        for sound in sounds:
            container.mux(sound.encode(None))
    late = tmp_path / "late.ts"
    late.write_bytes(silent * 120 + (tmp_path / "sound.ts").read_bytes() + silent * 120)
    with av.open(str(late)) as container:
        assert len(container.streams) == 1, "the sound must not be found at once"
    everything = VideoConfig(max_frames=10_000)
    assert probe(late, everything).frames > 1000
    assert sum(1 for _ in decode(late, everything)) > 1000


@pytest.mark.parametrize(("space", "reach"), [(3, 1), (8, 1), (10, 2), (14, 1), (112, 1), (1, 3)])
def test_colours_of_an_unknown_kind_are_taken_for_the_usual_ones(tmp_path: Path, space: int, reach: int) -> None:
    frame = next(decode(write_clip(tmp_path / "clip.mp4")))
    usual = frame.rgb()
    frame.frame.colorspace, frame.frame.color_range = space, reach
    assert corners(frame.rgb()) == ["red", "green", "blue", "white"]
    assert np.abs(frame.rgb(long_side=64).astype(int) - usual[::2, ::2]).mean() < 12
