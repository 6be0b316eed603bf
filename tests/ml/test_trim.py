"""The clip that people see: every frame that was read, at the time that was stored for it."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from ml.config import VideoConfig
from ml.video.decode import VideoError, decode
from ml.video.probe import probe
from ml.video.trim import clip_suffix, trim
from tests.ml.clips import write_clip

EVERYTHING = VideoConfig(max_frames=1000)
NO_B, WITH_B = {"bf": "0"}, {"bf": "3"}
MPEG2 = ("mpeg2video", {"bf": "0"}), ("mpeg2video", {"bf": "2"})
H264 = ("libx264", NO_B), ("libx264", WITH_B)


def clip_of(path: Path) -> Path:
    out = path.with_name(f"clip-of-{path.name}{clip_suffix(probe(path).info(next(decode(path))))}")
    trim(path, out)
    return out


def shifted(path: Path, name: str, by_s: float) -> Path:
    """The same packets, so much later."""
    out = path.with_name(name)
    with av.open(str(path)) as source, av.open(str(out), "w", options={"avoid_negative_ts": "disabled"}) as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream, opaque=True)
        for packet in source.demux(stream):
            if packet.size and packet.pts is not None and packet.dts is not None and stream.time_base:
                late = round(by_s / float(stream.time_base))
                packet.pts, packet.dts, packet.stream = packet.pts + late, packet.dts + late, copy
                target.mux(packet)
    return out


def assert_same_film(path: Path, clip: Path) -> None:
    read, shown = list(decode(path)), list(decode(clip))
    assert len(read) == len(shown)
    assert len(list(decode(clip, EVERYTHING))) - len(read) <= 3
    for original, copy in zip(read, shown, strict=True):
        assert np.array_equal(original.rgb(), copy.rgb()), original.number
        assert copy.timestamp_s == pytest.approx(original.timestamp_s, abs=0.001)
    with av.open(str(clip)) as container:  # as a player counts, and not from the first frame on
        assert next(container.decode(container.streams.video[0])).time == pytest.approx(0, abs=0.001)


@pytest.mark.parametrize("frames", [48, 165])
@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        *(("film.mp4", *how) for how in H264),
        *(("film.mkv", *how) for how in H264),
        ("film.mkv", "libx264", {"x264-params": "open-gop=1:keyint=12"}),
        ("film.mkv", "libx265", {"x265-params": "log-level=none"}),
        *(("film.ts", *how) for how in (*H264, *MPEG2)),
        *(("film.avi", *how) for how in (*H264, ("mpeg4", NO_B), ("mpeg4", {"bf": "2"}))),
        *(("film.mov", *how) for how in H264),
        *(("film.mpg", *how) for how in MPEG2),
        *(("film.wmv", *how) for how in H264),
        *(("film.h264", *how) for how in H264),
        ("film.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
        ("film.webm", "libvpx", {"deadline": "good", "cpu-used": "5", "auto-alt-ref": "1", "lag-in-frames": "16"}),
    ],
)
def test_a_clip_decodes_to_as_many_frames_as_were_read(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], frames: int
) -> None:
    path = write_clip(tmp_path / name, codec=codec, options=options, frames=frames)
    assert_same_film(path, clip_of(path))


@pytest.mark.parametrize(("name", "by_s"), [("late.mkv", 1.4), ("late.mp4", 1.4), ("late.ts", 9.0), ("cut.mp4", -0.5)])
def test_a_clip_starts_at_0_whatever_the_file_s_clock_says(tmp_path: Path, name: str, by_s: float) -> None:
    """An mp4 that starts before 0 is one that a phone has cut: what lies before is decoded and not shown."""
    path = shifted(write_clip(tmp_path / "film.mp4", frames=60), name, by_s)
    assert_same_film(path, clip_of(path))


@pytest.mark.parametrize(("codec", "options"), [*H264, *MPEG2, ("libx264", {"x264-params": "open-gop=1:keyint=20"})])
def test_a_recording_that_sets_in_between_key_frames_starts_at_its_first_picture(
    tmp_path: Path, codec: str, options: dict[str, str]
) -> None:
    path = write_clip(tmp_path / "film.ts", codec=codec, frames=120, options={"g": "30"} | options)
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 5 // 188 * 188 :])
    assert len(list(decode(path))) < 120
    assert_same_film(path, clip_of(path))


@pytest.mark.parametrize("name", ["film.avi", "film.wmv"])
def test_frames_have_their_own_times_where_the_file_counts_them_as_they_are_decoded(tmp_path: Path, name: str) -> None:
    path = write_clip(tmp_path / name, frames=48)
    assert [frame.timestamp_s for frame in decode(path)] == pytest.approx([n / 25 for n in range(48)], abs=0.001)


def test_the_clip_of_a_damaged_file_has_what_was_decoded(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "film.mkv", frames=60, options={"g": "10"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    assert_same_film(path, clip_of(path))


def test_what_gives_no_frame_has_no_clip(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"\x00\x00\x00\x20ftypisom" + b"nonsense" * 50)
    with pytest.raises(VideoError):
        trim(path, tmp_path / "clip.mp4")
    assert [one.name for one in tmp_path.iterdir()] == ["film.mp4"]
