"""Augment aligned crops for training, with the same random change for all crops of a group.

A real crop, its self-blended copy and the forgery made from it are changed alike, so that no change gives a label away
(the main finding of GenD, arXiv 2508.06248).  Every function takes uint8 RGB images (S, S, 3) and returns new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

Crop = NDArray[np.uint8]


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
    compress: float = 0.55
    """Half JPEG, half one H.264 key frame."""
    jpeg_quality: tuple[int, int] = (35, 95)
    h264_crf: tuple[int, int] = (18, 38)
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
    compress=0.3,
    noise=0.0,
    cutout=0.0,
)
"""Little more than flips and compression: the traces of real forgeries stay in the picture."""


def augment(
    crops: Sequence[Crop],
    rng: np.random.Generator,
    config: AugmentConfig | None = None,
    *,
    encode_h264: bool = True,
) -> list[Crop]:
    """Change square crops of one size alike; `encode_h264=False` uses JPEG alone (a machine without PyAV)."""
    c = config or AugmentConfig()
    images = list(crops)
    if rng.random() < c.flip:
        images = [np.ascontiguousarray(image[:, ::-1]) for image in images]
    if rng.random() < c.colour:
        images = _each(images, _colour_change(rng, c))
    images = _each(images, _detail_change(rng, c))
    if rng.random() < c.downscale:
        side = images[0].shape[0]
        small = max(16, 2 * round(side * float(rng.uniform(0.4, 0.9)) / 2))
        enlarge = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
        images = [_resized(image, small, cv2.INTER_AREA) for image in images]
        images = _compressed(images, rng, c, encode_h264)
        images = [_resized(image, side, enlarge) for image in images]
    else:
        images = _compressed(images, rng, c, encode_h264)
    if rng.random() < c.noise:
        deviation = float(rng.uniform(2, 8))
        images = [np.clip(image + rng.normal(0, deviation, image.shape), 0, 255).astype(np.uint8) for image in images]
    if rng.random() < c.cutout:
        images = _cut_out(images, rng)
    return images


def jpeg_compress(crop: Crop, quality: int) -> Crop:
    """Pass a crop through JPEG."""
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise ValueError("a crop could not be encoded as JPEG")
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if decoded is None:
        raise ValueError("a crop could not be decoded from JPEG")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def h264_compress(crops: Sequence[Crop], crf: int) -> list[Crop]:
    """Pass crops of one even size, as one stacked picture, through an H.264 key frame of that rate factor."""
    import av  # a bare training machine may lack it

    stack = np.ascontiguousarray(np.concatenate(crops, axis=0))
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width, encoder.pix_fmt = stack.shape[0], stack.shape[1], "yuv420p"
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"crf": str(crf), "preset": "veryfast", "tune": "zerolatency", "threads": "1"}
    packets = [*encoder.encode(av.VideoFrame.from_ndarray(stack, format="rgb24")), *encoder.encode(None)]
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    frames = [frame for packet in packets for frame in decoder.decode(packet)] + list(decoder.decode(None))
    return list(np.split(frames[0].to_ndarray(format="rgb24"), len(crops), axis=0))


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


def _compressed(images: list[Crop], rng: np.random.Generator, c: AugmentConfig, encode_h264: bool) -> list[Crop]:
    kind = rng.random()
    quality = int(rng.integers(c.jpeg_quality[0], c.jpeg_quality[1] + 1))
    crf = int(rng.integers(c.h264_crf[0], c.h264_crf[1] + 1))
    if kind >= c.compress:
        return images
    if kind < c.compress / 2 or not encode_h264:
        return [jpeg_compress(image, quality) for image in images]
    return h264_compress(images, crf)


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
