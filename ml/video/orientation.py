"""How a stored picture is mirrored and rotated before it is shown."""

from __future__ import annotations

import math
from dataclasses import dataclass

import av
import numpy as np
from av.sidedata.sidedata import SideData, SideDataContainer
from numpy.typing import NDArray


@dataclass(frozen=True)
class Orientation:
    """Mirrored left to right first, where `mirrored`; then rotated anticlockwise by `rotation`: 0, 90, 180 or 270."""

    rotation: int = 0
    mirrored: bool = False

    @property
    def swaps_sides(self) -> bool:
        """True where a landscape picture is shown as a portrait."""
        return self.rotation % 180 != 0

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the stored picture (H, W, 3) as it is shown."""
        if self.mirrored:
            image = image[:, ::-1]
        if self.rotation:
            image = np.rot90(image, self.rotation // 90)
        return np.ascontiguousarray(image)


UPRIGHT = Orientation()


def orientation_of(frame: av.VideoFrame) -> Orientation | None:
    """Read the display matrix of a decoded frame; None without one.

    FFmpeg makes one of the container's matrix (on every frame) and of the stream's own message, the SEI display
    orientation of H.264 and HEVC (on the frames that carry it).  Angles are taken to the nearest quarter turn.
    """
    # `frame.side_data` would keep the container in the frame: a cycle, so that frames of 3 MB pile up until they are
    # collected.
    data = SideDataContainer(frame).get("DISPLAYMATRIX")  # type: ignore[call-arg]
    if not isinstance(data, SideData):
        return None
    values = np.frombuffer(memoryview(data), np.int32)  # (9,)
    # x' = a x + c y, y' = b x + d y, y downwards (libavutil/display.h).
    a, b, c, d = (float(values[k]) / 65536 for k in (0, 1, 3, 4))
    mirrored = a * d - b * c < 0
    if mirrored:  # undo the mirroring, which comes first
        a, b = -a, -b
    if a == b == c == d == 0:
        return UPRIGHT
    quarter = round(math.degrees(math.atan2(c - b, a + d)) / 90) % 4
    return Orientation(90 * quarter, mirrored)
