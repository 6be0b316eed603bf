"""Whole frames: spread over the video, and made into the square that a manifest asks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ml.config import FrameCrop, FrameView, VideoConfig
from ml.model.whole_frames import as_square, whole_frames
from ml.video.errors import VideoError
from tests.ml.clips import quadrants, write_clip


def test_they_are_spread_over_the_segment_and_no_more_than_there_are(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", frames=40)
    found = whole_frames(path, FrameView(32, count=4))
    assert [frame.number for frame in found] == [0, 13, 26, 39]
    assert [frame.timestamp_s for frame in found] == pytest.approx([0, 13 / 25, 26 / 25, 39 / 25], abs=1e-3)
    assert all(frame.picture.shape == (32, 32, 3) for frame in found)
    assert len(whole_frames(path, FrameView(32, count=64))) == 40
    assert [frame.number for frame in whole_frames(path, FrameView(32, count=3), VideoConfig(max_frames=21))] == [
        0,
        10,
        20,
    ]


def test_a_damaged_file_gives_what_can_be_decoded_and_none_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", frames=60, options={"g": "10"})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    found = whole_frames(path, FrameView(32, count=5))
    assert len(found) == 5
    assert found[-1].number < 59
    path.write_bytes(b"no video")
    with pytest.raises(VideoError):
        whole_frames(path, FrameView(32))


def test_each_way_to_make_a_square() -> None:
    image = quadrants(0, width=128, height=96)
    red, green, blue, white = (220, 30, 30), (30, 200, 30), (30, 30, 220), (230, 230, 230)

    def corners(crop: FrameCrop, size: int) -> list[tuple[int, ...]]:
        made = as_square(image, FrameView(size, crop))
        assert made.shape == (size, size, 3)
        assert made.dtype == np.uint8
        return [tuple(made[y, x].tolist()) for y in (2, -3) for x in (2, -3)]

    for crop, size in (
        ("centre", 48),
        ("centre", 200),
        ("squeeze", 64),
        ("squeeze", 300),
        ("native", 64),
        ("native", 160),
    ):
        assert corners(FrameCrop(crop), size) == [red, green, blue, white], (crop, size)
    assert corners(FrameCrop.LETTERBOX, 64) == [(0, 0, 0)] * 4
    boxed = as_square(image, FrameView(64, FrameCrop.LETTERBOX))
    assert tuple(boxed[10, 2].tolist()) == red
    assert not boxed[:8].any()
    assert boxed[8].any()
    native = as_square(image, FrameView(64, FrameCrop.NATIVE))
    assert np.array_equal(native, image[16:80, 32:96])
    assert as_square(np.zeros((1, 5000, 3), np.uint8), FrameView(64, FrameCrop.LETTERBOX)).shape == (64, 64, 3)
