"""Linking detections into people.

When in doubt a track ends: two tracks of one person cost little, a sequence with two people in it is wrong.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.config import FaceConfig

Box = tuple[float, float, float, float]
Points = tuple[tuple[float, float], ...]
"""Landmarks as (x, y)."""


@dataclass(frozen=True)
class Detection:
    """A valid face in a frame.

    `box` and the five `landmarks` (left eye, right eye, nose, left and right corner of the mouth, as seen) are in
    pixels of the frame as shown; `crop` is (S, S, 3) RGB, levelled.
    """

    frame_number: int
    timestamp_s: float
    box: Box
    probability: float
    crop: NDArray[np.uint8]
    landmarks: Points = ()

    @property
    def area(self) -> float:
        """Area of the box, in square pixels."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])

    @cached_property
    def colour(self) -> NDArray[np.float32]:
        """Hue and saturation histogram of the crop: tells two people apart who stand in the same place."""
        small = cv2.resize(self.crop, (48, 48), interpolation=cv2.INTER_AREA)
        histogram = cv2.calcHist([cv2.cvtColor(small, cv2.COLOR_RGB2HSV)], [0, 1], None, [12, 8], [0, 180, 0, 256])
        return np.asarray(histogram / histogram.sum(), dtype=np.float32)


def linspace_indices(count: int, wanted: int) -> list[int]:
    """At most `wanted` different whole numbers spread evenly over 0 .. count - 1."""
    if count <= 0:
        return []
    return sorted({round(x) for x in np.linspace(0, count - 1, min(count, wanted))})


def iou(a: Box, b: Box) -> float:
    """Intersection over union."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    overlap = width * height
    return overlap / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap)


def affinity(a: Detection, b: Detection, config: FaceConfig) -> float:
    """How likely two faces of neighbouring looks are one person: 0 (cannot be) to 1 (same place, same size)."""
    width_a, width_b = a.box[2] - a.box[0], b.box[2] - b.box[0]
    if max(width_a, width_b) > config.link_max_scale * min(width_a, width_b):
        return 0.0
    shift_x = (a.box[0] + a.box[2] - b.box[0] - b.box[2]) / 2
    shift_y = (a.box[1] + a.box[3] - b.box[1] - b.box[3]) / 2
    shift = float(np.hypot(shift_x, shift_y)) / max(1e-6, (width_a + width_b) / 2)
    if shift > config.link_max_centre_shift or iou(a.box, b.box) < config.link_min_iou:
        return 0.0
    distance = cv2.compareHist(a.colour, b.colour, cv2.HISTCMP_BHATTACHARYYA)
    if distance > config.link_max_colour_distance:
        return 0.0
    return 1.0 - shift / (config.link_max_centre_shift + 1e-6) * 0.9


def link(looks: list[list[Detection]], cuts: list[int], config: FaceConfig) -> list[list[Detection]]:
    """Tracks from detections per frame (in time order).  No track crosses a cut or a long gap, or an ambiguity.

    A detection that two tracks claim about equally, or a track that two detections fit about equally, is not linked:
    new tracks begin there.
    """
    done: list[list[Detection]] = []
    live: list[list[Detection]] = []
    for detections in looks:
        if not detections:
            continue
        number = detections[0].frame_number

        def reachable(track: list[Detection], number: int = number) -> bool:
            last = track[-1].frame_number
            same_shot = bisect_right(cuts, last) == bisect_right(cuts, number)
            return same_shot and number - last <= config.link_max_gap

        done += [t for t in live if not reachable(t)]
        live = [t for t in live if reachable(t)]
        scores = np.array([[affinity(t[-1], d, config) for d in detections] for t in live]).reshape(
            len(live), len(detections)
        )
        ambiguous = [
            (i, j)
            for i, j in zip(*np.nonzero(scores), strict=True)
            if max(np.delete(scores[i], j).max(initial=0.0), np.delete(scores[:, j], i).max(initial=0.0))
            > config.link_ambiguity * scores[i, j]
        ]
        ended = {i for i, _ in ambiguous}
        for i, j in ambiguous:
            scores[i, j] = 0.0
        linked: set[int] = set()
        while scores.size and scores.max() > 0:
            i, j = np.unravel_index(int(scores.argmax()), scores.shape)
            live[i].append(detections[j])
            linked.add(int(j))
            ended.discard(i)
            scores[i, :] = 0.0
            scores[:, j] = 0.0
        done += [live[i] for i in ended]
        live = [t for i, t in enumerate(live) if i not in ended]
        live += [[d] for j, d in enumerate(detections) if j not in linked]
    return done + live
