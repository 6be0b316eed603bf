"""The second stage: LSTM and head on cached features, the backbone frozen.

The sequences of real videos are few and show few people.  So the recurrence also learns from pseudo-sequences, drawn
from single crops of one person and one label, and from self-blended copies of every real sequence: then no source is
all real.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ml.augment import self_blend
from ml.config import Label
from ml.data import class_weights
from ml.model import FaceSequenceClassifier
from ml.pack import Pack


@dataclass(frozen=True)
class FeatureSequence:
    """One person in one clip: (T, F) features in time order."""

    features: Tensor
    label: int
    source: str
    component: str = ""
    """People that share no component share no identity."""
    origin: str = ""
    method: str = ""
    blended: bool = False
    """Made by self-blending: trains, is never evaluated on."""


@dataclass(frozen=True)
class SequenceTraining:
    """Settings of the sequence stage."""

    epochs: int = 12
    draws: int = 1024
    """Sequences drawn an epoch: sources evenly, labels evenly within each."""
    batch_size: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.05
    noise: float = 0.1
    """Deviation of the noise on features, in units of each feature's own deviation."""
    min_length: int = 5
    """Temporal jitter: a random run of at least this many faces is kept."""
    seed: int = 0


def video_sequences(
    pack: Pack,
    components: Sequence[str],
    features_of: Callable[[Callable[[int], NDArray[np.uint8]], int], Tensor],
    *,
    seed: int = 0,
) -> list[FeatureSequence]:
    """Features of every sequence in the pack, each real one followed by a self-blended copy of itself.

    `components` gives the component of each row of the pack; `features_of(load, count)` gives the (count, F)
    features of the crops that `load` returns, see `ml.engine.frame_features`.
    """
    plan: list[tuple[list[int], int | None]] = []
    for number, indices in enumerate(pack.sequences().values()):
        plan.append((indices, None))
        if pack.rows[indices[0]].label == Label.REAL:
            plan.append((indices, number))
    crops = [(i, number) for indices, number in plan for i in indices]

    def load(k: int) -> NDArray[np.uint8]:
        index, number = crops[k]
        crop = pack.crop(index)
        # the same mask and colours in every frame: a forgery is of one making
        return crop if number is None else self_blend(crop, np.random.default_rng([seed, number]))

    parts = features_of(load, len(crops)).split([len(indices) for indices, _ in plan])
    found = []
    for (indices, blend), features in zip(plan, parts, strict=True):
        row = pack.rows[indices[0]]
        item = FeatureSequence(
            features, row.label, row.source, components[indices[0]], row.origin, row.method, blended=False
        )
        if blend is not None:
            item = replace(item, label=int(Label.FAKE), method="self_blended", blended=True)
        found.append(item)
    return found


def pseudo_sequences(
    features: Tensor, pack: Pack, indices: Sequence[int], *, count: int, length: int = 10, seed: int = 0
) -> list[FeatureSequence]:
    """About `count` sequences of each label, from the features (N, F) of the single crops at `indices`.

    Each holds `length` crops of one person with one label, in random order: there is no time in them, but there is
    the work of adding up ten faces' evidence.
    """
    rng = np.random.default_rng(seed)
    people: dict[tuple[str, str, int], list[int]] = {}
    for k, i in enumerate(indices):
        row = pack.rows[i]
        people.setdefault((row.source, row.group, row.label), []).append(k)
    result = []
    for label in Label:
        keys = sorted(key for key in people if key[2] == label and len(people[key]) >= 2)
        for _ in range(count if keys else 0):
            key = keys[int(rng.integers(len(keys)))]
            chosen = rng.choice(people[key], size=length, replace=len(people[key]) < length)
            result.append(FeatureSequence(features[torch.from_numpy(chosen)], int(label), f"{key[0]} crops"))
    return result


def draw_epoch(items: Sequence[FeatureSequence], count: int, rng: np.random.Generator) -> list[int]:
    """Indices drawn with replacement: every source equally often, both labels equally often within each."""
    cells: dict[str, dict[int, list[int]]] = {}
    for k, item in enumerate(items):
        cells.setdefault(item.source, {}).setdefault(item.label, []).append(k)
    sources = sorted(cells)
    drawn = []
    for _ in range(count):
        by_label = cells[sources[int(rng.integers(len(sources)))]]
        labels = sorted(by_label)
        drawn.append(int(rng.choice(by_label[labels[int(rng.integers(len(labels)))]])))
    return drawn


def train_sequence_head(
    model: FaceSequenceClassifier, items: Sequence[FeatureSequence], settings: SequenceTraining
) -> list[dict[str, float]]:
    """Starts LSTM and head anew and trains them in place on (T, F) features; returns loss and accuracy per epoch.

    The loss is class-weighted by the counts of what each epoch draws.
    """
    torch.manual_seed(settings.seed)
    model.lstm.reset_parameters()
    model.head.reset_parameters()
    rng = np.random.default_rng(settings.seed)
    spread = torch.cat([item.features for item in items]).std(dim=0)  # (F,)
    trained = [*model.lstm.parameters(), *model.head.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=settings.lr, weight_decay=settings.weight_decay)
    steps = settings.epochs * -(-settings.draws // settings.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.lr, total_steps=steps, pct_start=0.1)
    device = next(model.parameters()).device
    history = []
    model.eval()
    model.dropout.train()
    for epoch in range(settings.epochs):
        drawn = draw_epoch(items, settings.draws, rng)
        weights = class_weights(items[k].label for k in drawn)
        criterion = nn.CrossEntropyLoss(weight=weights.to(device))
        loss_sum, hits = 0.0, 0
        for start in range(0, len(drawn), settings.batch_size):
            chosen = [items[k] for k in drawn[start : start + settings.batch_size]]
            runs = []
            for item in chosen:
                total = len(item.features)
                keep = int(rng.integers(min(settings.min_length, total), total + 1))
                first = int(rng.integers(0, total - keep + 1))
                run = item.features[first : first + keep]
                runs.append(run + torch.randn(run.shape) * spread * settings.noise)
            lengths = torch.tensor([len(run) for run in runs])
            padded = nn.utils.rnn.pad_sequence(runs, batch_first=True).to(device)
            labels = torch.tensor([item.label for item in chosen], device=device)
            logits, _ = model.classify_features(padded, lengths)
            loss = criterion(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            loss_sum += float(loss.detach()) * len(chosen)
            hits += int((logits.argmax(1) == labels).sum())
        history.append({"epoch": epoch + 1, "train_loss": loss_sum / len(drawn), "train_accuracy": hits / len(drawn)})
    model.eval()
    return history


@torch.inference_mode()
def sequence_margins(
    model: FaceSequenceClassifier, items: Sequence[FeatureSequence]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """FAKE minus REAL: the LSTM's logit difference (N,), and the mean of the frame head's over the faces (N,)."""
    device = next(model.parameters()).device
    sequence, frames = [], []
    for item in items:
        logits, frame_logits = model.classify_features(
            item.features[None].to(device), torch.tensor([len(item.features)])
        )
        sequence.append(float(logits[0, Label.FAKE] - logits[0, Label.REAL]))
        frames.append(float((frame_logits[0, :, Label.FAKE] - frame_logits[0, :, Label.REAL]).mean()))
    return np.array(sequence), np.array(frames)
