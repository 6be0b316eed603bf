"""Pictures as files: what is stored of a face or a frame, and read back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.files.storage import default_storage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

JPEG_QUALITY = 88


def encode(suffix: str, rgb: NDArray[np.uint8]) -> bytes:
    """Encode an RGB picture (height, width, 3) as the file type of `suffix`.  Raises RuntimeError."""
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if suffix == ".jpg" else []
    done, data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise RuntimeError(f"an image of shape {rgb.shape} cannot be written as {suffix}")
    return data.tobytes()


def read_crop(name: str) -> NDArray[np.uint8]:
    """A stored crop as RGB.  Raises when it is missing or damaged."""
    with default_storage.open(name) as handle:
        image = decoded_crop(handle.read())
    if image is None:
        raise RuntimeError(f"the stored face {name} cannot be read")
    return image


def decoded_crop(data: bytes) -> NDArray[np.uint8] | None:
    """RGB, or None where the bytes are no picture."""
    import cv2
    import numpy as np

    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return None if image is None else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
