"""The head fitted anew: it keeps what tells forged from real, and lets go of what only another recording changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor

from ml.data.codecs import hdr_compress
from ml.data.recordings import COPIES, recorded_otherwise
from ml.training.head_refit import HeadRefitConfig, fit_head
from ml.video.tone_mapping import HLG, PQ


def crop() -> np.ndarray:
    return np.ascontiguousarray(data.astronaut()[10:170, 145:305])


@pytest.fixture(scope="module")
def shortcut() -> tuple[Tensor, Tensor, Tensor]:
    """Features whose first tells the label, and whose second does so in training only: another recording changes it."""
    generator = torch.Generator().manual_seed(4)
    labels = (torch.rand(4000, generator=generator) < 0.5).float()
    features = torch.randn(4000, 8, generator=generator)
    features[:, 0] += 1.5 * labels
    features[:, 1] += 1.5 * labels
    changes = 0.1 * torch.randn(500, 8, generator=generator)
    changes[:, 1] += 1.5
    return features, labels, changes


def test_what_another_recording_changes_is_let_go_and_what_it_does_not_stays(
    shortcut: tuple[Tensor, Tensor, Tensor],
) -> None:
    start = torch.tensor([1.0, 1.0, 0, 0, 0, 0, 0, 0])
    plain, _ = fit_head(*shortcut, start, 0.0, HeadRefitConfig(stay=1e-4, invariance=0.0))
    held, bias = fit_head(*shortcut, start, 0.0, HeadRefitConfig(stay=1e-4, invariance=1.0))
    assert 0.8 < plain[1] / plain[0] < 1.2
    assert abs(held[1] / held[0]) < 0.2
    features, labels, changes = shortcut
    other = features.clone()
    other[:, 1] += 1.5  # the same faces in another recording
    right = [
        (((faces @ w + b) > 0).float() == labels).float().mean()
        for w, b in ((held, bias),)
        for faces in (features, other)
    ]
    assert abs(right[0] - right[1]) < 0.03
    assert right[1] > 0.74
    assert (changes @ held).square().mean() < 0.05 * (changes @ plain).square().mean()


def test_a_head_that_may_not_leave_its_direction_only_changes_its_length(
    shortcut: tuple[Tensor, Tensor, Tensor],
) -> None:
    start = torch.tensor([1.0, 0.5, 0.25, 0, 0, 0, 0, 0])
    held, _ = fit_head(*shortcut, start, 0.0, HeadRefitConfig(stay=1e4, invariance=0.1))
    assert torch.nn.functional.cosine_similarity(held, start, dim=0) > 0.999
    assert held.norm() != pytest.approx(float(start.norm()), rel=0.01)


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
