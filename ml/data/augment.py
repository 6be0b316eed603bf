"""Changes made to crops while training: the usual photometric ones, and self-blended images.

Every function takes an (H, W, 3) uint8 RGB crop and a seeded `numpy.random.Generator`, and returns a new crop.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Crop = NDArray[np.uint8]
Mask = NDArray[np.float32]


@dataclass(frozen=True)
class AugmentConfig:
    """Probabilities of each change, and how strong it may be."""

    flip: float = 0.5
    zoom_min: float = 0.85
    """A random square of at least this share of the side is kept."""
    colour: float = 0.5
    blur: float = 0.15
    downscale: float = 0.25
    noise: float = 0.1
    jpeg: float = 0.4
    jpeg_quality: tuple[int, int] = (35, 95)
    cutout: float = 0.2


def jpeg_compress(crop: Crop, quality: int) -> Crop:
    """Through JPEG and back."""
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise ValueError("a crop could not be encoded as JPEG")
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if decoded is None:
        raise ValueError("a crop could not be decoded from JPEG")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def rescale(crop: Crop, scale: float) -> Crop:
    """Down by `scale` and back up: the detail is lost, the size stays."""
    height, width = crop.shape[:2]
    small = (max(8, round(width * scale)), max(8, round(height * scale)))
    down = cv2.resize(crop, small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(down, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def colour_jitter(crop: Crop, rng: np.random.Generator, strength: float = 1.0) -> Crop:
    """Gain and offset per channel, gamma and saturation; `strength` 1 is strong but still a photograph."""
    gain = 1.0 + strength * (rng.uniform(-0.15, 0.15) + rng.uniform(-0.06, 0.06, size=3))
    offset = strength * (rng.uniform(-16, 16) + rng.uniform(-8, 8, size=3))
    saturation = max(0.0, 1.0 + strength * float(rng.uniform(-0.3, 0.3)))
    gamma = float(np.exp(strength * rng.uniform(-0.25, 0.25)))
    grey = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    mixed = cv2.addWeighted(crop, saturation, grey, 1.0 - saturation, 0)
    ramp = np.arange(256, dtype=np.float64)[:, None] * gain + offset  # (256, 3): gain, offset and gamma in one table
    table = np.rint(255.0 * (np.clip(ramp, 0, 255) / 255.0) ** gamma).astype(np.uint8)
    return np.asarray(cv2.LUT(mixed, table[None]), dtype=np.uint8)


def cutout(crop: Crop, rng: np.random.Generator) -> Crop:
    """A rectangle of up to a third of each side becomes the crop's mean colour."""
    height, width = crop.shape[:2]
    h = int(rng.integers(height // 8, height // 3 + 1))
    w = int(rng.integers(width // 8, width // 3 + 1))
    top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
    out = crop.copy()
    out[top : top + h, left : left + w] = crop.mean(axis=(0, 1)).astype(np.uint8)
    return out


def augment(crop: Crop, rng: np.random.Generator, config: AugmentConfig | None = None) -> Crop:
    """A label-preserving variant of `crop`.  The same seed gives the same changes: pairs are augmented alike."""
    c = config or AugmentConfig()
    draws = rng.random(8)  # drawn at once, so that a pair stays in step whatever is applied
    side = min(crop.shape[:2])
    keep = round(side * float(rng.uniform(c.zoom_min, 1.0)))
    at_y, at_x = rng.random(2)
    seeds = rng.integers(0, 2**31, size=4)
    top, left = int(at_y * (crop.shape[0] - keep)), int(at_x * (crop.shape[1] - keep))
    out = crop[top : top + keep, left : left + keep]
    if draws[0] < c.flip:
        out = out[:, ::-1]
    out = np.ascontiguousarray(out)
    if draws[1] < c.colour:
        out = colour_jitter(out, np.random.default_rng(seeds[0]))
    level = np.random.default_rng(seeds[1])
    sigma, scale, spread = level.uniform(0.4, 1.4), level.uniform(0.4, 0.9), level.uniform(2.0, 8.0)
    quality = int(level.integers(c.jpeg_quality[0], c.jpeg_quality[1] + 1))
    if draws[2] < c.blur:
        out = np.asarray(cv2.GaussianBlur(out, (0, 0), float(sigma)), dtype=np.uint8)
    if draws[3] < c.downscale:
        out = rescale(out, float(scale))
    if draws[4] < c.noise:
        grain = np.random.default_rng(seeds[2]).normal(0.0, spread, size=out.shape)
        out = np.asarray(np.clip(out + grain, 0, 255), dtype=np.uint8)
    if draws[5] < c.jpeg:
        out = jpeg_compress(out, quality)
    if draws[6] < c.cutout:
        out = cutout(out, np.random.default_rng(seeds[3]))
    return out


def face_mask(height: int, width: int, rng: np.random.Generator) -> Mask:
    """(H, W) float32 in [0, 1]: a soft, wobbling ellipse about where the face of a tight crop is.

    Landmark-free: crops are squares around the face with about 30 % margin, so the face's oval is known well enough.
    The outer edge is bent by a few low harmonics, the lower or upper part may be left out (some methods forge only the
    mouth or only the eyes), and the border is softened over a random width.
    """
    cy = height * (0.52 + rng.uniform(-0.05, 0.05))
    cx = width * (0.5 + rng.uniform(-0.05, 0.05))
    ry, rx = height * rng.uniform(0.30, 0.42), width * rng.uniform(0.24, 0.36)
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    radius = np.ones_like(angle)
    for k in (2, 3, 4, 5):
        radius += rng.uniform(-0.06, 0.06) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    points = np.stack([cx + rx * radius * np.cos(angle), cy + ry * radius * np.sin(angle)], axis=1)
    mask = np.zeros((height, width), dtype=np.float32)
    cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 1.0)
    part = rng.random()
    if part < 0.15:
        mask[: round(cy)] = 0.0  # the mouth's half
    elif part < 0.25:
        mask[round(cy) :] = 0.0  # the eyes' half
    soft = min(height, width) * rng.uniform(0.01, 0.06)
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), soft), dtype=np.float32)
    # a second softening of the inside only, so that nothing leaks far out (paper: two Gaussian kernels)
    mask = np.where(mask < 0.5, mask * mask * 2.0, mask).astype(np.float32)
    mask[mask < 0.01] = 0.0
    return np.minimum(mask, 1.0)  # a blur of ones may end a rounding error above one


def _warp(crop: Crop, rng: np.random.Generator, strength: float) -> Crop:
    """A small shift, scale and elastic bend of the whole crop."""
    height, width = crop.shape[:2]
    scale = 1.0 + strength * rng.uniform(-0.04, 0.04)
    dx, dy = strength * rng.uniform(-0.025, 0.025, size=2) * (width, height)
    grid_y, grid_x = np.mgrid[0:height, 0:width].astype(np.float32)
    coarse = rng.normal(0.0, strength * 0.006 * width, size=(2, 5, 5)).astype(np.float32)
    bend_x = cv2.resize(coarse[0], (width, height), interpolation=cv2.INTER_CUBIC)
    bend_y = cv2.resize(coarse[1], (width, height), interpolation=cv2.INTER_CUBIC)
    map_x = ((grid_x - width / 2) / scale + width / 2 - dx + bend_x).astype(np.float32)
    map_y = ((grid_y - height / 2) / scale + height / 2 - dy + bend_y).astype(np.float32)
    warped = cv2.remap(crop, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(warped, dtype=np.uint8)


def _degrade(crop: Crop, rng: np.random.Generator, strength: float) -> Crop:
    """Softer or sharper, as a synthesised face is next to its surroundings."""
    choice = rng.random()
    if choice < 0.6:
        return rescale(crop, float(rng.uniform(0.75 - 0.35 * min(strength, 1.0), 0.9)))
    if choice < 0.8:
        return np.asarray(cv2.GaussianBlur(crop, (0, 0), float(rng.uniform(0.5, 1.0 + strength))), dtype=np.uint8)
    blurred = cv2.GaussianBlur(crop, (0, 0), 1.5)
    return np.asarray(cv2.addWeighted(crop, 1.7, blurred, -0.7, 0), dtype=np.uint8)


def self_blend_with_mask(crop: Crop, rng: np.random.Generator, *, strength: float = 1.0) -> tuple[Crop, Mask]:
    """A self-blended image and its mask, (H, W) float32 already scaled by the blending ratio.

    After Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images" (CVPR 2022): the crop is blended with a
    jittered, slightly warped copy of itself under a soft face mask.  Outside the mask nothing changes.  The label of
    the result is FAKE.  `strength` above 1 gives coarse artefacts that are easy to see, 1 those of the paper.
    """
    height, width = crop.shape[:2]
    mask = face_mask(height, width, rng) * float(rng.choice([0.5, 0.75, 1.0, 1.0, 1.0]))
    source = colour_jitter(crop, rng, strength * 0.8)
    if rng.random() < 0.7:
        source = _degrade(source, rng, strength)
    source = _warp(source, rng, strength)
    weight = mask[:, :, None]
    blended = source.astype(np.float32) * weight + crop.astype(np.float32) * (1.0 - weight)
    return np.asarray(np.rint(np.clip(blended, 0, 255)), dtype=np.uint8), mask.astype(np.float32)


def self_blend(crop: Crop, rng: np.random.Generator, *, strength: float = 1.0) -> Crop:
    """A self-blended image of a real crop (see `self_blend_with_mask`); its label is FAKE."""
    return self_blend_with_mask(crop, rng, strength=strength)[0]
