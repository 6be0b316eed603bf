"""Short and middling videos whose encoder set few key frames: all of them is looked at, or what differs."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ml.config import SegmentConfig, VideoConfig
from ml.faces.detector import FaceDetector
from ml.faces.extract_video import extract_video
from ml.video.decode import decode
from ml.video.errors import VideoError
from ml.video.segments import choose_segments
from ml.video.trim import trim
from tests.ml.test_segments import FPS, SHORT, Image, black, detector, joined, others, person, text_card

__all__ = ["detector", "others", "person"]
ONE_KEY_FRAME = 10_000
FOUR = SegmentConfig(max_segments=4)


def test_a_short_video_is_looked_at_as_a_whole(
    tmp_path: Path, person: list[Image], others: list[Image], detector: FaceDetector
) -> None:
    path = joined(tmp_path / "later.mp4", person[:60], others[:45], key_frames=ONE_KEY_FRAME)
    found = extract_video(path, detector=detector, video=SHORT)
    ends = [(segment.start_s, segment.end_s) for segment in found.segments]
    assert all(abs(a[1] - b[0]) < 0.5 / FPS for a, b in pairwise(ends)), "one after another"
    assert ends[-1][1] == pytest.approx(105 / FPS, abs=0.5)
    people = {segment: {t.index for t in found.tracks if t.segment == segment} for segment in range(len(ends))}
    assert people[0] == people[1] == {0}
    assert len(people[5] | people[6]) == 2, "those who come later are somebody else"


@pytest.mark.parametrize("title", [black, text_card])
def test_a_title_without_another_key_frame_hides_nobody(
    tmp_path: Path, person: list[Image], detector: FaceDetector, title: object
) -> None:
    assert callable(title)
    path = joined(tmp_path / "titled.mp4", title(30), person[:30], key_frames=ONE_KEY_FRAME)
    assert extract_video(path, detector=detector, video=SHORT).tracks


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_a_segment_between_key_frames_has_the_frames_of_its_place(
    tmp_path: Path, person: list[Image], suffix: str
) -> None:
    codec = "libvpx" if suffix == ".webm" else "libx264"
    path = joined(tmp_path / f"one{suffix}", person[:60], key_frames=ONE_KEY_FRAME, codec=codec)
    whole = list(decode(path, VideoConfig(max_frames=1000)))
    starts = choose_segments(path, SHORT, FOUR)
    assert [start.key is not None for start in starts] == [True] * 3
    for start in starts:
        config = replace(SHORT, start=start.time, key=start.key)
        frames = list(decode(path, config))
        first = round(start.start_s * FPS)
        assert [frame.number for frame in frames] == list(range(15))
        assert all(np.array_equal(a.rgb(), b.rgb()) for a, b in zip(frames, whole[first : first + 15], strict=True))
        clip = tmp_path / f"clip{first}{'.webm' if suffix == '.webm' else '.mp4'}"
        if suffix == ".webm":  # which cannot hide the frames that lead there
            with pytest.raises(VideoError):
                trim(path, clip, config)
            continue
        trim(path, clip, config)
        shown = list(decode(clip))
        assert len(shown) >= 15
        assert all(np.array_equal(a.rgb(), b.rgb()) for a, b in zip(frames, shown, strict=False))


def test_a_passage_between_key_frames_of_a_longer_video_is_found(tmp_path: Path, person: list[Image]) -> None:
    path = joined(tmp_path / "late.mp4", black(220), person[:20], black(160), key_frames=100)
    starts = choose_segments(path, SHORT, FOUR)
    assert any(220 <= start.start_s * FPS <= 225 for start in starts)
    assert len(starts) == 3, "and the others fill the widest gaps"


def test_who_comes_at_the_very_end_is_looked_at(
    tmp_path: Path, person: list[Image], others: list[Image], detector: FaceDetector
) -> None:
    path = joined(tmp_path / "end.mkv", black(200), person[:13], key_frames=150)
    found = extract_video(path, detector=detector, video=SHORT, segments=FOUR)
    assert {track.segment for track in found.tracks} == {len(found.segments) - 1}
    assert found.segments[-1].end_s == pytest.approx(213 / FPS, abs=0.1)


def test_how_much_is_decoded_on_the_way_is_bounded(tmp_path: Path, person: list[Image]) -> None:
    path = joined(tmp_path / "one.mp4", person[:60], key_frames=ONE_KEY_FRAME)
    assert choose_segments(path, SHORT, replace(FOUR, preroll_pixels=0)) == []
    assert len(choose_segments(path, SHORT, replace(FOUR, preroll_pixels=16 * 320 * 180))) == 1
