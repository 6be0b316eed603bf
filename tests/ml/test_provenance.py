"""What a file says of itself: tags sorted, a place only as present, and hostile text made harmless."""

from __future__ import annotations

import io
from pathlib import Path

import av
import pytest

from ml.video.decode import VideoError
from ml.video.provenance.claims import MAX_CHARACTERS
from ml.video.provenance.content_credentials import C2PA_UUID, describe, has_manifest
from ml.video.provenance.metadata import judge, read_provenance
from tests.ml.clips import DEMO, write_clip


def test_a_clip_of_ffmpeg_says_that_a_program_wrote_it() -> None:
    told = read_provenance(DEMO / "one-person.mp4")
    assert told.container == "QuickTime / MOV"
    assert any(encoder.startswith("Lavf") for encoder in told.encoders)
    assert any(encoder.startswith("x264 - core") for encoder in told.encoders)
    assert told.second_encoding[0].startswith("It was written by a program, not by a camera: Lavf")
    assert (told.camera, told.created_at, told.names_a_place) == ((), "", False)


def test_tags_are_sorted_and_a_place_is_only_present(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "plain.mp4", frames=5)
    tagged = tmp_path / "tagged.mov"
    with av.open(str(path)) as source, av.open(str(tagged), "w", options={"movflags": "use_metadata_tags"}) as target:
        target.metadata.update(
            {
                "com.apple.quicktime.make": "Apple", "com.apple.quicktime.model": "iPhone 15",
                "com.apple.quicktime.software": "Adobe Premiere Pro", "location": "+52.5200+013.4050/",
                "creation_time": "2026-11-30T10:00:00Z",
            }
        )  # fmt: skip
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    told = read_provenance(tagged)
    assert told.camera == ("Apple", "iPhone 15")
    assert told.software == ("Adobe Premiere Pro",)
    assert told.created_at.startswith("2026-11-30T10:00:00")
    assert told.names_a_place is True
    assert "52.52" not in str(told.as_dict())
    assert [sign.split()[0] for sign in told.second_encoding] == ["It", "Editing", "It"]


def test_without_tags_nothing_is_claimed() -> None:
    told = judge("matroska", [])
    assert told.as_dict() == {
        "container": "matroska", "encoders": [], "software": [], "camera": [], "created_at": "",
        "names_a_place": False, "second_encoding": [],
    }  # fmt: skip


def test_hostile_text_becomes_one_short_line(tmp_path: Path) -> None:
    path = tmp_path / "hostile.mkv"
    with av.open(str(write_clip(tmp_path / "plain.mp4", frames=5))) as source, av.open(str(path), "w") as target:
        target.metadata["software"] = "a\x1b[31m\u202e\n" + "x" * 5000
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    (text,) = read_provenance(path).software
    assert (text[:8], len(text)) == ("a [31m x", MAX_CHARACTERS)


def test_a_file_that_does_not_open_is_refused_as_ever(tmp_path: Path) -> None:
    path = tmp_path / "nonsense.mp4"
    path.write_bytes(b"\x00\x00\x00\x20ftypisom" + b"nonsense" * 50)
    with pytest.raises(VideoError):
        read_provenance(path)


# --- is there a manifest ---


def box(kind: bytes, content: bytes = b"", *, large: bool = False) -> bytes:
    if large:
        return b"\x00\x00\x00\x01" + kind + (len(content) + 16).to_bytes(8, "big") + content
    return (len(content) + 8).to_bytes(4, "big") + kind + content


FTYP = box(b"ftyp", b"isom\x00\x00\x00\x00")


@pytest.mark.parametrize(
    ("data", "there"),
    [
        (FTYP + box(b"uuid", C2PA_UUID + b"manifest") + box(b"mdat"), True),
        (FTYP + box(b"mdat", b"x" * 1000, large=True) + box(b"uuid", C2PA_UUID, large=True), True),
        (FTYP + box(b"uuid", b"another uuid 123") + box(b"mdat"), False),
        (FTYP + box(b"moov", box(b"uuid", C2PA_UUID)), False),
        (b"", False),
        (FTYP + b"\x00\x00\x00\x00mdat" + b"x" * 100, False),
        (FTYP + b"\x00\x00\x00\x03free" + b"x" * 100, False),
        (FTYP + b"\x00\x00\x00\x01free\x00\x00\x00\x00\x00\x00\x00\x02", False),
        (FTYP + b"\xff\xff\xff\xffmdat", False),
        (b"RIFF\x00\x00\x00\x00AVI ", False),
        (FTYP + box(b"free") * 10_000 + box(b"uuid", C2PA_UUID), False),
    ],
)
def test_the_box_of_a_manifest_is_found_at_the_top_and_nowhere_else(data: bytes, there: bool) -> None:
    assert has_manifest(io.BytesIO(data)) is there


@pytest.mark.parametrize(
    "store",
    [None, [], "x", {"manifests": 3}, {"active_manifest": "a", "manifests": {"a": {"assertions": [1, {"data": 2}]}}}],
)
def test_a_manifest_of_any_shape_is_described(store: object) -> None:
    told = describe(store, "Invalid")
    assert told["state"] == "invalid"
    assert told["sentence"].startswith("The manifest does not match")
