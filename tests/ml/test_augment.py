"""Self-blended images and augmentations change what they say, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from ml.data.augment import (
    AugmentConfig,
    augment,
    colour_jitter,
    cutout,
    face_mask,
    jpeg_compress,
    self_blend,
    self_blend_with_mask,
)
from tests.ml.packs import drawn_face


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("strength", [1.0, 2.0])
def test_a_self_blended_image_differs_inside_its_mask_and_nowhere_else(seed: int, strength: float) -> None:
    crop = drawn_face(seed, size=96)
    before = crop.copy()
    fake, mask = self_blend_with_mask(crop, np.random.default_rng(seed), strength=strength)
    assert np.array_equal(crop, before)  # the real crop stays real
    assert fake.shape == crop.shape
    assert fake.dtype == np.uint8
    changed = (fake != crop).any(axis=2)
    assert not changed[mask == 0].any()
    assert changed[mask > 0.25].mean() > 0.5


def test_the_mask_is_soft_covers_the_middle_and_leaves_the_corners() -> None:
    for seed in range(20):
        mask = face_mask(100, 100, np.random.default_rng(seed))
        assert mask.min() == 0.0
        assert 0.5 < mask.max() <= 1.0
        assert ((mask > 0.05) & (mask < 0.95)).sum() > 50  # an edge that is no step
        assert mask[:8, :8].max() == mask[-8:, -8:].max() == 0.0
        assert 0.03 < mask.mean() < 0.6


def test_the_same_seed_gives_the_same_fake_and_another_seed_another() -> None:
    crop = drawn_face(5, size=64)
    one, two, other = (self_blend(crop, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_a_pair_is_augmented_alike() -> None:
    always = AugmentConfig(flip=1, colour=1, blur=0, downscale=0, noise=0, jpeg=0, cutout=1)
    crop = drawn_face(5, size=64)
    marked = crop.copy()
    marked[30:34, 30:34] = 255 - marked[30:34, 30:34]
    for seed in range(5):
        one = augment(crop, np.random.default_rng(seed), always).astype(int)
        two = augment(marked, np.random.default_rng(seed), always).astype(int)
        assert one.shape == two.shape
        assert (np.abs(one - two).max(axis=2) > 24).mean() < 0.05  # only about the mark


def test_no_augmentation_leaves_the_crop_as_it_is() -> None:
    never = AugmentConfig(flip=0, zoom_min=1.0, colour=0, blur=0, downscale=0, noise=0, jpeg=0, cutout=0)
    crop = drawn_face(8)
    assert np.array_equal(augment(crop, np.random.default_rng(0), never), crop)


def test_a_flip_mirrors_left_and_right() -> None:
    only = AugmentConfig(flip=1, zoom_min=1.0, colour=0, blur=0, downscale=0, noise=0, jpeg=0, cutout=0)
    crop = drawn_face(8)
    assert np.array_equal(augment(crop, np.random.default_rng(0), only), crop[:, ::-1])


def test_jpeg_and_colour_keep_red_red() -> None:
    red = np.zeros((32, 32, 3), dtype=np.uint8)
    red[:, :, 0] = 200
    for changed in (jpeg_compress(red, 60), colour_jitter(red, np.random.default_rng(1))):
        assert changed[:, :, 0].mean() > 3 * changed[:, :, 2].mean()


def test_cutout_hides_one_rectangle() -> None:
    crop = drawn_face(3, size=48)
    changed = (cutout(crop, np.random.default_rng(0)) != crop).any(axis=2)
    ys, xs = np.nonzero(changed)
    assert 0.01 < changed.mean() < 0.15
    assert changed[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].mean() > 0.9
