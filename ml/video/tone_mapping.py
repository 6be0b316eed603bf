"""HDR pictures (HLG and PQ, BT.2020) as SDR (BT.709), in the colours of an SDR recording of the same scene; and back.

Sources: ITU-R BT.2100-2 (transfer functions, system gamma of HLG for a display of 1,000 nits), BT.2087-0 (primaries),
BT.1886 (SDR displays), BT.2408 (SDR's white lies between 100 and 203 nits).  Not every build of FFmpeg has zscale, so
this is numpy.

HLG's system gamma is applied to each channel, as an SDR camera and display do between them, and FFmpeg's zscale too.
BT.2100 applies it to the luminance, for colours less saturated than those of the SDR recordings from which the network
has learnt.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

PQ, HLG = 16, 18
"""Transfer characteristics (ITU-T H.273)."""
WHITE_NITS = (100.0, 203.0)
"""Luminance that becomes SDR's white: that of the brightest hundredth of the picture, within these bounds."""
KNEE = 0.85
"""Of white: what is darker keeps its luminance, what is brighter is compressed into the rest."""
_HLG_PEAK_NITS, _PQ_PEAK_NITS, _HLG_GAMMA = 1000.0, 10000.0, 1.2
LUMA_2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)
_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
"""Of PQ."""
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073
"""Of HLG."""
_TO_709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32)
_TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
_LEVELS = 4096
"""Entries of a table: more than the 1,024 levels that a stream has."""
_BLOCK_PIXELS = 2**15
"""Converted together: what a processor's cache holds."""
_LINEAR_LEVELS = 65536
"""Of linear light: the darkest tenth of the signal lies in its first 260."""


def to_sdr(rgb: NDArray[np.uint16], transfer: int) -> NDArray[np.uint8]:
    """Return RGB (H, W, 3) of 8 bits from R'G'B' (H, W, 3) of 16 bits in BT.2020 with this transfer."""
    luminance = cv2.transform(_light(rgb[::4, ::4], transfer), LUMA_2020[None])
    white = float(np.clip(np.percentile(luminance, 99), *WHITE_NITS))
    out = np.empty(rgb.shape, np.uint8)
    rows = max(1, _BLOCK_PIXELS // rgb.shape[1])
    for top in range(0, len(rgb), rows):
        linear = cv2.transform(_light(rgb[top : top + rows], transfer), _TO_709 / np.float32(white))
        brightest = linear.max(axis=2)
        over = brightest > KNEE
        if over.any():  # of all three alike, so that hues stay
            peak = brightest[over]
            compressed = KNEE + (1.0 - KNEE) * (1.0 - np.exp((KNEE - peak) / (1.0 - KNEE)))
            linear[over] *= (compressed / peak)[:, None]
        np.clip(linear, 0.0, 1.0, out=linear)
        linear *= _LINEAR_LEVELS - 1
        np.take(_signal_1886(), linear.astype(np.uint16), out=out[top : top + rows], mode="clip")
    return out


def from_sdr(rgb: NDArray[np.uint8], transfer: int) -> NDArray[np.float64]:
    """Return R'G'B' (H, W, 3) of BT.2020 with this transfer, 0 to 1, from RGB (H, W, 3): what `to_sdr` takes back.

    SDR's white becomes the least that `to_sdr` takes for white, or it would brighten dark pictures.
    """
    nits = (rgb / 255.0) ** 2.4 @ _TO_2020.T * WHITE_NITS[0]
    if transfer == PQ:
        power = (np.maximum(nits, 0) / _PQ_PEAK_NITS) ** _M1
        return np.asarray(((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2)
    scene = np.maximum(nits / _HLG_PEAK_NITS, 1e-9) ** (1 / _HLG_GAMMA)
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), _A * np.log(np.maximum(12 * scene - _B, 1e-9)) + _C)


def _light(rgb: NDArray[np.uint16], transfer: int) -> NDArray[np.float32]:
    """Light (H, W, 3) that a display emits, in nits."""
    return _table(transfer).take(rgb >> 4, mode="clip")


@cache
def _table(transfer: int) -> NDArray[np.float32]:
    """Light of each level of the signal, in nits."""
    signal = np.arange(_LEVELS) / (_LEVELS - 1)
    if transfer == PQ:
        power = signal ** (1 / _M2)
        light = _PQ_PEAK_NITS * (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1)
    else:
        scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - _C) / _A) + _B) / 12)
        light = _HLG_PEAK_NITS * scene**_HLG_GAMMA
    return np.asarray(light, dtype=np.float32)


@cache
def _signal_1886() -> NDArray[np.uint8]:
    """Signal of an SDR display (ITU-R BT.1886: gamma 2.4), 0 to 255, for linear light of 0 to 1."""
    linear = np.arange(_LINEAR_LEVELS) / (_LINEAR_LEVELS - 1)
    return np.asarray(np.rint(linear ** (1 / 2.4) * 255), dtype=np.uint8)
