"""Frames that nobody needs are left out, and what is left is what it would have been with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from ml.config import VideoConfig
from ml.video import decode as video
from ml.video.decode import DecodedFrame, decode
from ml.video.frame_source import FrameSource
from ml.video.probe import probe
from tests.ml.clips import Picture, quadrants, write_clip

WITH_SPARE_FRAMES = {"bf": "3", "b_strategy": "0"}
NEEDED = {0, 7, 14, 21, 29}


def contents(frame: DecodedFrame) -> tuple[int, float, bytes]:
    return frame.number, frame.timestamp_s, frame.frame.to_ndarray().tobytes()


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        (".mp4", "libx264", WITH_SPARE_FRAMES),
        (".mp4", "libx264", WITH_SPARE_FRAMES | {"x264-params": "b-pyramid=none:open-gop=1:keyint=12"}),
        (".mkv", "libx264", WITH_SPARE_FRAMES),
        (".ts", "libx264", WITH_SPARE_FRAMES),
        (".mp4", "mpeg4", {"bf": "2"}),
        (".ts", "mpeg2video", {"bf": "2"}),
    ],
)
def test_what_is_left_out_changes_nothing_of_the_rest(
    tmp_path: Path, suffix: str, codec: str, options: dict[str, str]
) -> None:
    path = write_clip(tmp_path / f"a{suffix}", frames=30, codec=codec, options=options)
    whole = {frame.number: contents(frame) for frame in decode(path)}
    found = probe(path)
    assert found.frames == len(found.times) == len(whole) == 30
    some = {frame.number: contents(frame) for frame in decode(path, times=found.times, needed=NEEDED)}
    assert some.keys() >= NEEDED
    assert len(some) <= 20
    assert some == {number: whole[number] for number in some}


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        (".mp4", "libx265", {"x265-params": "bframes=3:log-level=none"}),  # may mean less by "not referred to"
        (".avi", "libx264", WITH_SPARE_FRAMES),  # says when a picture is decoded, not when it is shown
        (".mp4", "libx264", {"bf": "0"}),  # has no such pictures
    ],
)
def test_where_nothing_is_spare_for_certain_all_is_decoded(
    tmp_path: Path, suffix: str, codec: str, options: dict[str, str]
) -> None:
    path = write_clip(tmp_path / f"a{suffix}", frames=30, codec=codec, options=options)
    times = probe(path).times
    assert times == ()
    frames = [frame.number for frame in decode(path, times=times, needed=NEEDED)]
    assert frames == [frame.number for frame in decode(path)]
    assert len(frames) >= 28


def test_the_first_frames_are_the_same_ones_where_the_video_is_longer(tmp_path: Path) -> None:
    """The last of them are decoded after some that are shown later."""
    path = write_clip(tmp_path / "long.mp4", frames=60, options=WITH_SPARE_FRAMES)
    for most in range(28, 36):
        config = replace(VideoConfig(), max_frames=most)
        found = probe(path, config)
        assert found.frames == len(found.times) == most
        some = [frame.number for frame in decode(path, config, times=found.times, needed={0, most - 1})]
        assert (some[0], some[-1]) == (0, most - 1)
        source = FrameSource(path, config, times=found.times)
        assert [frame.number for frame in source.frames([0, 5, most - 1])] == [0, 5, most - 1]
        assert source.frames_decoded == most


def test_times_that_fit_no_picture_cost_time_and_no_frame(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", frames=30, options=WITH_SPARE_FRAMES)
    times = probe(path).times
    whole = [contents(frame) for frame in decode(path)]
    shifted = [time + times[-1] + 1 for time in times]
    assert [contents(frame) for frame in decode(path, times=shifted, needed=NEEDED)] == whole


def test_a_last_frame_that_never_comes_does_not_lead_into_the_rest_of_a_long_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_clip(tmp_path / "long.mp4", frames=200, options=WITH_SPARE_FRAMES)
    config = replace(VideoConfig(), max_frames=30)
    times = probe(path, config).times
    made: list[int] = []
    pictures = video._pictures

    def counted(*args: Any) -> Iterator[av.VideoFrame]:
        for frame in pictures(*args):
            made.append(1)
            yield frame

    monkeypatch.setattr(video, "_pictures", counted)
    for known in ((*times[:-1], times[-1] + 1), times[:10]):
        made.clear()
        assert list(decode(path, config, times=known, needed=NEEDED))
        assert len(made) <= 40


def test_interlaced_pictures_are_all_decoded(tmp_path: Path) -> None:
    options = {"flags": "+ilme+ildct", "x264-params": "tff=1:bframes=3:b-adapt=0"}
    path = write_clip(tmp_path / "fields.mp4", frames=40, options=options)
    frames = list(decode(path, times=probe(path).times, needed=NEEDED))
    assert frames[0].frame.interlaced_frame
    assert len(frames) >= 36, "all but those that had been asked for before the first one was seen"


def scenes(number: int) -> NDArray[np.uint8]:
    return quadrants(number) // (8 if 20 <= number < 41 else 1)


def moving(number: int) -> NDArray[np.uint8]:
    """No two neighbours differ much, any two that are four apart do."""
    return np.full((96, 128, 3), 20 + 40 * (number % 6 if number % 12 < 6 else 5 - number % 6), np.uint8)


@pytest.mark.parametrize(("picture", "cuts"), [(scenes, [20, 41]), (moving, [])])
def test_cuts_are_where_they_are_seen_with_all_frames(tmp_path: Path, picture: Picture, cuts: list[int]) -> None:
    options = WITH_SPARE_FRAMES | {"x264-params": "scenecut=0:keyint=250"}
    path = write_clip(tmp_path / "cut.mp4", frames=60, picture=picture, options=options)
    for times in (probe(path).times, ()):
        source = FrameSource(path, times=times, cut_threshold=0.18)
        assert [frame.number for frame in source.frames([0, 59])] == [0, 59]
        assert source.cuts == cuts
