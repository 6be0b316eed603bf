"""Copies of a crop as other recordings would show it: another codec, HDR, a head that was held at an angle.

A verdict should not depend on any of them; `ml.training.head_refit` holds the network's head to that.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.data.augment import CODECS, Crop, key_frame, turned_and_back, video_compress
from ml.video.tone_mapping import HLG, PQ, to_sdr

COPIES = 9
"""Crops that `recorded_otherwise` returns."""
_TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
_LUMA_2020 = np.array([0.2627, 0.6780, 0.0593])
_WHITE_NITS = 100.0
"""Of the SDR crop: the least that the tone mapping takes for white, or it would brighten dark crops."""
_BT2020_NCL = 9
_H264, _HEVC, _VP9 = CODECS


def recorded_otherwise(crop: Crop, rng: np.random.Generator) -> list[Crop]:
    """Return COPIES copies of an RGB crop (S, S, 3) of even side, each as another recording would show it.

    HEVC, PQ and HLG, each well and badly compressed, VP9, H.264, and tilted and levelled again.  Needs PyAV.
    """
    return [
        *video_compress([crop], _HEVC, int(rng.integers(22, 30))),
        *video_compress([crop], _HEVC, int(rng.integers(30, 38))),
        *video_compress([crop], _VP9, int(rng.integers(22, 34))),
        *video_compress([crop], _H264, int(rng.integers(26, 36))),
        *turned_and_back([crop], rng),
        *(
            hdr_compress(crop, transfer, crf=int(rng.integers(*crfs)))
            for transfer in (PQ, HLG)
            for crfs in ((12, 21), (21, 30))
        ),
    ]


def hdr_compress(crop: Crop, transfer: int, *, crf: int) -> Crop:
    """Pass an SDR crop through a key frame of HDR HEVC (10 bits, BT.2020) and the tone mapping back to SDR.

    `transfer` is PQ or HLG of `ml.video.tone_mapping`.
    """
    import av  # a bare training machine may lack it

    signal = _hdr_signal(crop, transfer)
    luma = signal @ _LUMA_2020
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
    decoded = key_frame(frame, _HEVC, crf, pixels=frame.format.name)
    decoded.colorspace = _BT2020_NCL
    return to_sdr(decoded.reformat(format="rgb48le").to_ndarray(), transfer)


def _hdr_signal(crop: Crop, transfer: int) -> NDArray[np.float64]:
    """SDR RGB (H, W, 3) -> R'G'B' of BT.2020, 0 to 1: what `ml.video.tone_mapping.to_sdr` undoes."""
    nits = (crop / 255.0) ** 2.4 @ _TO_2020.T * _WHITE_NITS
    if transfer == PQ:
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        power = (np.maximum(nits, 0) / 10000) ** m1
        return np.asarray(((c1 + c2 * power) / (1 + c3 * power)) ** m2)
    scene = np.maximum(nits / 1000, 1e-9) ** (1 / 1.2)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)
