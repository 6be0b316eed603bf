"""HDR clips look as the SDR recording of the same scene: in frames, crops, thumbnails and previews."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ml.faces.extract import extract_faces
from ml.video.decode import decode
from ml.video.preview import make_preview
from ml.video.tone_mapping import HLG, PQ, to_sdr
from tests.ml.clips import faces_of, write_clip

TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
LUMA_2020 = np.array([0.2627, 0.6780, 0.0593])


def as_hdr(image: NDArray[np.uint8], transfer: int, white_nits: float) -> NDArray[np.float64]:
    """SDR RGB (H, W, 3) -> BT.2020 R'G'B' of 0 to 1, its white at so many nits: the same scene, recorded in HDR."""
    nits = (image / 255.0) ** 2.4 @ TO_2020.T * white_nits
    if transfer == PQ:
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        power = (np.maximum(nits, 0) / 10000) ** m1
        return ((c1 + c2 * power) / (1 + c3 * power)) ** m2
    scene = np.maximum(nits / 1000, 1e-9) ** (1 / 1.2)  # of each channel: what an SDR camera and display do, undone
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)


def yuv_2020(signal: NDArray[np.float64]) -> av.VideoFrame:
    """R'G'B' (H, W, 3) -> yuv420p10le, BT.2020 non-constant luminance, limited range."""
    luma = signal @ LUMA_2020
    blue, red = (signal[..., 2] - luma) / 1.8814, (signal[..., 0] - luma) / 1.4746
    height, width = luma.shape
    small = [cv2.resize(each, (width // 2, height // 2), interpolation=cv2.INTER_AREA) for each in (blue, red)]
    planes = [luma * 876 + 64, *(each * 896 + 512 for each in small)]
    frame = av.VideoFrame(width, height, "yuv420p10le")
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size // 2), np.uint16)
        rows[:, : values.shape[1]] = np.clip(np.rint(values), 0, 1023)
        plane.update(rows.tobytes())
    return frame


def write_hdr(path: Path, frames: list[NDArray[np.uint8]], transfer: int, white_nits: float = 100.0) -> Path:
    names = {PQ: "smpte2084", HLG: "arib-std-b67"}
    colours = f"log-level=none:colorprim=bt2020:transfer={names[transfer]}:colormatrix=bt2020nc"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=25, options={"crf": "12", "x265-params": colours})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p10le"
        for image in frames:
            container.mux(stream.encode(yuv_2020(as_hdr(image, transfer, white_nits))))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def person() -> list[NDArray[np.uint8]]:
    return [np.asarray(cv2.resize(frame, (320, 180)), dtype=np.uint8) for frame in faces_of("one-person.mp4")[:20]]


@pytest.mark.parametrize("transfer", [HLG, PQ])
@pytest.mark.parametrize("white_nits", [100.0, 203.0])
def test_frames_have_the_colours_of_the_sdr_recording(
    tmp_path: Path, person: list[NDArray[np.uint8]], transfer: int, white_nits: float
) -> None:
    frames = list(decode(write_hdr(tmp_path / "hdr.mp4", person[:6], transfer, white_nits)))
    assert frames[0].frame.color_trc == transfer
    for frame, sdr in zip(frames, person, strict=False):
        assert np.abs(frame.rgb().astype(int) - sdr).mean() < 5
        assert np.abs(frame.rgb().mean(axis=(0, 1)) - sdr.mean(axis=(0, 1))).max() < 4
        half = cv2.resize(sdr, (160, 90), interpolation=cv2.INTER_AREA)
        assert np.abs(frame.rgb(long_side=160).astype(int) - half).mean() < 5


@pytest.mark.parametrize("transfer", [HLG, PQ])
def test_crops_thumbnail_and_preview_are_those_of_the_sdr_clip(
    tmp_path: Path, person: list[NDArray[np.uint8]], transfer: int
) -> None:
    hdr = write_hdr(tmp_path / "hdr.mp4", person, transfer)
    sdr = write_clip(tmp_path / "sdr.mp4", frames=len(person), picture=lambda n: person[n], options={"crf": "12"})
    found, expected = extract_faces(hdr), extract_faces(sdr)
    assert [len(track.faces) for track in found.tracks] == [10]
    ours, theirs = (
        np.mean([face.crop.mean(axis=(0, 1)) for face in each.tracks[0].faces], axis=0) for each in (found, expected)
    )
    assert np.abs(ours - theirs).max() < 3  # of all ten: a box of one may lie a few pixels elsewhere
    assert np.abs(found.thumbnail.astype(int) - expected.thumbnail).mean() < 5
    shown = next(decode(make_preview(hdr, tmp_path).path)).rgb()
    assert np.abs(shown.astype(int) - person[0]).mean() < 6


@pytest.mark.parametrize("transfer", [HLG, PQ])
@pytest.mark.parametrize("colour", [(200, 100, 100), (150, 0, 0), (64, 160, 96), (48, 96, 192), (128, 128, 128)])
def test_full_colours_come_back(transfer: int, colour: tuple[int, int, int]) -> None:
    patch = np.full((8, 8, 3), colour, np.uint8)
    signal = np.clip(as_hdr(patch, transfer, 100.0), 0, 1)
    assert np.abs(to_sdr(np.rint(signal * 65535).astype(np.uint16), transfer).astype(int) - patch).max() <= 2


@pytest.mark.parametrize("transfer", [HLG, PQ])
def test_highlights_are_compressed_and_stay_in_order(transfer: int) -> None:
    ramp = np.repeat(np.linspace(0, 65535, 1024).astype(np.uint16)[None, :, None], 3, axis=2)
    sdr = to_sdr(np.repeat(ramp, 8, axis=0), transfer)[0]
    assert (np.diff(sdr.astype(int), axis=0) >= 0).all()
    assert (sdr[0] == 0).all()
    assert sdr[-1].min() >= 250
    assert np.ptp(sdr.astype(int), axis=1).max() <= 2, "grey stays grey"
