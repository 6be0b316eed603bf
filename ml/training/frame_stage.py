"""The frame network's training: plain functions over a model, a stream of batches and a checkpoint file.

Two linear heads share the backbone while it trains: one tells self-blended faces from real ones, the other forged from
real. In one label they pull against each other (arXiv 2507.21530; `docs/measurements.md` has our own figures).  At the
end the model's frame head is the mean of the two, which is linear again, so inference knows one head.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from ml.config import Label
from ml.data.crop_pack import Pack
from ml.data.frame_batches import BLENDED, FORGED, IGNORE, BatchSchedule, FrameBatches
from ml.data.splits import subsample
from ml.model.network import FaceSequenceClassifier
from ml.model.preprocessing import crops_to_tensor, normalise
from ml.progress import ProgressBar, ProgressCallback
from ml.training.depthwise import slow_depthwise_in_float32

EpochCallback = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class FrameStageConfig:
    """Settings of the frame stage that are not in the schedule of its batches."""

    lr: float = 6e-4
    weight_decay: float = 0.03
    warmup: float = 0.05
    """Share of the steps."""
    steps_per_epoch: int = 100
    """An epoch here is a fixed number of steps: history is written and a checkpoint made after each."""
    workers: int = 1
    ema: float = 0.0
    """Decay per step of an average of the weights, used for validation and as the result; 0 is off."""
    val_crops: int = 512
    label_smoothing: float = 0.02
    max_norm: float = 5.0
    """Norm to which the gradient is clipped."""
    head_weights: tuple[float, float] = (0.5, 0.5)
    """Weights of the heads BLENDED and FORGED in the loss and in the resulting sum."""


class TwoHeadNetwork(nn.Module):
    """A classifier's backbone under the two heads of its frame stage."""

    head_weights: Tensor

    def __init__(self, model: FaceSequenceClassifier, head_weights: tuple[float, float] = (0.5, 0.5)) -> None:
        super().__init__()
        self.config = model.config
        self.register_buffer("head_weights", torch.tensor(head_weights))  # saved with the heads that it weighs
        self.backbone = copy.deepcopy(model.backbone)  # what trains is apart from what is asked for its features
        features = model.config.feature_dim
        self.dropout = nn.Dropout(0.2)
        self.blended = nn.Linear(features, 2)
        self.forged = nn.Linear(features, 2)
        for head in (self.blended, self.forged):  # so a training that goes on begins where the last one ended
            head.load_state_dict(model.frame_head.linear_state())

    def forward(self, frames: Tensor) -> Tensor:
        """(N, 3, S, S) -> logits (N, 2, 2): the heads BLENDED and FORGED, each (REAL, FAKE)."""
        features = self.dropout(self.backbone(frames))
        return torch.stack([self.blended(features), self.forged(features)], dim=1)

    @torch.no_grad()
    def write_into(self, model: FaceSequenceClassifier) -> None:
        """Copy the backbone and the weighted mean of the heads into a classifier."""
        model.backbone.load_state_dict(self.backbone.state_dict())
        blended, forged = self.head_weights.tolist()
        model.frame_head.reset_hidden()  # what a hidden layer adds belongs to features of before
        model.frame_head.weight.copy_(blended * self.blended.weight + forged * self.forged.weight)
        model.frame_head.bias.copy_(blended * self.blended.bias + forged * self.forged.bias)


def world_size() -> int:
    """Return how many processes train together: 1 unless `torchrun` started this one."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return this process's number among them, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def seed_everything(seed: int) -> None:
    """Seed torch's and numpy's global generators."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)


def autocast(device: torch.device, enabled: bool = True) -> torch.autocast:
    """Compute in bfloat16 on the CPU, in float16 on a GPU."""
    dtype = torch.float16 if device.type == "cuda" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=enabled)


def learning_rate(step: int, total: int, warmup: float) -> float:
    """Return the factor of the peak rate: a linear warm-up over that share of the steps, then a cosine to zero."""
    warm = max(1, round(warmup * total))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def ema_update(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Return an `avg_fn` for AveragedModel: an exponential average with a short memory while everything moves."""

    def update(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        if not averaged.is_floating_point():
            return current
        return averaged.lerp(current, 1 - min(decay, (1 + int(count)) / (10 + int(count))))

    return update


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write atomically: a kill leaves the old one.  Read back with `load_checkpoint`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read tensors and plain values only: nothing in the file is executed."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


@torch.inference_mode()
def frame_features(
    model: FaceSequenceClassifier, load: Callable[[int], NDArray[np.uint8]], count: int, *, batch: int = 32
) -> Tensor:
    """`load(i)` gives crop i (RGB) for i < count -> (count, F) float32 features, in eval mode."""
    device = next(model.parameters()).device
    model.eval()
    parts = []
    with ProgressBar(-(-count // batch), "features") as progress:
        for start in range(0, count, batch):
            crops = [load(i) for i in range(start, min(start + batch, count))]
            x = crops_to_tensor(crops, model.config).to(device).contiguous(memory_format=torch.channels_last)
            with autocast(device):
                parts.append(model.features(x).float().cpu())
            progress.step()
    return torch.cat(parts) if parts else torch.zeros(0, model.config.feature_dim)


@torch.inference_mode()
def frame_scores(model: FaceSequenceClassifier, features: Tensor) -> NDArray[np.float64]:
    """Features (N, F) -> the frame head's logit difference FAKE minus REAL, (N,)."""
    device = next(model.parameters()).device
    logits = model.frame_head(features.to(device)).float().cpu()
    return np.asarray((logits[:, Label.FAKE] - logits[:, Label.REAL]).numpy(), dtype=np.float64)


def evaluate(model: FaceSequenceClassifier, pack: Pack, indices: Sequence[int]) -> dict[str, float]:
    """Return loss, accuracy at 0.5 and AUC of the frame head on these crops."""
    scores = frame_scores(model, frame_features(model, lambda k: pack.crop(indices[k]), len(indices)))
    labels = pack.labels()[list(indices)]
    loss = np.logaddexp(0, np.where(labels == Label.FAKE, -scores, scores)).mean()
    auc = roc_auc_score(labels, scores) if len(set(labels.tolist())) == 2 else float("nan")
    return {"val_loss": float(loss), "val_accuracy": float(((scores > 0) == labels).mean()), "val_auc": float(auc)}


def two_head_loss(
    logits: Tensor, targets: Tensor, label_smoothing: float, head_weights: tuple[float, float] = (0.5, 0.5)
) -> Tensor:
    """(N, 2, 2) logits, (N, 2) targets -> the weighted sum of both heads' class-weighted cross entropies.

    The weights of a class come from its count in the batch, so that both classes weigh the same.
    """
    total = logits.new_zeros(())
    for head in (BLENDED, FORGED):
        known = targets[:, head] != IGNORE
        if not head_weights[head] or not known.any():
            continue
        y = targets[known, head]
        counts = torch.bincount(y, minlength=len(Label)).clamp(min=1)
        weight = (len(y) / (len(Label) * counts)).to(logits.dtype)
        loss = nn.functional.cross_entropy(logits[known, head], y, weight=weight, label_smoothing=label_smoothing)
        total = total + 2 * head_weights[head] * loss
    return total


class FrameTrainer:
    """Everything that a frame stage changes, to be saved and restored as a whole."""

    def __init__(self, model: FaceSequenceClassifier, schedule: BatchSchedule, config: FrameStageConfig) -> None:
        self.config, self.seed = config, schedule.seed
        self.device = next(model.parameters()).device
        network = TwoHeadNetwork(model, config.head_weights)
        if self.device.type == "cpu":
            slow_depthwise_in_float32(network)
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Each process has batch norms of its own; those of the first are kept.
        self.replica = DistributedDataParallel(network, broadcast_buffers=False) if world_size() > 1 else network
        parameters = list(self.network.parameters())
        decayed = [p for p in parameters if p.ndim > 1]
        plain = [p for p in parameters if p.ndim <= 1]  # batch norms and biases
        groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=config.lr, fused=True)
        self.scheduler = LambdaLR(self.optimizer, lambda step: learning_rate(step, schedule.total_steps, config.warmup))
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.device.type == "cuda")
        self.average = (
            AveragedModel(self.network, avg_fn=ema_update(config.ema), use_buffers=True) if config.ema else None
        )
        self.step = 0
        self.history: list[dict[str, float]] = []

    @property
    def result(self) -> TwoHeadNetwork:
        """The network whose weights are the outcome: the average where one is kept."""
        averaged: TwoHeadNetwork | None = self.average.module if self.average is not None else None  # type: ignore[assignment]
        return averaged or self.network

    def state_dict(self) -> dict[str, Any]:
        """Return all of it as tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average.state_dict() if self.average is not None else {},
            "step": self.step,
            "history": self.history,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None and state["average"]:
            self.average.load_state_dict(state["average"])
        self.step, self.history = state["step"], state["history"]


def train_one_epoch(
    trainer: FrameTrainer, batches: Iterator[tuple[Tensor, Tensor]], *, steps: int, progress: ProgressBar
) -> dict[str, float]:
    """Train on so many batches; return the mean loss, the accuracy over both heads and the speed."""
    network, config, device = trainer.network, trainer.config, trainer.device
    trainer.replica.train()
    seen, judged, hits, loss_sum, started = 0, 0, 0, 0.0, time.monotonic()
    rate = trainer.optimizer.param_groups[0]["lr"]
    for _ in range(steps):
        images, targets = next(batches)
        # The dropout of a step is the same in a resumed run.
        torch.manual_seed(trainer.seed + trainer.step * world_size() + rank())
        x = normalise(images.to(device, non_blocking=True), network.config)
        y = targets.to(device)
        with autocast(device):
            logits = trainer.replica(x)
        loss = two_head_loss(logits.float(), y, config.label_smoothing, config.head_weights)
        trainer.optimizer.zero_grad(set_to_none=True)
        trainer.scaler.scale(loss).backward()
        trainer.scaler.unscale_(trainer.optimizer)
        nn.utils.clip_grad_norm_(network.parameters(), config.max_norm)
        trainer.scaler.step(trainer.optimizer)
        trainer.scaler.update()
        trainer.scheduler.step()
        trainer.step += 1
        if trainer.average is not None:
            trainer.average.update_parameters(network)
        known = y != IGNORE
        judged += int(known.sum())
        hits += int(((logits.argmax(2) == y) & known).sum())
        seen += len(y)
        loss_sum += float(loss.detach()) * len(y)
        progress.step(f"loss {loss_sum / seen:.3f} accuracy {hits / judged:.3f}")
    return {
        "input_size": images.shape[1],
        "lr": rate,
        "train_loss": loss_sum / seen,
        "train_accuracy": hits / judged,
        "crops_per_s": seen / (time.monotonic() - started),
    }


def train_frames(
    model: FaceSequenceClassifier,
    pack: Pack,
    train: Sequence[int],
    val: Sequence[int],
    *,
    schedule: BatchSchedule,
    config: FrameStageConfig,
    checkpoint: Path,
    resume: bool = False,
    stop_after: int | None = None,
    on_progress: ProgressCallback | None = None,
    on_epoch: EpochCallback | None = None,
) -> list[dict[str, float]]:
    """Train backbone and frame head of `model` in place; return the history, one entry an epoch.

    Under `torchrun` each process sees its share of every batch and the gradients are averaged; the first one writes and
    judges.  With `resume` it goes on from `checkpoint` if that exists, and ends with the same weights as an
    uninterrupted run (on a CPU with the same number of threads and processes).  `stop_after` ends early, at that step,
    with a checkpoint.  Without validation crops the history has no `val_*`.
    """
    trainer = FrameTrainer(model, schedule, config)
    if resume and checkpoint.exists():
        trainer.load_state_dict(load_checkpoint(checkpoint))
        print(f"resumed at step {trainer.step} of {schedule.total_steps}", flush=True)
    shares = replace(
        schedule, batch_size=schedule.batch_size // world_size(), total_steps=schedule.total_steps * world_size()
    )
    batches = FrameBatches(
        pack,
        train,
        shares,
        model.config,
        on_progress=(lambda share: on_progress("landmarks", share)) if on_progress else None,
    )
    end = schedule.total_steps if stop_after is None else min(stop_after, schedule.total_steps)
    steps = range(trainer.step * world_size() + rank(), shares.total_steps, world_size())
    stream = batches.loader(steps, config.workers)
    few_val = subsample(val, config.val_crops)
    with ProgressBar(schedule.total_steps, "frames", done=trainer.step, on_progress=on_progress) as progress:
        while trainer.step < end:
            epoch_end = min((trainer.step // config.steps_per_epoch + 1) * config.steps_per_epoch, end)
            entry = train_one_epoch(trainer, stream, steps=epoch_end - trainer.step, progress=progress)
            whole = trainer.step % config.steps_per_epoch == 0 or trainer.step == schedule.total_steps
            if rank():
                continue
            if whole:
                trainer.result.write_into(model)
                entry = {"epoch": len(trainer.history) + 1, "step": trainer.step, **entry}
                entry |= evaluate(model, pack, few_val) if few_val else {}
                trainer.history.append(entry)
            save_checkpoint(checkpoint, trainer.state_dict())
            if whole and on_epoch:
                on_epoch({"stage": "frames", **entry})
            elif whole:
                print(" ".join(f"{k} {v:.4g}" for k, v in entry.items()), flush=True)
    trainer.result.write_into(model)
    model.eval()
    return trainer.history


def load_frame_stage(model: FaceSequenceClassifier, checkpoint: Path) -> list[dict[str, float]]:
    """Copy a finished frame stage's result from its checkpoint into `model`; return its history."""
    state = load_checkpoint(checkpoint)
    network = TwoHeadNetwork(model)
    averaged = {k.removeprefix("module."): v for k, v in state["average"].items() if k != "n_averaged"}
    network.load_state_dict(averaged or state["network"])
    network.write_into(model)
    history: list[dict[str, float]] = state["history"]
    return history


@torch.no_grad()
def combine_frame_stages(model: FaceSequenceClassifier, checkpoints: Sequence[Path]) -> list[dict[str, float]]:
    """Put the results of several frame stages side by side into `model`, one a member; return their histories in turn.

    The frame head becomes the mean of theirs.
    """
    n = len(checkpoints)
    config = replace(model.config, members=1, feature_dim=model.config.feature_dim // n)
    singles = [FaceSequenceClassifier(config) for _ in checkpoints]
    history = [
        entry for single, path in zip(singles, checkpoints, strict=True) for entry in load_frame_stage(single, path)
    ]
    for member, single in zip(model.backbone.members, singles, strict=True):
        member.load_state_dict(single.backbone.state_dict())
    model.frame_head.weight.copy_(torch.cat([single.frame_head.weight for single in singles], dim=1) / n)
    model.frame_head.bias.copy_(torch.stack([single.frame_head.bias for single in singles]).mean(0))
    return history
