"""Perceptual hashes: 256 bits of a picture or of a person's face in a video; near-duplicates differ in few.

Each bit is the sign of one low frequency of the picture (DCT): 128 of its brightness, 64 of each colour difference; of
a grey picture 256 of its brightness.  So it survives compression, scaling, brightness and, within limits, cropping.  A
face's hash is made of the mean of its person's crops, which depends less on which frames were taken than any one crop.

Measured recall and false matches: docs/measurements.md#perceptual-hashes.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

NO_HASH = "-"
BITS = 256
_SIDE = 48
_MIN_DEVIATION = 4.0
"""Of brightness, in grey levels: a flatter picture has no structure to compare, only noise."""
_MIN_COLOUR_DEVIATION = 1.5
_ZIGZAG = sorted(((i, j) for i in range(_SIDE) for j in range(_SIDE) if i + j), key=lambda at: (at[0] + at[1], at[0]))
_ROWS, _COLUMNS = (np.array(axis[:BITS]) for axis in zip(*_ZIGZAG, strict=True))


def image_hash(image: Image) -> str:
    """Hash an RGB image (H, W, 3): 64 hex digits, or NO_HASH where there is no structure (a black frame)."""
    small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    brightness, *colours = (np.asarray(channel, dtype=np.float32) for channel in cv2.split(small))
    if float(brightness.std()) < _MIN_DEVIATION:
        return NO_HASH
    if max(float(colour.std()) for colour in colours) < _MIN_COLOUR_DEVIATION:
        bits = _signs(brightness, BITS)
    else:
        bits = np.concatenate([_signs(brightness, BITS // 2), *(_signs(colour, BITS // 4) for colour in colours)])
    return np.packbits(bits).tobytes().hex()


def face_hash(crops: Sequence[Image]) -> str:
    """Hash one person from all of their crops in a video, square and RGB; NO_HASH as for a picture."""
    small = [cv2.resize(crop, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for crop in crops]
    mean: NDArray[np.float32] = np.mean(np.stack(small), axis=0, dtype=np.float32)
    return image_hash(np.asarray(mean.round(), dtype=np.uint8))


def _signs(channel: NDArray[np.float32], count: int) -> NDArray[np.bool_]:
    """Signs of the lowest `count` frequencies but the mean."""
    return np.asarray(cv2.dct(channel)[_ROWS[:count], _COLUMNS[:count]] > 0)
