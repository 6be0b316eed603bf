"""Fit the frame head anew on frozen features, so that a score depends less on how a face was recorded.

Training the last layer alone is enough to unlearn what a network relies on wrongly (Kirichenko et al., ICLR 2023,
arXiv 2204.02937).  Here that is the loss of fine texture by HEVC, HDR or a second resampling, which reads as a trace of
forging: besides the labels' loss, the head pays for what such copies of a real face do to its score (as nuisance
attribute projection does it for speakers, Solomonoff et al., ICASSP 2005), and for leaving the direction that it had.
"""

from __future__ import annotations

import copy
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
from ml.model.network import FaceSequenceClassifier, FrameHead
from ml.model.onnx_backbone import onnx_backbone
from ml.model.preprocessing import normalise
from ml.progress import ProgressBar, ProgressCallback
from ml.training.feature_cache import backbone_sha256

AUGMENTATION = AugmentConfig(smooth=0.12, darkness=0.04, resample=0.25, compress=0.75, cutout=0.08)
BATCH = 66
"""Crops whose features are computed together."""
STEP = 256
"""Crops of one step of the fit, and real faces whose other recording it looks at."""
LINEAR_LR = 0.3
"""Learning rate of the linear part, of that of the hidden layer."""


@dataclass(frozen=True)
class HeadRefitConfig:
    """How much is looked at, and what holds the head."""

    crops: int = 33_000
    """Augmented crops of both labels."""
    recorded: int = 4_000
    """Crops that are looked at in all their other recordings, too."""
    hidden: int = 128
    """Units of the hidden layer; 0 leaves the head linear."""
    stay: float = 3.0
    """Penalty of the squared distance of the linear part from where it was, in standard deviations of each feature."""
    invariance: float = 0.7
    """Penalty of the mean squared change of a real face's score in another recording."""
    dropout: float = 0.3
    """Share of the hidden units that a step leaves out."""
    decay: float = 0.3
    """Weight decay of the hidden layer."""
    steps: int = 500
    lr: float = 3e-3


@dataclass(frozen=True)
class HeadFeatures:
    """What a head is fitted to."""

    crops: Tensor
    """(N, F) float32."""
    labels: Tensor
    """(N,), 1 is FAKE."""
    reals: Tensor
    """(M, F), features of real faces."""
    recorded: Tensor
    """(M, C, F), of the same faces in other recordings."""


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
    given = HeadFeatures(x, y, seen[:, 0], seen[:, 1:])
    before = change_by_recording(model.frame_head, given)
    head = fit_head(model.frame_head, given, config, seed=schedule.seed, on_progress=on_progress)
    model.frame_head = head.to(features.device)
    model.config = replace(model.config, frame_hidden=config.hidden)
    shift = {"before": before, "after": change_by_recording(head, given)}
    return [{"stage": "head", "crops": total, "recordings": config.recorded * COPIES, "change_by_recording": shift}]


def fit_head(
    start: FrameHead,
    given: HeadFeatures,
    config: HeadRefitConfig,
    *,
    seed: int = 0,
    on_progress: ProgressCallback | None = None,
) -> FrameHead:
    """Return a head that is fitted to the labels, and pays for what other recordings do to the score of a real face.

    Its linear part begins at that of `start`, and pays for leaving it, too.
    """
    generator = torch.Generator().manual_seed(seed)
    mean, deviation = given.crops.mean(0), given.crops.std(0) + 1e-3
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = FrameHead(given.crops.shape[1], config.hidden, dropout=config.dropout)  # of standardised features
        with torch.no_grad():
            head.weight.copy_(start.weight.cpu() * deviation)
            head.bias.copy_(start.bias.cpu() + start.weight.cpu() @ mean)
        _descend(head.train(), given, config, mean, deviation, generator, on_progress)
    _unstandardise(head, mean, deviation)
    return head.eval()


def _descend(
    head: FrameHead,
    given: HeadFeatures,
    config: HeadRefitConfig,
    mean: Tensor,
    deviation: Tensor,
    generator: torch.Generator,
    on_progress: ProgressCallback | None,
) -> None:
    """Fit a head of standardised features in place."""
    origin = head.weight.detach().clone()
    groups: list[dict[str, Any]] = [
        {"params": list(head.hidden.parameters()), "lr": config.lr, "weight_decay": config.decay},
        {"params": [head.weight, head.bias], "lr": LINEAR_LR * config.lr, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)

    def drawn(count: int) -> Tensor:
        return torch.randint(count, (STEP,), generator=generator)

    with ProgressBar(config.steps, "head", on_progress=on_progress) as progress:
        for _ in range(config.steps):
            crops, faces, copies = drawn(len(given.crops)), drawn(len(given.reals)), drawn(given.recorded.shape[1])
            x = torch.cat([given.crops[crops], given.reals[faces], given.recorded[faces, copies]])
            scores, real, other = _margins(head, (x - mean) / deviation).chunk(3)
            loss = (
                binary_cross_entropy_with_logits(scores, given.labels[crops])
                + config.invariance * (other - real).square().mean()
                + config.stay * (head.weight - origin).square().sum() / 2
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress.step()


@torch.no_grad()
def _unstandardise(head: FrameHead, mean: Tensor, deviation: Tensor) -> None:
    """Let a head of standardised features take features as they are."""
    for layer in (head, *head.hidden[:1]):
        layer.weight.div_(deviation)
        layer.bias.sub_(layer.weight @ mean)


def _margins(head: FrameHead, features: Tensor) -> Tensor:
    """(N, F) -> (N,), FAKE - REAL."""
    logits = head(features)
    return logits[:, Label.FAKE] - logits[:, Label.REAL]


@torch.inference_mode()
def change_by_recording(head: FrameHead, given: HeadFeatures) -> float:
    """Return the RMS of what other recordings do to a real face's score, in standard deviations of all scores."""
    head = copy.deepcopy(head).cpu().eval()
    changes = (
        _margins(head, given.recorded.flatten(0, 1)).view(given.recorded.shape[:2])
        - _margins(head, given.reals)[:, None]
    )
    return float(changes.square().mean().sqrt() / _margins(head, given.crops).std())
