"""Self-blended images: forgeries made on the fly from real faces alone.

After Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images" (CVPR 2022): a face is blended with a
changed copy of itself under a soft mask made from hulls of its landmarks.  Written from the paper.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Crop = NDArray[np.uint8]
Points = NDArray[np.float32]
Mask = NDArray[np.float32]

JAW, BROWS, NOSE_BRIDGE, EYES, OUTER_LIPS = slice(0, 17), slice(17, 27), slice(27, 31), slice(36, 48), slice(48, 60)
NEAREST_EYE_POINT = (36, 36, 37, 38, 39, 42, 43, 44, 45, 45)
"""Eye point below each of the ten brow points."""
MASK_SHARES = (0.30, 0.25, 0.15, 0.10, 0.10, 0.10)
"""Probability of each hull in `hull_mask`: forgers paste different parts."""


def hull_mask(points: Points, height: int, width: int, rng: np.random.Generator) -> Mask:
    """Draw one of six hulls of the 68 points: (H, W) float32, 1 inside.

    They are: face up to the brows, face with forehead, lower face, eyes and brows, mouth, and brows to mouth.
    """
    kind = int(rng.choice(len(MASK_SHARES), p=MASK_SHARES))
    if kind == 0:
        hull = points[:27]
    elif kind == 1:
        brows = points[BROWS]
        hull = np.vstack([points, brows + 1.2 * (brows - points[list(NEAREST_EYE_POINT)])])
    elif kind == 2:
        hull = np.vstack([points[1:16], points[27:28], points[[36, 45]]])
    elif kind == 3:
        hull = _scaled(np.vstack([points[BROWS], points[EYES], points[29:31]]), 1.25)
    elif kind == 4:
        hull = _scaled(points[OUTER_LIPS], float(rng.uniform(1.3, 1.9)))
    else:
        hull = np.vstack([points[BROWS], points[OUTER_LIPS], points[[2, 14]]])
    mask = np.zeros((height, width), np.float32)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.round(hull).astype(np.int32)), 1.0)
    return mask


def self_blend(crop: Crop, points: Points, rng: np.random.Generator, *, strength: float = 1.0) -> tuple[Crop, Crop]:
    """Return (fake, real), both (H, W, 3) uint8 RGB, from a real crop and its 68 points (68, 2) in pixels.

    Half of the time the surroundings are changed instead of the face, so the returned real differs from `crop` too and
    no change of colour or detail alone gives the label away.  `strength` scales the changes; 1 is the paper's.
    """
    fake, real, _ = self_blend_with_mask(crop, points, rng, strength=strength)
    return fake, real


def self_blend_with_mask(
    crop: Crop, points: Points, rng: np.random.Generator, *, strength: float = 1.0
) -> tuple[Crop, Crop, Mask]:
    """Blend as `self_blend`, and return the mask, too: (H, W) float32 from 0 to 1; outside of it both are equal."""
    height, width = crop.shape[:2]
    side = float(max(np.ptp(points[:, 0]), np.ptp(points[:, 1])))
    inner = outer = crop
    if rng.random() < 0.5:
        inner = _change_detail(_change_colour(inner, rng, strength), rng)
    else:
        outer = _change_detail(_change_colour(outer, rng, strength), rng)
    mask = hull_mask(points, height, width, rng)
    scale = 1 + rng.uniform(-0.05, 0.05) * strength
    dx, dy = rng.uniform(-0.03, 0.03) * side * strength, rng.uniform(-0.015, 0.015) * side * strength
    bend_x, bend_y = _smooth_offsets(height, width, rng, side * 0.006 * strength, cells=5)
    grid_y, grid_x = np.mgrid[0:height, 0:width].astype(np.float32)
    centre_x, centre_y = points.mean(axis=0)
    map_x = ((grid_x - centre_x - dx) / scale + centre_x + bend_x).astype(np.float32)
    map_y = ((grid_y - centre_y - dy) / scale + centre_y + bend_y).astype(np.float32)
    inner = np.asarray(
        cv2.remap(inner, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101), dtype=np.uint8
    )
    bend_x, bend_y = _smooth_offsets(height, width, rng, side * 0.03, cells=4)
    mask = np.asarray(cv2.remap(mask, map_x + bend_x, map_y + bend_y, cv2.INTER_LINEAR), dtype=np.float32)
    for sigma in (side * rng.uniform(0.01, 0.05), side * rng.uniform(0.005, 0.04)):
        mask = np.asarray(cv2.GaussianBlur(np.where(mask > 0.3, mask, 0), (0, 0), max(sigma, 0.1)), dtype=np.float32)
        mask /= max(float(mask.max()), 1e-6)
    mask *= float(rng.choice([0.3, 0.5, 0.75, 1.0, 1.0, 1.0]))
    weight = mask[:, :, None]
    fake = inner.astype(np.float32) * weight + outer.astype(np.float32) * (1 - weight)
    return np.clip(np.rint(fake), 0, 255).astype(np.uint8), outer, mask


def _scaled(points: Points, factor: float) -> Points:
    """Return the points, `factor` times as far from their centre."""
    centre = points.mean(axis=0)
    return np.asarray(centre + factor * (points - centre), dtype=np.float32)


def _smooth_offsets(
    height: int, width: int, rng: np.random.Generator, deviation: float, *, cells: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return two (H, W) fields of smooth random offsets in pixels."""
    coarse = rng.normal(0, deviation, (cells, cells, 2)).astype(np.float32)
    field = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)
    return field[..., 0], field[..., 1]


def _change_colour(crop: Crop, rng: np.random.Generator, strength: float) -> Crop:
    """Shift channels, hue, saturation and contrast, each in seven cases of ten."""
    out = crop.astype(np.float32)
    if rng.random() < 0.7:
        out += rng.uniform(-20, 20, 3).astype(np.float32) * strength
    if rng.random() < 0.7:
        hsv = cv2.cvtColor(np.clip(out, 0, 255).astype(np.uint8), cv2.COLOR_RGB2HSV).astype(np.float32)
        hsv[..., 0] = (hsv[..., 0] + rng.uniform(-8, 8) * strength) % 180
        hsv[..., 1] *= 1 + rng.uniform(-0.3, 0.3) * strength
        hsv[..., 2] *= 1 + rng.uniform(-0.18, 0.18) * strength
        out = cv2.cvtColor(np.clip(hsv, 0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32)
    if rng.random() < 0.7:
        out = (out - 128) * (1 + rng.uniform(-0.15, 0.15) * strength) + 128 + rng.uniform(-15, 15) * strength
    return np.clip(out, 0, 255).astype(np.uint8)


def _change_detail(crop: Crop, rng: np.random.Generator) -> Crop:
    """Resample, blur or sharpen, as a synthesised face is next to its surroundings."""
    height, width = crop.shape[:2]
    kind = rng.random()
    if kind < 0.45:
        scale = rng.uniform(0.35, 0.85)
        down = int(rng.choice([cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_NEAREST]))
        up = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
        small = cv2.resize(crop, (max(8, int(width * scale)), max(8, int(height * scale))), interpolation=down)
        return np.asarray(cv2.resize(small, (width, height), interpolation=up), dtype=np.uint8)
    if kind < 0.60:
        return np.asarray(cv2.GaussianBlur(crop, (0, 0), rng.uniform(0.5, 1.4)), dtype=np.uint8)
    amount = rng.uniform(0.2, 0.8)
    blurred = cv2.GaussianBlur(crop, (0, 0), 1.2)
    return np.asarray(cv2.addWeighted(crop, 1 + amount, blurred, -amount, 0), dtype=np.uint8)
