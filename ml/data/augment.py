"""Augment aligned crops for training, with the same random change for all crops of a group.

A real crop, its self-blended copy and the forgery made from it are changed alike, so that no change gives a label away
(the main finding of GenD, arXiv 2508.06248).  Every function takes uint8 RGB images (S, S, 3) and returns new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ml.data.codecs import CODECS, HDR_SHARES, Crop, hdr_compress, jpeg_compress, video_compress


@dataclass(frozen=True)
class AugmentConfig:
    """Probability of each change, and how strong it may be."""

    flip: float = 0.5
    colour: float = 0.5
    darkness: float = 0.06
    grey: float = 0.025
    smooth: float = 0.07
    """A bilateral filter, as beauty filters and retouching leave it: a filtered face is no forgery."""
    sharpen: float = 0.05
    blur: float = 0.13
    downscale: float = 0.3
    resample: float = 0.1
    """Turned and turned back, as a head held at an angle is levelled: two resamplings blur, and forge nothing."""
    compress: float = 0.6
    """By JPEG or as one key frame; see `ml.data.codecs`."""
    jpeg_quality: tuple[int, int] = (35, 95)
    video_crf: tuple[int, int] = (18, 38)
    """Of H.264; other codecs get that of about the same quality."""
    noise: float = 0.08
    cutout: float = 0.2


MILD = AugmentConfig(
    colour=0.3,
    darkness=0.0,
    grey=0.0,
    smooth=0.0,
    sharpen=0.0,
    blur=0.0,
    downscale=0.0,
    resample=0.15,
    compress=0.45,
    noise=0.0,
    cutout=0.0,
)
"""Little more than flips and compression: the traces of real forgeries stay in the picture."""


def augment(
    crops: Sequence[Crop],
    rng: np.random.Generator,
    config: AugmentConfig | None = None,
    *,
    encode_video: bool = True,
) -> list[Crop]:
    """Change square crops of one size alike; `encode_video=False` uses JPEG alone (a machine without PyAV)."""
    c = config or AugmentConfig()
    images = list(crops)
    if rng.random() < c.flip:
        images = [np.ascontiguousarray(image[:, ::-1]) for image in images]
    if rng.random() < c.colour:
        images = _each(images, _colour_change(rng, c))
    if rng.random() < c.resample:
        images = turned_and_back(images, rng)
    images = _each(images, _detail_change(rng, c))
    if rng.random() < c.downscale:
        side = images[0].shape[0]
        small = max(16, 2 * round(side * float(rng.uniform(0.4, 0.9)) / 2))
        enlarge = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
        images = [_resized(image, small, cv2.INTER_AREA) for image in images]
        images = _compressed(images, rng, c, encode_video)
        images = [_resized(image, side, enlarge) for image in images]
    else:
        images = _compressed(images, rng, c, encode_video)
    if rng.random() < c.noise:
        deviation = float(rng.uniform(2, 8))
        images = [np.clip(image + rng.normal(0, deviation, image.shape), 0, 255).astype(np.uint8) for image in images]
    if rng.random() < c.cutout:
        images = _cut_out(images, rng)
    return images


def turned_and_back(images: Sequence[Crop], rng: np.random.Generator) -> list[Crop]:
    """Resample twice: turned by up to 45 degrees about the middle, and back."""
    side = images[0].shape[0]
    middle, angle = (side - 1) / 2, float(rng.uniform(-45, 45))
    there = cv2.getRotationMatrix2D((middle, middle), angle, 1.0)
    reach = int(np.ceil(side * 0.21))  # the corners of a square turned by 45 degrees
    there[:, 2] += reach
    size = side + 2 * reach
    out = []
    for image in images:
        turned = cv2.warpAffine(image, there, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        back = cv2.warpAffine(turned, there, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        out.append(np.asarray(back, dtype=np.uint8))
    return out


def _each(images: Sequence[Crop], change: Callable[[Crop], Crop] | None) -> list[Crop]:
    return list(images) if change is None else [change(image) for image in images]


def _resized(image: Crop, side: int, interpolation: int) -> Crop:
    return np.asarray(cv2.resize(image, (side, side), interpolation=interpolation), dtype=np.uint8)


def _colour_change(rng: np.random.Generator, c: AugmentConfig) -> Callable[[Crop], Crop]:
    """Gain and offset per channel, gamma and saturation; sometimes darkness or grey."""
    gain = 1 + rng.uniform(-0.2, 0.2) + rng.uniform(-0.06, 0.06, 3)
    offset = rng.uniform(-16, 16) + rng.uniform(-6, 6, 3)
    gamma, saturation = float(np.exp(rng.uniform(-0.35, 0.35))), float(rng.uniform(0.6, 1.3))
    if rng.random() < c.darkness / c.colour:
        gain *= rng.uniform(0.2, 0.6)
    if rng.random() < c.grey / c.colour:
        saturation = 0.0
    ramp = np.clip(np.arange(256)[:, None] * gain + offset, 0, 255)  # (256, 3)
    table = np.rint(255 * (ramp / 255) ** gamma).astype(np.uint8)[None]

    def change(image: Crop) -> Crop:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        return np.asarray(cv2.LUT(cv2.addWeighted(image, saturation, grey, 1 - saturation, 0), table), dtype=np.uint8)

    return change


def _detail_change(rng: np.random.Generator, c: AugmentConfig) -> Callable[[Crop], Crop] | None:
    """At most one of smoothing, sharpening and blurring."""
    kind = rng.random()
    if kind < c.smooth:
        diameter, spread = int(rng.integers(5, 10)), float(rng.uniform(20, 60))
        return lambda image: np.asarray(cv2.bilateralFilter(image, diameter, spread, spread / 4), dtype=np.uint8)
    kind -= c.smooth
    if kind < c.sharpen:
        amount = float(rng.uniform(0.3, 1.0))
        return lambda image: np.asarray(
            cv2.addWeighted(image, 1 + amount, cv2.GaussianBlur(image, (0, 0), 1.2), -amount, 0), dtype=np.uint8
        )
    kind -= c.sharpen
    if kind < c.blur:
        sigma = float(rng.uniform(0.4, 1.4))
        return lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.uint8)
    return None


def _compressed(images: list[Crop], rng: np.random.Generator, c: AugmentConfig, encode_video: bool) -> list[Crop]:
    compress, kind = rng.random() < c.compress, rng.random()
    quality = int(rng.integers(c.jpeg_quality[0], c.jpeg_quality[1] + 1))
    crf = int(rng.integers(c.video_crf[0], c.video_crf[1] + 1))
    if not compress:
        return images
    for codec in CODECS if encode_video else ():
        if kind < codec.share:
            return video_compress(images, codec, crf)
        kind -= codec.share
    for transfer, share in HDR_SHARES if encode_video else ():
        if kind < share:
            return hdr_compress(images, transfer, crf)
        kind -= share
    return [jpeg_compress(image, quality) for image in images]


def _cut_out(images: Sequence[Crop], rng: np.random.Generator) -> list[Crop]:
    """Cover a rectangle of up to a third of each side with the crop's mean or a random colour."""
    side = images[0].shape[0]
    height, width = (int(part) for part in rng.uniform(0.1, 0.35, 2) * side)
    top, left = int(rng.integers(0, side - height)), int(rng.integers(0, side - width))
    colour = rng.integers(0, 256, 3) if rng.random() < 0.5 else None
    covered = [image.copy() for image in images]
    for image in covered:
        image[top : top + height, left : left + width] = image.mean(axis=(0, 1)) if colour is None else colour
    return covered
