"""Copies of a crop as other recordings would show it: another codec, HDR, a head that was held at an angle.

A verdict should not depend on any of them; `ml.training.head_refit` holds the network's head to that.
"""

from __future__ import annotations

import numpy as np

from ml.data.augment import turned_and_back
from ml.data.codecs import H264, HEVC, VP9, Crop, hdr_compress, video_compress
from ml.video.tone_mapping import HLG, PQ

COPIES = 9
"""Crops that `recorded_otherwise` returns."""


def recorded_otherwise(crop: Crop, rng: np.random.Generator) -> list[Crop]:
    """Return COPIES copies of an RGB crop (S, S, 3) of even side, each as another recording would show it.

    HEVC, PQ and HLG, each well and badly compressed, VP9, H.264, and tilted and levelled again.  Needs PyAV.
    """
    return [
        *video_compress([crop], HEVC, int(rng.integers(22, 30))),
        *video_compress([crop], HEVC, int(rng.integers(30, 38))),
        *video_compress([crop], VP9, int(rng.integers(22, 34))),
        *video_compress([crop], H264, int(rng.integers(26, 36))),
        *turned_and_back([crop], rng),
        *(
            hdr_compress([crop], transfer, int(rng.integers(*crfs)))[0]
            for transfer in (PQ, HLG)
            for crfs in ((12, 21), (21, 30))
        ),
    ]
