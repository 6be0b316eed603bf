"""The head fitted anew: it keeps what tells forged from real, and lets go of what only another recording changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor

from ml.config import Label
from ml.data.codecs import hdr_compress
from ml.data.recordings import COPIES, recorded_otherwise
from ml.model.network import FrameHead
from ml.training.head_refit import HeadFeatures, HeadRefitConfig, change_by_recording, fit_head
from ml.video.tone_mapping import HLG, PQ


def crop() -> np.ndarray:
    return np.ascontiguousarray(data.astronaut()[10:170, 145:305])


def start(*weight: float) -> FrameHead:
    head = FrameHead(len(weight))
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[-w / 2 for w in weight], [w / 2 for w in weight]]))
        head.bias.zero_()
    return head


def margins(head: FrameHead, features: Tensor) -> Tensor:
    with torch.inference_mode():
        logits = head(features)
    return logits[..., Label.FAKE] - logits[..., Label.REAL]


@pytest.fixture(scope="module")
def shortcut() -> HeadFeatures:
    """Features whose first tells the label, and whose second does so in training only: another recording changes it."""
    generator = torch.Generator().manual_seed(4)
    labels = (torch.rand(4000, generator=generator) < 0.5).float()
    features = torch.randn(4000, 8, generator=generator)
    features[:, 0] += 1.5 * labels
    features[:, 1] += 1.5 * labels
    reals = features[labels == 0][:500]
    changes = 0.1 * torch.randn(500, 3, 8, generator=generator)
    changes[:, :, 1] += 1.5
    return HeadFeatures(features, labels, reals, reals[:, None] + changes)


@pytest.mark.parametrize("hidden", [0, 16])
def test_what_another_recording_changes_is_let_go_and_what_it_does_not_stays(
    shortcut: HeadFeatures, hidden: int
) -> None:
    config = HeadRefitConfig(hidden=hidden, stay=1e-4, steps=600, lr=0.02)
    plain = fit_head(start(1, 1, 0, 0, 0, 0, 0, 0), shortcut, replace(config, invariance=0.0))
    held = fit_head(start(1, 1, 0, 0, 0, 0, 0, 0), shortcut, replace(config, invariance=3.0))
    other = shortcut.crops.clone()
    other[:, 1] += 1.5  # the same faces in another recording
    right = [((margins(held, faces) > 0) == shortcut.labels).float().mean() for faces in (shortcut.crops, other)]
    assert abs(right[0] - right[1]) < 0.03
    assert right[1] > 0.74
    before, after = (change_by_recording(head, shortcut) for head in (plain, held))
    assert after < 0.25 * before


def test_a_linear_part_that_may_not_leave_its_place_stays(shortcut: HeadFeatures) -> None:
    there = start(1, 0.5, 0.25, 0, 0, 0, 0, 0)
    held = fit_head(there, shortcut, HeadRefitConfig(hidden=0, stay=1e4, steps=200))
    assert torch.allclose(held.weight, there.weight, atol=0.02)


def test_a_hidden_layer_tells_what_no_line_can_and_begins_as_if_it_were_not_there() -> None:
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(4000, 6, generator=generator)
    labels = (features[:, 0] * features[:, 1] > 0).float()
    given = HeadFeatures(features, labels, features[:10], features[:10, None])
    there = start(0.3, 0, 0, 0, 0, 0)
    config = HeadRefitConfig(hidden=32, stay=1e-4, steps=600, lr=0.02)
    none = fit_head(there, given, replace(config, steps=0))
    assert torch.allclose(margins(none, features), margins(there, features), atol=1e-5)
    right = {
        hidden: ((margins(fit_head(there, given, replace(config, hidden=hidden)), features) > 0) == labels)
        .float()
        .mean()
        for hidden in (0, 32)
    }
    assert right[0] < 0.6
    assert right[32] > 0.9


def test_the_same_seed_gives_the_same_head(shortcut: HeadFeatures) -> None:
    config = HeadRefitConfig(hidden=8, steps=20)
    one, same, other = (fit_head(start(*[0.1] * 8), shortcut, config, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(margins(one, shortcut.crops), margins(same, shortcut.crops))
    assert not torch.equal(margins(one, shortcut.crops), margins(other, shortcut.crops))


def test_copies_of_a_crop_are_the_same_face_with_other_texture() -> None:
    face = crop()
    copies = recorded_otherwise(face, np.random.default_rng(1))
    assert len(copies) == COPIES
    for copy in copies:
        assert (copy.shape, copy.dtype) == (face.shape, face.dtype)
        apart = np.abs(copy.astype(int) - face)
        assert 0.3 < apart.mean() < 12
        assert np.abs(copy.mean(axis=(0, 1)) - face.mean(axis=(0, 1))).max() < 4


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_hdr_changes_little_where_the_codec_takes_little(transfer: int) -> None:
    face = crop()
    fine, coarse = (hdr_compress([face], transfer, crf)[0].astype(int) for crf in (4, 34))
    assert np.abs(fine - face).mean() < 4
    assert np.abs(coarse - face).mean() > np.abs(fine - face).mean()
