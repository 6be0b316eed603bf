"""Fit the frame head anew on frozen features, so that a score depends less on how a face was recorded.

Training the last layer alone is enough to unlearn what a network relies on wrongly (Kirichenko et al., ICLR 2023,
arXiv 2204.02937).  Here that is the loss of fine texture by HEVC, HDR or a second resampling, which reads as a trace of
forging: besides the labels' loss, the head pays for what such copies of a real face do to its score (as nuisance
attribute projection does it for speakers, Solomonoff et al., ICASSP 2005), and for leaving the direction that it had.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import Dataset

from ml.config import Label
from ml.data.augment import AugmentConfig
from ml.data.crop_pack import Pack
from ml.data.frame_batches import BatchSchedule, FrameBatches, loaded
from ml.data.recordings import COPIES, recorded_otherwise
from ml.faces.alignment import Jitter
from ml.model.network import FaceSequenceClassifier
from ml.model.onnx_backbone import onnx_backbone
from ml.model.preprocessing import normalise
from ml.progress import ProgressBar, ProgressCallback
from ml.training.feature_cache import backbone_sha256

AUGMENTATION = AugmentConfig(smooth=0.12, darkness=0.04, resample=0.25, compress=0.75, cutout=0.08)
BATCH = 66
STEPS = 60
"""Of L-BFGS, at most."""


@dataclass(frozen=True)
class HeadRefitConfig:
    """How much is looked at, and what holds the head."""

    crops: int = 33_000
    """Augmented crops of both labels."""
    recorded: int = 2_500
    """Crops that are looked at in all their other recordings, too."""
    stay: float = 2.0
    """Penalty of the squared distance from the head's direction, in standard deviations of each feature."""
    invariance: float = 0.35
    """Penalty of the mean squared change of a real face's score in another recording."""


class _Recordings(Dataset[Tensor]):
    """`recordings[n]` -> uint8 (1 + COPIES, S, S, 3): a real crop as it is, then its copies."""

    def __init__(self, batches: FrameBatches) -> None:
        self.batches = batches

    def __getitem__(self, n: int) -> Tensor:
        cv2.setNumThreads(0)
        rng = np.random.default_rng([self.batches.schedule.seed, 1, n])
        real, _ = self.batches.sampler.draw(rng)
        crop, _ = self.batches.aligned(real, self.batches.model, Jitter.draw(rng))
        return torch.from_numpy(np.stack([crop, *recorded_otherwise(crop, rng)]))


class _Features:
    """Features of batches of crops, in ONNX Runtime where the model computes on a processor."""

    def __init__(self, model: FaceSequenceClassifier, folder: Path) -> None:
        self.model = model.eval()
        self.device = next(model.parameters()).device
        on_cpu = self.device.type == "cpu"
        self.onnx = onnx_backbone(model, folder, backbone_sha256(model)) if on_cpu else None

    @torch.inference_mode()
    def write(self, crops: Tensor, into: Tensor) -> None:
        """Write the features of (N, S, S, 3) uint8 into (N, F).

        What is kept is allocated once: kept results between freed frames would leave holes in the heap, of gigabytes.
        """
        frames = normalise(crops, self.model.config)
        into.copy_(self.onnx(frames) if self.onnx else self.model.features(frames.to(self.device)))


def refit_frame_head(
    model: FaceSequenceClassifier,
    pack: Pack,
    indices: list[int],
    schedule: BatchSchedule,
    config: HeadRefitConfig,
    folder: Path,
    *,
    workers: int = 1,
    on_progress: ProgressCallback | None = None,
) -> list[dict[str, Any]]:
    """Fit `model.frame_head` to the labels and to the copies; return one entry of history.

    Args:
        model: Its backbone stays as it is; moved to no other device.
        pack: The training's crops.
        indices: Rows that may be looked at: those of training.
        schedule: Seed, sources and shares of the augmented crops; `config` says how many.
        config: How much is looked at, and what holds the head.
        folder: Where the backbone's export is kept.
        workers: Loader processes.
        on_progress: Hears how far it is.
    """
    features = _Features(model, folder)
    steps = max(1, config.crops // BATCH)
    schedule = replace(schedule, batch_size=BATCH, total_steps=steps, sizes=((model.config.input_size, 1.0),))
    batches = FrameBatches(pack, indices, schedule, model.config, AUGMENTATION)
    width, total = model.config.feature_dim, steps * BATCH
    x, y = torch.empty(total, width), torch.empty(total)
    with ProgressBar(steps, "features for the head", on_progress=on_progress) as progress:
        for step, (crops, targets) in enumerate(batches.loader(range(steps), workers)):
            here = slice(step * BATCH, (step + 1) * BATCH)
            features.write(crops, x[here])
            y[here] = (targets == Label.FAKE).any(dim=1)
            progress.step()
    seen = torch.empty(config.recorded, 1 + COPIES, width)
    with ProgressBar(config.recorded, "other recordings", on_progress=on_progress) as progress:
        for n, crops in enumerate(loaded(_Recordings(batches), range(config.recorded), workers)):
            features.write(crops, seen[n])
            progress.step()
    d = (seen[:, 1:] - seen[:, :1]).flatten(0, 1)
    before = _margin(model)
    weight, bias = fit_head(x, y, d, *before, config)
    shift = {"before": _rms(d @ before[0], x @ before[0]), "after": _rms(d @ weight, x @ weight)}
    with torch.no_grad():
        head = model.frame_head
        head.weight.copy_(torch.stack([-weight / 2, weight / 2]))
        head.bias.copy_(torch.tensor([-bias / 2, bias / 2]))
    return [{"stage": "head", "crops": len(x), "recordings": len(d), "change_by_recording": shift}]


def fit_head(
    features: Tensor, labels: Tensor, changes: Tensor, weight: Tensor, bias: float, config: HeadRefitConfig
) -> tuple[Tensor, float]:
    """Return the direction (F,) and the bias of the margin FAKE - REAL that cost least.

    Args:
        features: (N, F) float32.
        labels: (N,), 1 is FAKE.
        changes: (M, F), what another recording does to the features of a real face.
        weight: (F,), where the direction starts; its length is free, leaving it costs.
        bias: Where the bias starts; it is free.
        config: Has the penalties.
    """
    deviation = features.std(0) + 1e-3
    away = torch.zeros_like(weight, requires_grad=True)
    offset = torch.tensor(float(bias), requires_grad=True)
    log_length = torch.tensor(0.0, requires_grad=True)

    def direction() -> Tensor:
        return weight * log_length.exp() + away / deviation

    optimiser = torch.optim.LBFGS([away, offset, log_length], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        w = direction()
        total = (
            binary_cross_entropy_with_logits(features @ w + offset, labels)
            + config.stay * (away**2).sum()
            + config.invariance * ((changes @ w) ** 2).mean()
        )
        total.backward()
        return total

    optimiser.step(loss)
    return direction().detach(), float(offset.detach())


def _margin(model: FaceSequenceClassifier) -> tuple[Tensor, float]:
    head = model.frame_head
    weight = (head.weight[Label.FAKE] - head.weight[Label.REAL]).detach().cpu().float()
    return weight, float((head.bias[Label.FAKE] - head.bias[Label.REAL]).detach())


def _rms(changes: Tensor, scores: Tensor) -> float:
    """Root mean square of the changes, in standard deviations of the scores."""
    return float(changes.square().mean().sqrt() / scores.std())
