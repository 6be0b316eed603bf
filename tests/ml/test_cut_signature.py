"""What a cut is told by, in every pixel format that a decoder may give."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ml.config import FaceConfig
from ml.video.decode import decode
from ml.video.frame import DecodedFrame
from ml.video.frame_source import SceneCutDetector


def _pictures(count: int) -> list[NDArray[np.uint8]]:
    """One shot: a soft picture that moves a little, with a camera's noise."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 190, (12, 16, 3)).astype(np.uint8)
    still = cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC).astype(int)
    noisy = (np.roll(still, n, axis=1) + rng.integers(-3, 4, still.shape) for n in range(count))
    return [np.clip(picture, 0, 255).astype(np.uint8) for picture in noisy]


def _signature(picture: NDArray[np.uint8], pixels: str) -> NDArray[np.float32]:
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
    return DecodedFrame(0, 0.0, frame, None).luma_signature()


@pytest.mark.parametrize(
    "pixels",
    [
        "yuv410p", "yuv420p9le", "yuv420p10le", "yuv420p10be", "yuv422p12le", "yuv420p14le", "yuv420p16le",
        "yuv420p16be", "p010le", "gray16le",
    ],
)  # fmt: skip
def test_brightness_is_the_same_in_every_pixel_format(pixels: str) -> None:
    picture = _pictures(1)[0]
    expected = _signature(picture, "gray" if pixels.startswith("gray") else "yuv420p")
    found = _signature(picture, pixels)
    assert found.min() >= 0
    assert found.max() <= 1
    assert abs(float(found.mean() - expected.mean())) < 0.03
    assert abs(float(found.std() - expected.std())) < 0.03


@pytest.mark.parametrize(("codec", "pixels", "suffix"), [("svq1", "yuv410p", ".mov"), ("ffv1", "yuv420p16le", ".mkv")])
def test_one_shot_has_no_cut(tmp_path: Path, codec: str, pixels: str, suffix: str) -> None:
    path = tmp_path / f"shot{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 320, 240, pixels
        for picture in _pictures(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)))
        container.mux(stream.encode())
    detector = SceneCutDetector(FaceConfig().cut_threshold)
    for frame in decode(path):
        assert frame.frame.format.name == pixels
        detector.add(frame)
    assert detector.found == []
