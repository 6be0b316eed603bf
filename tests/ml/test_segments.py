"""Where a long video is looked at beside its first frames, and what of it is not read for that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ml.config import SegmentConfig, VideoConfig
from ml.faces.detector import FaceDetector
from ml.faces.extract import extract_faces
from ml.faces.extract_video import extract_video
from ml.video.decode import decode
from ml.video.errors import VideoError
from ml.video.frame import DecodedFrame
from ml.video.probe import probe
from ml.video.segments import choose_segments
from ml.video.single_pictures import SegmentStart
from ml.video.trim import trim
from tests.ml.clips import faces_of, write_clip

SHORT = VideoConfig(max_frames=15)
FPS = 25
Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector(threads=1)


@pytest.fixture(scope="module")
def person() -> list[Image]:
    return [np.asarray(cv2.resize(frame, (320, 180)), np.uint8) for frame in faces_of("one-person.mp4")]


@pytest.fixture(scope="module")
def others() -> list[Image]:
    return [np.asarray(cv2.resize(frame, (320, 180)), np.uint8) for frame in faces_of("two-people.mp4")]


def joined(path: Path, *shots: list[Image], key_frames: int = 20, **options: object) -> Path:
    pictures = [picture for shot in shots for picture in shot]
    codec = str(options.pop("codec", "libx264"))
    return write_clip(
        path, frames=len(pictures), codec=codec, picture=lambda n: pictures[n], fps=FPS,
        options={"g": str(key_frames), "preset": "ultrafast", "bf": "2"},
    )  # fmt: skip


def black(count: int) -> list[Image]:
    return [np.zeros((180, 320, 3), np.uint8)] * count


def text_card(count: int) -> list[Image]:
    card = np.full((180, 320, 3), 230, np.uint8)
    cv2.putText(card, "A TITLE", (40, 110), cv2.FONT_HERSHEY_SIMPLEX, 1.8, (10, 10, 10), 6)
    return [card] * count


def key_frame_times(path: Path) -> set[int]:
    with av.open(str(path)) as container:
        return {p.pts for p in container.demux(video=0) if p.is_keyframe and p.pts is not None}


def test_a_short_passage_among_other_pictures_is_among_the_segments(
    tmp_path: Path, person: list[Image], others: list[Image]
) -> None:
    path = joined(tmp_path / "long.mp4", person * 4, others[:20], person * 4)
    begin = 4 * len(person) / FPS
    starts = choose_segments(path, SHORT, SegmentConfig())
    assert len(starts) == SegmentConfig().max_segments - 1
    assert any(begin <= start.start_s < begin + 0.4 for start in starts)
    assert {start.time for start in starts} <= key_frame_times(path)
    places = [0.0, *(start.start_s for start in starts)]
    assert all(b - a >= 15 / FPS for a, b in pairwise(places)), "none overlaps another"
    assert starts == choose_segments(path, SHORT, SegmentConfig(), threads=2), "and as many threads choose the same"


def test_segments_lie_over_the_whole_length_of_a_single_shot(tmp_path: Path, person: list[Image]) -> None:
    path = joined(tmp_path / "shot.mp4", person * 8)
    length = 8 * len(person) / FPS
    starts = [start.start_s for start in choose_segments(path, SHORT, SegmentConfig(max_segments=4))]
    assert len(starts) == 3
    assert max(b - a for a, b in zip([0.0, *starts], [*starts, length], strict=True)) < 0.6 * length


@pytest.mark.parametrize("title", [black, text_card])
def test_titles_and_black_are_no_segments(
    tmp_path: Path, person: list[Image], detector: FaceDetector, title: Callable[[int], list[Image]]
) -> None:
    path = joined(tmp_path / "titled.mp4", title(100), person[:60], title(100))
    found = extract_video(path, detector=detector, video=SHORT, segments=SegmentConfig(max_segments=4))
    assert len(found.segments) > 1
    assert {track.segment for track in found.tracks} == set(range(1, len(found.segments)))
    assert all(4.0 <= segment.start_s < 6.5 for segment in found.segments[1:])
    assert extract_faces(path, detector=detector, video=SHORT).tracks == (), "today: no face"


def test_nobody_anywhere_is_looked_for_in_several_places_all_the_same(tmp_path: Path, detector: FaceDetector) -> None:
    path = joined(tmp_path / "card.mp4", text_card(30), black(20), text_card(60))
    found = extract_video(path, detector=detector, video=SHORT, segments=SegmentConfig(max_segments=3))
    assert found.tracks == ()
    assert len(found.segments) == 3
    assert found.sampled_frames[-1].timestamp_s > 15 / FPS


def test_one_segment_is_what_it_was(tmp_path: Path, person: list[Image], detector: FaceDetector) -> None:
    path = joined(tmp_path / "long.mp4", person, person)
    before = extract_faces(path, detector=detector, video=SHORT)
    after = extract_video(path, detector=detector, video=SHORT, segments=SegmentConfig(max_segments=1))
    faces = [[face for track in found.tracks for face in track.faces] for found in (after, before)]
    assert len(faces[0]) == len(faces[1]) == 10
    for one, other in zip(*faces, strict=True):
        assert (one.frame_number, one.box) == (other.frame_number, other.box)
        assert np.array_equal(one.crop, other.crop)
    assert after.segments == before.segments
    assert len(after.segments) == 1


def test_a_video_of_one_segment_is_opened_for_nothing_else(
    tmp_path: Path, person: list[Image], detector: FaceDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> list[SegmentStart]:
        raise AssertionError("nothing is to be chosen")

    monkeypatch.setattr("ml.faces.extract_video.choose_segments", refuse)
    path = joined(tmp_path / "short.mp4", person[:14])
    assert len(extract_video(path, detector=detector, video=SHORT).segments) == 1


def test_a_segment_has_the_frames_and_the_clip_of_its_place(tmp_path: Path, person: list[Image]) -> None:
    path = joined(tmp_path / "long.mp4", person * 3)
    whole = list(decode(path, VideoConfig(max_frames=1000)))
    for start in choose_segments(path, SHORT, SegmentConfig(max_segments=4)):
        config = replace(SHORT, start=start.time)
        assert probe(path, config).frames == 15
        frames = list(decode(path, config))
        first = round(start.start_s * FPS)
        assert [frame.number for frame in frames] == list(range(15))
        assert frames[0].timestamp_s == 0.0
        assert all(np.array_equal(a.rgb(), b.rgb()) for a, b in zip(frames, whole[first : first + 15], strict=True))
        clip = tmp_path / f"clip{first}.mp4"
        trim(path, clip, config)
        shown = list(decode(clip))
        assert np.array_equal(shown[0].rgb(), frames[0].rgb())
        assert len(shown) >= 15


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".webm", ".avi"])
def test_other_containers_have_segments_too(tmp_path: Path, person: list[Image], suffix: str) -> None:
    codec = {".webm": "libvpx"}.get(suffix, "libx264")
    path = joined(tmp_path / f"long{suffix}", person, codec=codec)
    starts = choose_segments(path, SHORT, SegmentConfig(max_segments=4))
    assert len(starts) == 3
    for start in starts:
        frames = list(decode(path, replace(SHORT, start=start.time)))
        assert len(frames) == 15
        assert frames[0].frame.pts == start.time
        out = tmp_path / f"clip{start.time}{'.webm' if suffix == '.webm' else '.mp4'}"
        trim(path, out, replace(SHORT, start=start.time))
        assert len(list(decode(out))) >= 15


def test_only_key_frames_are_decoded_to_choose(
    tmp_path: Path, person: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = joined(tmp_path / "long.mp4", person * 8)
    config = SegmentConfig(max_segments=4, candidates=6)
    monkeypatch.setattr(DecodedFrame, "rgb", lambda *_, **__: pytest.fail("signatures need no conversion"))
    looks: list[float] = []

    def shows_face(frame: DecodedFrame) -> bool:
        looks.append(frame.timestamp_s)
        return True

    assert len(choose_segments(path, SHORT, config, shows_face=shows_face)) == len(looks)
    assert 0 < len(looks) <= config.candidates


def test_what_lies_behind_damage_is_left_out(tmp_path: Path, person: list[Image], detector: FaceDetector) -> None:
    path = joined(tmp_path / "whole.mp4", person * 4)
    cut = tmp_path / "cut.mkv"
    with av.open(str(path)) as source, av.open(str(cut), "w") as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    data = cut.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    found = extract_video(cut, detector=detector, video=SHORT, segments=SegmentConfig(max_segments=4))
    assert all(segment.start_s < 0.6 * 4 * len(person) / FPS for segment in found.segments)
    with pytest.raises(VideoError):
        list(decode(cut, replace(SHORT, start=10**9)))


def test_people_who_return_are_one_person(
    tmp_path: Path, person: list[Image], others: list[Image], detector: FaceDetector
) -> None:
    path = joined(tmp_path / "return.mp4", person[:40], others[:40], person[60:100], others[60:100])
    found = extract_video(path, detector=detector, video=SHORT, segments=SegmentConfig(max_segments=4))
    shots = {segment: int(part.start_s * FPS / 40) for segment, part in enumerate(found.segments)}
    people = {shot: set[int]() for shot in range(4)}
    for track in found.tracks:
        people[shots[track.segment]].add(track.index)
    assert sorted(shots.values()) == [0, 1, 2, 3]
    assert people == {0: {0}, 1: {0, 1}, 2: {0}, 3: {0, 1}}, "one of the two is the one of before"
    assert [(t.index, t.segment) for t in found.tracks] == sorted((t.index, t.segment) for t in found.tracks)
