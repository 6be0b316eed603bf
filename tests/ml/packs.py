"""Small packs of drawn faces, for the tests of training."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.data.crop_pack import CropRow, Pack, PackWriter


def drawn_face(seed: int, size: int = 48) -> NDArray[np.uint8]:
    """A noisy oval on a ground, coloured by `seed`: (size, size, 3) uint8 RGB."""
    rng = np.random.default_rng(seed)
    image = np.full((size, size, 3), rng.integers(20, 200, size=3), dtype=np.uint8)
    colour = tuple(int(v) for v in rng.integers(60, 255, size=3))
    cv2.ellipse(image, (size // 2, size // 2), (size // 3, size * 2 // 5), 0, 0, 360, colour, -1)
    noisy = image.astype(np.int16) + rng.integers(-12, 13, size=image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def small_pack(path: Path, *, people: int = 8, videos: int = 6) -> Pack:
    """Single crops of `people` (real and fake each), reals of a second source, and sequences of `videos` people."""
    writer = PackWriter()
    for person in range(people):
        for k in range(3):
            split = "val" if person >= people - 2 else "train"
            for label in (0, 1):
                crop = drawn_face(100 * person + 10 * k + label)
                crop[:, :, 2] = 255 * label  # easy to tell: fakes are blue
                row = CropRow(label, f"p{person}", "lab", split=split, origin=f"p{person}c{k}")
                writer.add_crop(crop, row)
        writer.add_crop(drawn_face(5000 + person), CropRow(0, f"w{person}", "web", split="train"))
    for person in range(videos):
        for label in (0, 1):
            for order in range(6):
                crop = drawn_face(7000 + 100 * person + order)
                crop[:, :, 2] = 255 * label
                name = f"v{person}_{label}"
                writer.add_crop(
                    crop,
                    CropRow(
                        label,
                        f"v{person}",
                        "film",
                        method="swap" if label else "",
                        sequence=name,
                        order=order,
                        origin=name,
                        video=name,
                    ),
                )
    return Pack(writer.write(path))
