"""The frame network's training: plain functions over a model, a stream of batches and a checkpoint file."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from ml.config import Label
from ml.data.crop_pack import Pack
from ml.data.frame_batches import FrameBatches, FramePlan
from ml.model.network import FaceSequenceClassifier
from ml.model.preprocessing import crops_to_tensor, normalise


@dataclass(frozen=True)
class FrameTraining:
    """Settings of the frame stage that are not in the plan."""

    lr: float = 1e-3
    weight_decay: float = 0.02
    warmup: float = 0.03
    """Share of the steps."""
    steps_per_epoch: int = 100
    """An epoch here is a fixed number of steps: history is written and a checkpoint made after each."""
    workers: int = 1
    ema: float = 0.0
    """Decay per step of an average of the weights, used for validation and as the result; 0 is off."""
    val_crops: int = 512
    label_smoothing: float = 0.0


Watch = Callable[[str, float], None]
"""Told what is being done and how far it is (0 to 1).  It may raise, and so stop the work."""
OnEpoch = Callable[[dict[str, Any]], None]


class Progress:
    """A bar on a terminal, plain lines elsewhere; with `watch`, that is told instead."""

    def __init__(
        self, total: int, what: str, *, done: int = 0, every_s: float = 60.0, watch: Watch | None = None
    ) -> None:
        self._bar: Any = None
        self._watch = watch
        self._total, self._what, self._done, self._every = total, what, done, every_s
        self._start = self._last = time.monotonic()
        self._first = done
        if watch is None and sys.stderr.isatty():
            with contextlib.suppress(ImportError):  # a bare machine may lack it
                from tqdm import tqdm

                self._bar = tqdm(total=total, initial=done, desc=what)

    def step(self, note: str = "") -> None:
        self._done += 1
        if self._watch is not None:
            self._watch(f"{self._what} {note}".strip(), self._done / max(1, self._total))
        elif self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(1)
        elif time.monotonic() - self._last > self._every:
            self._last = time.monotonic()
            rate = (self._done - self._first) / max(1e-9, self._last - self._start)
            left = (self._total - self._done) / max(1e-9, rate) / 60
            print(f"{self._what}: {self._done}/{self._total} {note} ({left:.1f} min left)", flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def pick_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seed_everything(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)


def autocast(device: torch.device, enabled: bool = True) -> torch.autocast:
    """bfloat16 on the CPU, float16 on a GPU."""
    dtype = torch.float16 if device.type == "cuda" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=enabled)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Atomic: a kill leaves the old one.  Read back with `load_checkpoint`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Tensors and plain values only: nothing in the file is executed."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def learning_rate(step: int, total: int, settings: FrameTraining) -> float:
    """Linear warm-up, then a cosine to zero."""
    warm = max(1, round(settings.warmup * total))
    if step < warm:
        return settings.lr * (step + 1) / warm
    return settings.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


class WeightAverage:
    """Exponential average of a model's floating-point state, batch statistics included."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))  # a short memory while everything moves
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)


@torch.inference_mode()
def frame_features(
    model: FaceSequenceClassifier, load: Callable[[int], NDArray[np.uint8]], count: int, *, batch: int = 32
) -> Tensor:
    """`load(i)` gives crop i (RGB) for i < count -> (count, F) float32 features, in eval mode."""
    device = next(model.parameters()).device
    model.eval()
    parts = []
    progress = Progress(-(-count // batch), "features")
    for start in range(0, count, batch):
        crops = [load(i) for i in range(start, min(start + batch, count))]
        x = crops_to_tensor(crops, model.config).to(device).contiguous(memory_format=torch.channels_last)
        with autocast(device):
            parts.append(model.features(x).float().cpu())
        progress.step()
    progress.close()
    return torch.cat(parts) if parts else torch.zeros(0, model.config.feature_dim)


@torch.inference_mode()
def frame_scores(model: FaceSequenceClassifier, features: Tensor) -> NDArray[np.float64]:
    """Features (N, F) -> the frame head's logit difference FAKE minus REAL, (N,)."""
    device = next(model.parameters()).device
    logits = model.frame_head(features.to(device)).float().cpu()
    return np.asarray((logits[:, Label.FAKE] - logits[:, Label.REAL]).numpy(), dtype=np.float64)


def spread(indices: Sequence[int], count: int) -> list[int]:
    """At most `count` of the indices, evenly spaced, so that every source and label is among them."""
    if len(indices) <= count:
        return list(indices)
    return [indices[i] for i in np.linspace(0, len(indices) - 1, count).round().astype(int)]


def validate_frames(model: FaceSequenceClassifier, pack: Pack, indices: Sequence[int]) -> dict[str, float]:
    """Loss, accuracy at 0.5 and AUC of the frame head."""
    scores = frame_scores(model, frame_features(model, lambda k: pack.crop(indices[k]), len(indices)))
    labels = pack.labels()[list(indices)]
    loss = np.logaddexp(0, np.where(labels == Label.FAKE, -scores, scores)).mean()
    auc = roc_auc_score(labels, scores) if len(set(labels.tolist())) == 2 else float("nan")
    return {"val_loss": float(loss), "val_accuracy": float(((scores > 0) == labels).mean()), "val_auc": float(auc)}


def train_frames(
    model: FaceSequenceClassifier,
    pack: Pack,
    train: Sequence[int],
    val: Sequence[int],
    *,
    plan: FramePlan,
    settings: FrameTraining,
    weights: Tensor,
    checkpoint: Path,
    resume: bool = False,
    stop_after: int | None = None,
    watch: Watch | None = None,
    on_epoch: OnEpoch | None = None,
) -> list[dict[str, float]]:
    """Trains backbone and frame head in place; returns the history, one entry an epoch.

    `weights` are the class weights of the loss, (2,).  With `resume` it goes on from `checkpoint` if that exists, and
    ends with the same weights as an uninterrupted run (on a CPU with the same number of threads).  `stop_after` ends
    early, at that step, with a checkpoint.  Without validation crops the history has no `val_*`.
    """
    device = next(model.parameters()).device
    model.to(memory_format=torch.channels_last)
    criterion = nn.CrossEntropyLoss(weight=weights.to(device), label_smoothing=settings.label_smoothing)
    trained = [*model.backbone.parameters(), *model.frame_head.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
    average = WeightAverage(model, settings.ema) if settings.ema else None
    history: list[dict[str, float]] = []
    step = 0
    if resume and checkpoint.exists():
        state = load_checkpoint(checkpoint)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scaler.load_state_dict(state["scaler"])
        if average and state["average"]:
            average.state = {k: v.to(device) for k, v in state["average"].items()}
        torch.set_rng_state(state["rng"])
        step, history = state["step"], state["history"]
        print(f"resumed at step {step} of {plan.total_steps}", flush=True)
    batches = FrameBatches(pack, train, plan)
    end = plan.total_steps if stop_after is None else min(stop_after, plan.total_steps)
    progress = Progress(plan.total_steps, "frames", done=step, watch=watch)
    stream = batches.loader(step, settings.workers)
    few_val = spread(val, settings.val_crops)
    total, hits, loss_sum, started = 0, 0, 0.0, time.monotonic()

    def snapshot() -> None:
        save_checkpoint(
            checkpoint,
            {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scaler": scaler.state_dict(),
                "average": average.state if average else {},
                "rng": torch.get_rng_state(),
                "step": step,
                "epoch": len(history),
                "history": history,
                "plan": {k: str(v) for k, v in asdict(plan).items()},
                "settings": asdict(settings),
            },
        )

    while step < end:
        model.train()
        images, labels = next(stream)
        x = normalise(images.to(device, non_blocking=True), model.config)
        y = labels.to(device)
        rate = learning_rate(step, plan.total_steps, settings)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with autocast(device):
            logits = model.frame_head(model.features(x))
        loss = criterion(logits.float(), y)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(trained, 5.0)
        scaler.step(optimizer)
        scaler.update()
        step += 1
        if average:
            average.update(model, step)
        total += len(y)
        hits += int((logits.argmax(1) == y).sum())
        loss_sum += float(loss.detach()) * len(y)
        progress.step(f"loss {loss_sum / total:.3f} accuracy {hits / total:.3f}")
        if step % settings.steps_per_epoch == 0 or step == plan.total_steps:
            speed = total / (time.monotonic() - started)
            entry: dict[str, float] = {"epoch": len(history) + 1, "step": step, "input_size": images.shape[1]}
            entry |= {"train_loss": loss_sum / total, "train_accuracy": hits / total, "crops_per_s": speed}
            live = {k: v.clone() for k, v in model.state_dict().items()} if average else None
            if average:
                model.load_state_dict(average.state)
            if few_val:
                entry |= validate_frames(model, pack, few_val)
            if live is not None:
                model.load_state_dict(live)
            history.append(entry)
            snapshot()
            if on_epoch:
                on_epoch({"stage": "frames", **entry})
            else:
                print(" ".join(f"{k} {v:.4g}" for k, v in entry.items()), flush=True)
            total, hits, loss_sum, started = 0, 0, 0.0, time.monotonic()
    progress.close()
    if step % settings.steps_per_epoch and step != plan.total_steps:
        snapshot()
    if average and step == plan.total_steps:
        model.load_state_dict(average.state)
    model.eval()
    return history
