"""Pass crops through JPEG or through a key frame of a video codec, as recordings of them would.

All functions take and return uint8 RGB crops (S, S, 3); those of video need PyAV, which a bare training machine may
lack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.video.tone_mapping import HLG, LUMA_2020, PQ, from_sdr, to_sdr

Crop = NDArray[np.uint8]


@dataclass(frozen=True)
class Codec:
    """A video codec of FFmpeg, as fast as it goes."""

    encoder: str
    decoder: str
    share: float
    """Of the compressed groups; the rest is JPEG."""
    crf_offset: int
    options: dict[str, str]


CODECS = H264, HEVC, VP9 = (
    Codec("libx264", "h264", 0.3, 0, {"preset": "veryfast", "tune": "zerolatency", "threads": "1"}),
    # HEVC (phones) and VP9 (the web) smooth where H.264 rings: a network that knows H.264 alone calls them fake.
    Codec(
        "libx265",
        "hevc",
        0.25,
        0,
        {"preset": "ultrafast", "x265-params": "log-level=none:pools=none:frame-threads=1:wpp=0"},
    ),
    Codec(
        "libvpx-vp9",
        "vp9",
        0.1,
        8,
        {"deadline": "realtime", "cpu-used": "7", "lag-in-frames": "0", "b": "0", "threads": "1"},
    ),
)
HDR_SHARES = ((PQ, 0.06), (HLG, 0.06))
"""Of the compressed groups, by transfer: as 10 bits of HEVC and back."""
_BT2020_NCL = 9


def jpeg_compress(crop: Crop, quality: int) -> Crop:
    """Pass a crop through JPEG."""
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise ValueError("a crop could not be encoded as JPEG")
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if decoded is None:
        raise ValueError("a crop could not be decoded from JPEG")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def video_compress(crops: Sequence[Crop], codec: Codec, crf: int) -> list[Crop]:
    """Pass crops of one even size, as one stacked picture, through a key frame of that codec and rate factor."""
    import av

    stack = np.ascontiguousarray(np.concatenate(crops, axis=0))
    frame = key_frame(av.VideoFrame.from_ndarray(stack, format="rgb24"), codec, crf, pixels="yuv420p")
    return list(np.split(frame.to_ndarray(format="rgb24"), len(crops), axis=0))


def key_frame(frame: Any, codec: Codec, crf: int, *, pixels: str) -> Any:
    """Pass an av.VideoFrame through a key frame of that codec and rate factor, in the pixel format `pixels`."""
    import av

    encoder: Any = av.CodecContext.create(codec.encoder, "w")
    encoder.height, encoder.width, encoder.pix_fmt = frame.height, frame.width, pixels
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"crf": str(crf + codec.crf_offset), **codec.options}
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    decoder: Any = av.CodecContext.create(codec.decoder, "r")
    decoder.thread_count = 1
    return ([each for packet in packets for each in decoder.decode(packet)] + list(decoder.decode(None)))[0]


def hdr_compress(crops: Sequence[Crop], transfer: int, crf: int) -> list[Crop]:
    """Pass crops of one even size through a key frame of HDR HEVC (10 bits, BT.2020) and the tone mapping back to SDR.

    `transfer` is PQ or HLG of `ml.video.tone_mapping`.
    """
    import av

    signal = from_sdr(np.concatenate(crops, axis=0), transfer)
    luma = signal @ LUMA_2020
    height, width = luma.shape
    chroma = [
        cv2.resize(difference, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        for difference in ((signal[..., 2] - luma) / 1.8814, (signal[..., 0] - luma) / 1.4746)
    ]
    frame = av.VideoFrame(width, height, "yuv420p10le")
    for plane, values in zip(frame.planes, [luma * 876 + 64, *(each * 896 + 512 for each in chroma)], strict=True):
        rows = np.zeros((plane.height, plane.line_size // 2), np.uint16)
        rows[:, : values.shape[1]] = np.clip(np.rint(values), 0, 1023)
        plane.update(rows.tobytes())
    decoded = key_frame(frame, HEVC, crf, pixels=frame.format.name)
    decoded.colorspace = _BT2020_NCL
    return list(np.split(to_sdr(decoded.reformat(format="rgb48le").to_ndarray(), transfer), len(crops), axis=0))
