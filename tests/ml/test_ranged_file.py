"""Videos read in parts: the same answers as from a local file, of few of its bytes, and none of them twice."""

from __future__ import annotations

import io
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ml.config import SegmentConfig, VideoConfig
from ml.faces.detector import FaceDetector
from ml.faces.extract_video import extract_video
from ml.video import ranged_file
from ml.video.decode import decode
from ml.video.errors import VideoError
from ml.video.preview import make_preview
from ml.video.ranged_file import FetchError, RangedFile, check_fetched
from ml.video.trim import trim
from tests.ml.clips import write_clip
from tests.ml.test_segments import SHORT, Image, detector, joined, person

__all__ = ["detector", "person"]


class Remote:
    """Bytes elsewhere; `asked` are the ranges that were fetched."""

    def __init__(self, content: bytes) -> None:
        self.content, self.asked = content, list[tuple[int, int]]()

    def fetch(self, first: int, count: int) -> bytes:
        self.asked.append((first, first + count))
        return self.content[first : first + count]

    def file(self, cache: Path) -> RangedFile:
        return RangedFile(len(self.content), self.fetch, cache)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranged_file, "BLOCK_BYTES", 1000)


def test_a_reader_is_as_a_file(tmp_path: Path) -> None:
    content = bytes(range(256)) * 40
    remote = Remote(content)
    with remote.file(tmp_path / "cache") as file:
        one, other, real = file.open(), file.open(), io.BytesIO(content)
        for offset, whence, count in [(0, 0, 10), (990, 0, 20), (5, 1, 3000), (-7, 2, 100), (100, 2, 5), (0, 0, 9999)]:
            assert one.seek(offset, whence) == real.seek(offset, whence)
            assert one.read(count) == real.read(count)
            assert one.tell() == real.tell()
        assert other.read(20_000) == content
        with pytest.raises(ValueError, match="before"):
            one.seek(-1)
    assert sum(b - a for a, b in remote.asked) == len(content), "each byte once"


def test_a_long_video_is_judged_from_a_part_of_its_bytes(
    tmp_path: Path, person: list[Image], detector: FaceDetector
) -> None:
    path = joined(tmp_path / "long.mp4", person * 3)
    segments = SegmentConfig(max_segments=2, candidates=4)
    remote = Remote(path.read_bytes())
    with remote.file(tmp_path / "cache.mp4") as file:
        found = extract_video(file, detector=detector, video=SHORT, segments=segments)
        trim(file, tmp_path / "clip.mp4", SHORT)
        check_fetched(file)
    same = extract_video(path, detector=detector, video=SHORT, segments=segments)
    assert [(t.index, t.segment) for t in found.tracks] == [(t.index, t.segment) for t in same.tracks]
    for one, other in zip(found.tracks, same.tracks, strict=True):
        assert all(np.array_equal(a.crop, b.crop) for a, b in zip(one.faces, other.faces, strict=True))
    ranges = sorted(remote.asked)
    assert all(a[1] <= b[0] for a, b in pairwise(ranges)), "nothing twice"
    assert sum(b - a for a, b in ranges) < 0.4 * len(remote.content)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi", ".ts", ".mpg"])
def test_every_container_gives_the_same_pictures(tmp_path: Path, suffix: str) -> None:
    codec = {".webm": "libvpx", ".mpg": "mpeg2video", ".avi": "mpeg4"}.get(suffix, "libx264")
    path = write_clip(tmp_path / f"clip{suffix}", codec=codec, frames=20)
    with Remote(path.read_bytes()).file(tmp_path / f"cache{suffix}") as file:
        pictures = [frame.rgb() for frame in decode(file)]
        make_preview(file, tmp_path)
    assert len(pictures) == 20
    assert all(np.array_equal(a, b.rgb()) for a, b in zip(pictures, decode(path), strict=True))


def test_bad_files_are_refused_as_local_ones_are(tmp_path: Path) -> None:
    playlist = b"#EXTM3U\n#EXTINF:1\nfile:///etc/passwd\n"
    for number, (content, code) in enumerate(
        [(b"", "empty_file"), (b"words " * 500, "not_a_video"), (playlist, "not_a_video")]
    ):
        with Remote(content).file(tmp_path / f"{number}.mp4") as file, pytest.raises(VideoError) as caught:
            list(decode(file, VideoConfig()))
        assert caught.value.code == code


def test_a_part_that_does_not_come_is_not_taken_for_damage(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (60, 96, 128, 3), dtype=np.uint8)
    path = write_clip(tmp_path / "clip.mp4", frames=60, picture=lambda number: noise[number])
    content = path.read_bytes()
    fetched: list[int] = []

    def flaky(first: int, count: int) -> bytes:
        fetched.append(first)
        if len(fetched) > 3:
            raise TimeoutError("no answer")
        return content[first : first + count]

    with RangedFile(len(content), flaky, tmp_path / "cache.mp4") as file:
        with suppress(FetchError, VideoError):
            assert len(list(decode(file))) < 60
        with pytest.raises(FetchError, match="no answer"):
            check_fetched(file)
    short = RangedFile(len(content), lambda first, count: content[first : first + count - 1], tmp_path / "short.mp4")
    with short, suppress(FetchError, VideoError):
        list(decode(short))
    with pytest.raises(FetchError):
        check_fetched(short)
    check_fetched(path)
