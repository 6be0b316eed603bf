"""Copies for browsers: as many frames as the clip has, at their times, upright and in its colours."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from ml.video import preview
from ml.video.decode import VideoError, decode
from ml.video.preview import PreviewError, make_preview
from tests.ml.clips import quadrants, write_clip
from tests.ml.test_video import corners, display_matrix


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "options"),
    [
        ("part2.mp4", "mpeg4", "yuv420p", {}),
        ("hevc10.mp4", "libx265", "yuv420p10le", {"x265-params": "log-level=none"}),
        ("av1.mp4", "libsvtav1", "yuv420p", {"preset": "12"}),
        ("mpeg2.mpg", "mpeg2video", "yuv420p", {}),
    ],
)
def test_a_copy_has_every_frame_at_its_time(
    tmp_path: Path, name: str, codec: str, pixels: str, options: dict[str, str]
) -> None:
    path = write_clip(tmp_path / name, codec=codec, pixels=pixels, options=options, frames=30)
    made = make_preview(path, tmp_path)
    assert (made.path.name, made.codec, made.frames) == ("preview.mp4", "libx264", 30)
    before, after = list(decode(path)), list(decode(made.path))
    assert [frame.timestamp_s for frame in after] == pytest.approx([f.timestamp_s for f in before], abs=0.001)
    assert {frame.frame.format.name for frame in after} == {"yuv420p"}
    for old, new in zip(before, after, strict=True):
        assert np.abs(old.rgb().astype(int) - new.rgb().astype(int)).mean() < 4  # the colours, too
    data = made.path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays before it is there in full


def test_a_large_clip_is_reduced_to_even_sides(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "wide.mp4", codec="mpeg4", frames=3, picture=lambda n: quadrants(n, width=1922, height=1082)
    )
    made = make_preview(path, tmp_path)
    assert (made.width, made.height) == (1280, 720)
    assert next(decode(made.path)).shown_size == (1280, 720)


def test_odd_and_tiny_pictures_get_sides_that_can_be_encoded(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "odd.mkv", codec="ffv1", pixels="bgr0", frames=3, picture=lambda n: quadrants(n, width=35, height=9)
    )
    made = make_preview(path, tmp_path)
    assert (made.width, made.height, made.frames) == (36, 16, 3)
    assert len(list(decode(made.path))) == 3


def test_it_stands_upright_with_square_pixels(tmp_path: Path) -> None:
    turned = display_matrix(write_clip(tmp_path / "turned.mp4"), 90)
    made = make_preview(turned, tmp_path)
    (frame, *_) = decode(made.path)
    assert (made.width, made.height, frame.frame.rotation) == (96, 128, 0)
    assert corners(frame.rgb()) == corners(next(decode(turned)).rgb())
    wide = write_clip(tmp_path / "wide.mp4", aspect=Fraction(2, 1))
    assert make_preview(wide, tmp_path).width == 256


def test_only_the_first_150_frames_are_taken_and_times_that_go_back_are_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_clip(tmp_path / "long.mp4", frames=160)
    assert make_preview(path, tmp_path).frames == 150
    real = list(decode(path))[:4]
    hostile = [frame.__class__(frame.number, time, frame.frame, frame.aspect)
               for frame, time in zip(real, (0.0, 5.0, 1.0, 1e12), strict=True)]  # fmt: skip
    monkeypatch.setattr(preview, "decode", lambda path, config: iter(hostile))
    made = make_preview(path, tmp_path)
    with av.open(str(made.path)) as container:
        times = [float(frame.time or 0) for frame in container.decode(video=0)]
    assert times == pytest.approx([0.0, 5.0, 5.0, 4 * 3600.0], abs=0.01)
    assert times == sorted(set(times))


def test_what_is_no_video_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"\x00\x00\x00\x20ftypisom" + b"nonsense" * 50)
    with pytest.raises(VideoError):
        make_preview(tmp_path / "clip.mp4", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_without_x264_it_is_a_webm_and_without_any_encoder_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_clip(tmp_path / "clip.mp4", codec="mpeg4")
    all_of_them = preview._ENCODERS
    for suffix, codec in (("libvpx-vp9", "vp9"), ("libvpx", "vp8")):
        own = [entry for entry in all_of_them if entry[0] == suffix]
        monkeypatch.setattr(preview, "_ENCODERS", (("no-such-encoder", ".mp4", {}), *own))
        made = make_preview(path, tmp_path)
        assert (made.path.suffix, made.frames, len(list(decode(made.path)))) == (".webm", 12, 12)
        with av.open(str(made.path)) as container:
            assert container.streams.video[0].codec_context.codec.canonical_name == codec
    monkeypatch.setattr(preview, "_ENCODERS", (("no-such-encoder", ".mp4", {}),))
    with pytest.raises(PreviewError, match="no encoder"):
        make_preview(path, tmp_path)


def test_later_segments_follow_each_at_its_time(tmp_path: Path) -> None:
    clips = [
        write_clip(tmp_path / f"{k}.mp4", frames=10, picture=lambda n: np.full((96, 128, 3), 20 * n, np.uint8))
        for k in range(2)
    ]
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all")
    made = make_preview(clips[0], tmp_path, later=[(0.4, broken), (0.8, clips[1])])
    shown = [(round(25 * frame.timestamp_s), round(float(frame.rgb().mean()) / 20)) for frame in decode(made.path)]
    assert shown == [(n, n) for n in range(10)] + [(20 + n, n) for n in range(10)]
