"""A still picture of a face: a poster, a photo on a shelf.  It does not move within itself, as every living face does.

Each crop is laid over the middle one by an affine transformation and a change of light; what then still differs, at a
coarse scale that noise and compression do not reach, is movement of the face itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Grey = NDArray[np.float32]

SIDE, BLUR = 64, 1.2
BORDER = 10
"""Pixels of the reduced crop on each side that are not compared: hair, background and what is warped in."""
MOST_MOVEMENT = 0.022
"""Of what differs, as a share of the crop's contrast.  Of posters 0.001 to 0.013, of living people 0.03 and up."""
MIN_FACES, MIN_SECONDS = 5, 1.0
"""Of less nobody can say that it never moves."""
_ITERATIONS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-4)


def is_still(crops: Sequence[Image], seconds: float) -> bool:
    """Return whether one person's crops (S, S, 3), in time order over `seconds`, are all of a still picture.

    Two of ten may differ: something passes in front of it.
    """
    if len(crops) < MIN_FACES or seconds < MIN_SECONDS:
        return False
    reduced = [_reduced(crop) for crop in crops]
    reference = reduced[len(reduced) // 2]
    allowed = len(crops) // 5
    for other in reduced:
        allowed -= _movement(reference, other) > MOST_MOVEMENT
        if allowed < 0:
            return False
    return True


def _reduced(crop: Image) -> Grey:
    grey = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), BLUR), dtype=np.float32)


def _movement(reference: Grey, other: Grey) -> float:
    matrix = np.eye(2, 3, dtype=np.float32)
    try:
        _, found = cv2.findTransformECC(reference, other, matrix, cv2.MOTION_AFFINE, _ITERATIONS)
    except cv2.error:  # nothing in common
        return 1.0
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(other, found, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inner = slice(BORDER, SIDE - BORDER)
    a, b = reference[inner, inner].ravel(), np.asarray(laid)[inner, inner].ravel()
    gain, offset = np.polyfit(b, a, 1)
    return float(np.abs(a - gain * b - offset).mean() / max(float(a.std()), 1.0))
