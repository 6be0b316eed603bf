"""The picture as a player shows it: mirrored and turned by the container's matrix or by the stream's own message."""

from __future__ import annotations

import gc
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext

from ml.faces.extract import extract_faces
from ml.video.decode import decode
from ml.video.orientation import Orientation
from ml.video.probe import probe
from tests.ml.clips import faces_of, quadrants, write_clip
from tests.ml.test_video import corners

ALL = [Orientation(rotation, mirrored) for rotation in (0, 90, 180, 270) for mirrored in (False, True)]


def with_matrix(path: Path, orientation: Orientation, scale: float = 1.0) -> Path:
    """Write the display matrix into the MP4's track header: a, b, u, c, d, v, x, y, w (ISO/IEC 14496-12)."""
    angle = np.radians(orientation.rotation)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # anticlockwise, y down
    linear = rotation @ np.diag([-1.0 if orientation.mirrored else 1.0, 1.0]) * scale
    (a, c), (b, d) = linear
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    for slot, value in zip((0, 1, 3, 4), (a, b, c, d), strict=True):
        data[at + 4 * slot : at + 4 * slot + 4] = round(value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    return path


def with_message(path: Path, out: Path, options: str) -> Path:
    """Copy an H.264 stream with an SEI display orientation inserted."""
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        insert = BitStreamFilterContext(f"h264_metadata=display_orientation=insert:{options}", stream)
        for packet in source.demux(stream):
            for changed in insert.filter(packet if packet.size else None):
                changed.stream = copy
                target.mux(changed)
    return out


def hevc_with_message(path: Path, *, mirrored: bool, clockwise_quarters: int) -> Path:
    """Put an SEI display orientation (ITU-T H.265, D.2.17) before the first slice of a raw HEVC stream."""
    anticlockwise = (-clockwise_quarters % 4) * 0x4000
    bits = f"0{int(mirrored)}0{anticlockwise:016b}1" + "1000"  # not cancelled, flips, angle, persists, end
    message = bytes([0x4E, 0x01, 47, 3]) + int(bits, 2).to_bytes(3, "big") + b"\x80"
    data, at = path.read_bytes(), 0
    while True:
        at = data.index(b"\x00\x00\x01", at) + 3
        if data[at] >> 1 & 0x3F < 32:  # a slice
            break
    path.write_bytes(data[: at - 3] + b"\x00\x00\x01" + message + data[at - 3 :])
    return path


def shown(orientation: Orientation) -> list[str]:
    return corners(orientation.apply(quadrants(0)))


def test_the_eight_orientations_show_eight_pictures() -> None:
    assert len({tuple(shown(orientation)) for orientation in ALL}) == 8
    assert shown(Orientation(0, mirrored=True)) == ["green", "red", "white", "blue"]
    assert shown(Orientation(90)) == ["green", "white", "red", "blue"]


@pytest.mark.parametrize("orientation", ALL, ids=str)
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_every_matrix_of_the_container_is_applied(tmp_path: Path, orientation: Orientation, scale: float) -> None:
    path = with_matrix(write_clip(tmp_path / "phone.mp4"), orientation, scale)
    frame = next(decode(path))
    assert corners(frame.rgb()) == shown(orientation)
    info = probe(path).info(frame)
    assert (info.rotation, info.mirrored) == (orientation.rotation, orientation.mirrored)
    assert (info.width, info.height) == ((96, 128) if orientation.rotation % 180 else (128, 96))


def test_a_matrix_of_nothing_changes_nothing(tmp_path: Path) -> None:
    path = with_matrix(write_clip(tmp_path / "phone.mp4"), Orientation(), 0.0)
    assert corners(next(decode(path)).rgb()) == shown(Orientation())


@pytest.mark.parametrize(
    ("options", "orientation"),
    [
        ("rotate=90", Orientation(90)),
        ("rotate=270", Orientation(270)),
        ("rotate=180", Orientation(180)),
        ("flip=horizontal", Orientation(0, mirrored=True)),
        ("flip=vertical", Orientation(180, mirrored=True)),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_message_in_the_h264_stream_holds_for_all_its_frames(
    tmp_path: Path, options: str, orientation: Orientation, suffix: str
) -> None:
    path = with_message(write_clip(tmp_path / f"plain{suffix}", frames=12), tmp_path / f"sei{suffix}", options)
    frames = list(decode(path))
    assert len(frames) == 12
    assert {tuple(corners(frame.rgb())) for frame in frames} == {tuple(shown(orientation))}
    assert {frame.orientation for frame in frames} == {orientation}


@pytest.mark.parametrize(("mirrored", "clockwise"), [(False, 1), (False, 2), (False, 3), (True, 0)])
def test_a_message_in_the_hevc_stream_is_applied(tmp_path: Path, mirrored: bool, clockwise: int) -> None:
    path = write_clip(tmp_path / "raw.hevc", codec="libx265", options={"x265-params": "log-level=none"})
    hevc_with_message(path, mirrored=mirrored, clockwise_quarters=clockwise)
    expected = shown(Orientation(-90 * clockwise % 360, mirrored))
    assert {tuple(corners(frame.rgb())) for frame in decode(path)} == {tuple(expected)}


def test_reading_the_orientation_keeps_no_frame_alive(tmp_path: Path) -> None:
    """Frames in reference cycles would pile up until the next collection: 3 MB each at 1080p."""
    path = with_matrix(write_clip(tmp_path / "phone.mp4", frames=30), Orientation(90))
    gc.collect()
    gc.disable()

    def alive() -> int:
        return sum(issubclass(type(each), av.VideoFrame) for each in gc.get_objects())  # a dead proxy has no class

    try:
        before = alive()  # those of other tests in this process
        assert sum(1 for _ in decode(path)) == 30
        assert alive() <= before + 2
    finally:
        gc.enable()


def test_boxes_are_of_the_frame_as_shown(tmp_path: Path) -> None:
    frames = [np.ascontiguousarray(frame[::2, ::2]) for frame in faces_of("one-person.mp4")[:12]]
    plain = write_clip(tmp_path / "plain.mp4", picture=lambda n: frames[n])
    stored = write_clip(tmp_path / "stored.mp4", picture=lambda n: np.ascontiguousarray(frames[n][:, ::-1]))
    faces = [
        extract_faces(path).tracks[0].faces[0] for path in (plain, with_matrix(stored, Orientation(0, mirrored=True)))
    ]
    assert np.abs(np.subtract(faces[0].box, faces[1].box)).max() < 4
    as_shown, as_stored = (
        np.abs(faces[0].crop.astype(int) - crop).mean() for crop in (faces[1].crop, faces[1].crop[:, ::-1])
    )
    assert as_shown < as_stored / 2
