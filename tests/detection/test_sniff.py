"""What a file is by its first bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from detection import container_format
from detection.container_format import HEAD_BYTES, STILL_CHECK_BYTES, is_still_picture

SHARED = Path(os.environ.get("DFD_SHARED_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")

VIDEOS = {
    b"\x00\x00\x00\x20ftypisom": container_format.MP4,
    b"\x00\x00\x00\x18ftypM4A ": container_format.MP4,  # sound only, perhaps: a worker opens it and says so
    b"\x00\x00\x00\x14ftypqt  ": container_format.QUICKTIME,
    b"\x00\x00\x00\x1cftyp3gp4": container_format.THREE_GP,
    b"\x00\x00\x00\x08wide\x00\x00\x10\x00mdat": container_format.QUICKTIME,
    b"\x1aE\xdf\xa3\xa3\x42\x86\x81\x01\x42\x82\x84webm": container_format.WEBM,
    b"\x1aE\xdf\xa3\xa3\x42\x86\x81\x01\x42\x82\x88matroska": container_format.MATROSKA,
    b"RIFF\x00\x00\x00\x00AVI LIST": container_format.AVI,
    b"FLV\x01\x05": container_format.FLV,
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": container_format.ASF,
    b"OggS\x00\x02": container_format.OGG,
    b"\x00\x00\x01\xba\x44": container_format.MPEG,
    b"\x00\x00\x01\xb3\x14": container_format.MPEG,
    (b"\x47" + b"\x00" * 187) * 4: container_format.MPEG_TS,
    (b"time\x47" + b"\x00" * 187) * 4: container_format.MPEG_TS,
    b"\x00\x00\x00\x01\x67\x64\x00\x1f": container_format.H264,
    b"\x00\x00\x01\x27\x64\x00\x1f": container_format.H264,
    b"\x00\x00\x00\x01\x40\x01\x0c\x01": container_format.H265,
    b"\x06\x0e\x2b\x34\x02\x05\x01\x01": container_format.MXF,
    b"DKIF\x00\x00\x20\x00": container_format.IVF,
    b"GIF89a": container_format.GIF,
    b"\x89PNG\r\n\x1a\n": container_format.APNG,
}


@pytest.mark.parametrize(("head", "kind"), VIDEOS.items(), ids=[kind.suffix for kind in VIDEOS.values()])
def test_containers_are_known_by_their_first_bytes(head: bytes, kind: container_format.FileKind) -> None:
    assert container_format.sniff(head + b"\x00" * 100) == kind
    assert kind in container_format.ALL_KINDS


@pytest.mark.parametrize("length", range(1, 40))
def test_a_head_that_is_cut_short_is_no_error(length: int) -> None:
    for head in VIDEOS:
        container_format.sniff(head[:length])
        is_still_picture(head[:length])


PNG = b"\x89PNG\r\n\x1a\n"
HEADER = b"\x00\x00\x00\x0dIHDR" + b"\x00" * 17
GIF = b"GIF89a\x02\x00\x02\x00\x80\x00\x00" + b"\x00" * 6
DELAY = b"\x21\xf9\x04\x00\x05\x00\x00\x00"
PICTURE = b"\x2c\x00\x00\x00\x00\x02\x00\x02\x00\x80" + b"\x00" * 6 + b"\x02\x02\x44\x01\x00"


def test_a_png_moves_only_with_an_animation_chunk_before_its_picture() -> None:
    assert is_still_picture(PNG + HEADER + b"\x00\x00\x00\x01IDAT" + b"\x00" * 50)
    assert not is_still_picture(PNG + HEADER + b"\x00\x00\x00\x08acTL" + b"\x00" * 12 + b"\x00\x00\x00\x01IDAT")
    assert is_still_picture(PNG + HEADER + b"\x00\x00\x00\x01IDAT\x00\x00\x00\x00\x00" + b"\x00\x00\x00\x08acTL")


def test_a_gif_moves_only_with_a_second_picture() -> None:
    assert is_still_picture(GIF + DELAY + PICTURE + b"\x3b")
    assert not is_still_picture(GIF + DELAY + PICTURE + DELAY + PICTURE + b"\x3b")
    assert is_still_picture(GIF + DELAY + PICTURE + b"\x3b" + PICTURE)  # after the end
    assert is_still_picture(GIF)


def test_a_gif_whose_first_picture_is_longer_than_what_is_read_gets_the_benefit_of_the_doubt() -> None:
    endless = GIF + PICTURE[:-4] + (b"\xff" + b"x" * 255) * 5000
    assert not is_still_picture(endless[:STILL_CHECK_BYTES])


def test_a_video_is_no_still_picture() -> None:
    assert not is_still_picture(b"\x00\x00\x00\x20ftypisom")


@pytest.mark.shared_data
@pytest.mark.parametrize("folder", ["hostile", "noface", "multiface"])
def test_of_real_files_only_those_without_a_video_container_are_refused(folder: str) -> None:
    if not (SHARED / folder).is_dir():
        pytest.skip("the shared test data is not here (DFD_SHARED_DATA)")
    refused = set()
    for path in (SHARED / folder).iterdir():
        with path.open("rb") as file:
            if path.stat().st_size and container_format.sniff(file.read(HEAD_BYTES)) is None:
                refused.add(path.name)
            file.seek(0)
            assert not is_still_picture(file.read(STILL_CHECK_BYTES)), path.name
    wanted = {"ffconcat_named.mp4", "hls_playlist_named.mp4", "face_animated.webp"} if folder == "hostile" else set()
    assert refused == wanted
