"""Augmentations and self-blended images change what they say, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from ml.data.augment import AugmentConfig, augment
from ml.data.codecs import CODECS, Codec, Crop, hdr_compress, jpeg_compress, video_compress
from ml.data.self_blend import hull_mask, self_blend, self_blend_with_mask
from ml.video.tone_mapping import HLG, PQ
from tests.ml.packs import drawn_face

NEVER = AugmentConfig(
    flip=0,
    colour=0,
    smooth=0,
    sharpen=0,
    blur=0,
    downscale=0,
    resample=0,
    compress=0,
    noise=0,
    cutout=0,
    darkness=0,
    grey=0,
)


def face_points(size: int) -> NDArray[np.float32]:
    """68 points about where those of an upright face are that fills a crop of `size` pixels."""
    jaw = [(0.5 - 0.36 * np.cos(a), 0.42 + 0.40 * np.sin(a)) for a in np.linspace(0, np.pi, 17)]
    brows = [(x, 0.28) for x in (*np.linspace(0.22, 0.42, 5), *np.linspace(0.58, 0.78, 5))]
    nose = [(0.5, y) for y in np.linspace(0.36, 0.52, 4)] + [(x, 0.56) for x in np.linspace(0.42, 0.58, 5)]
    eyes = [
        (cx + 0.06 * np.cos(a), 0.38 + 0.02 * np.sin(a)) for cx in (0.34, 0.66) for a in np.linspace(0, 2 * np.pi, 6)
    ]
    mouth = [(0.5 + 0.14 * np.cos(a), 0.68 + 0.05 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 20)]
    return np.array([*jaw, *brows, *nose, *eyes, *mouth], np.float32) * size


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("strength", [0.6, 1.3])
def test_a_self_blended_fake_differs_from_its_real_inside_the_mask_and_nowhere_else(seed: int, strength: float) -> None:
    crop = drawn_face(seed, size=96)
    before = crop.copy()
    rng = np.random.default_rng(seed)
    fake, real, mask = self_blend_with_mask(crop, face_points(96), rng, strength=strength)
    assert np.array_equal(crop, before), "the given crop stays as it is"
    assert fake.shape == real.shape == crop.shape
    assert fake.dtype == np.uint8
    changed = (fake != real).any(axis=2)
    assert not changed[mask < 1e-3].any()
    assert changed[mask > 0.25].mean() > 0.5


def test_half_of_the_reals_are_changed_too_so_that_no_change_gives_the_label_away() -> None:
    crop = drawn_face(3, size=64)
    same = [np.array_equal(self_blend(crop, face_points(64), np.random.default_rng(k))[1], crop) for k in range(60)]
    assert 15 < sum(same) < 45


def test_hulls_cover_different_parts_of_the_face_and_leave_the_corners() -> None:
    masks = [hull_mask(face_points(100), 100, 100, np.random.default_rng(seed)) for seed in range(40)]
    assert {float(value) for mask in masks for value in np.unique(mask)} == {0.0, 1.0}
    assert all(0.02 < mask.mean() < 0.6 for mask in masks)
    assert not any(mask[corner].any() for mask in masks for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)))
    assert max(mask.mean() for mask in masks) > 4 * min(mask.mean() for mask in masks)
    assert any(mask[68, 50] and not mask[38, 34] for mask in masks), "a mouth without the eyes"
    assert any(mask[38, 34] and not mask[68, 50] for mask in masks), "eyes without the mouth"


def test_the_same_seed_gives_the_same_fake_and_another_seed_another() -> None:
    crop, points = drawn_face(5, size=64), face_points(64)
    one, two, other = (self_blend(crop, points, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_a_group_is_augmented_alike() -> None:
    crop = drawn_face(5, size=64)
    marked = crop.copy()
    marked[30:34, 30:34] = 255 - marked[30:34, 30:34]
    always = AugmentConfig(flip=1, colour=1, compress=0, downscale=0, noise=0, cutout=1)
    for seed in range(5):
        one, two = (image.astype(int) for image in augment([crop, marked], np.random.default_rng(seed), always))
        assert one.shape == two.shape == crop.shape
        assert (np.abs(one - two).max(axis=2) > 24).mean() < 0.05, "only about the mark"


def test_no_augmentation_leaves_the_crop_as_it_is() -> None:
    crop = drawn_face(8)
    assert np.array_equal(augment([crop], np.random.default_rng(0), NEVER)[0], crop)


def test_a_flip_mirrors_left_and_right() -> None:
    crop = drawn_face(8)
    only = AugmentConfig(**{**NEVER.__dict__, "flip": 1})
    assert np.array_equal(augment([crop], np.random.default_rng(0), only)[0], crop[:, ::-1])


@pytest.mark.parametrize("change", ["smooth", "sharpen", "blur", "downscale", "compress", "noise", "cutout", "colour"])
def test_each_change_alone_changes_the_crop_and_keeps_what_it_shows(change: str) -> None:
    crop = drawn_face(4, size=64)
    only = AugmentConfig(**{**NEVER.__dict__, change: 1})
    (changed,) = augment([crop], np.random.default_rng(1), only)
    assert changed.shape == crop.shape
    assert changed.dtype == np.uint8
    assert not np.array_equal(changed, crop)
    assert np.corrcoef(changed.ravel(), crop.ravel())[0, 1] > 0.7


def _video_compressed(codec: Codec, crops: list[Crop], crf: int) -> list[Crop]:
    return video_compress(crops, codec, crf)


COMPRESSIONS: dict[str, Callable[[list[Crop], int], list[Crop]]] = {
    "jpeg": lambda crops, crf: [jpeg_compress(crop, 100 - 2 * crf) for crop in crops],
    **{codec.encoder: partial(_video_compressed, codec) for codec in CODECS},
    "pq": lambda crops, crf: hdr_compress(crops, PQ, crf),
    "hlg": lambda crops, crf: hdr_compress(crops, HLG, crf),
}


@pytest.mark.parametrize("compressed", COMPRESSIONS.values(), ids=COMPRESSIONS)
def test_compression_keeps_red_red_and_compresses_a_group_alike_and_the_same_each_time(
    compressed: Callable[[list[Crop], int], list[Crop]],
) -> None:
    red = np.zeros((32, 32, 3), dtype=np.uint8)
    red[:, :, 0] = 200
    for changed in compressed([red, red, red], 30):
        assert changed.shape == red.shape
        assert changed[:, :, 0].mean() > 3 * changed[:, :, 2].mean()
    noisy = [drawn_face(k, size=64) for k in range(3)]
    fine, coarse = compressed(noisy, 18), compressed(noisy, 38)
    for crop, good, bad in zip(noisy, fine, coarse, strict=True):
        assert np.abs(crop.astype(int) - good).mean() < np.abs(crop.astype(int) - bad).mean()
    assert np.array_equal(compressed(noisy, 30), compressed(noisy, 30)), "or a resumed training would differ"


def test_turning_there_and_back_leaves_everything_where_it_was_but_a_little_softer() -> None:
    crop = drawn_face(4, size=96)
    only = AugmentConfig(**{**NEVER.__dict__, "resample": 1})
    for seed in range(4):
        changed = augment([crop], np.random.default_rng(seed), only)[0]
        assert changed.shape == crop.shape
        assert np.corrcoef(changed.ravel(), crop.ravel())[0, 1] > 0.98
        assert np.abs(np.diff(changed.astype(int), axis=1)).mean() < np.abs(np.diff(crop.astype(int), axis=1)).mean()


def test_cutout_hides_one_rectangle() -> None:
    crop = drawn_face(3, size=48)
    only = AugmentConfig(**{**NEVER.__dict__, "cutout": 1})
    changed = (augment([crop], np.random.default_rng(0), only)[0] != crop).any(axis=2)
    ys, xs = np.nonzero(changed)
    assert 0.005 < changed.mean() < 0.15
    assert changed[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].mean() > 0.9
