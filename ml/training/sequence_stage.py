"""The sequence stage: LSTM and heads on cached features, with a frozen backbone.

Sequences of real videos are few and show few people.  So the recurrence also learns from pseudo-sequences, drawn from
single crops of one person and one label, and from self-blended copies of every real sequence, so that no source is all
real.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ml.config import FaceConfig, Label
from ml.data.crop_pack import CropRow, Pack
from ml.data.self_blend import self_blend
from ml.data.splits import class_weights, subsample
from ml.model.calibration import tempered
from ml.model.decision import means_and_penalties
from ml.model.network import FaceSequenceClassifier
from ml.progress import ProgressCallback
from ml.training.feature_cache import Crops, FeatureCache
from ml.training.frame_stage import EpochCallback


@dataclass(frozen=True)
class FeatureSequence:
    """One person in one clip: (T, F) features in time order, and the row of its first crop."""

    features: Tensor
    label: int
    source: str
    row: CropRow | None = None
    blended: bool = False
    """Made by self-blending: trains, is never evaluated on."""


@dataclass(frozen=True)
class SequenceStageConfig:
    """Settings of the sequence stage."""

    epochs: int = 12
    """0 leaves the recurrence out: with `frame_mean` the score is the mean of the frames'."""
    draws: int = 1024
    """Sequences drawn an epoch: sources evenly, labels evenly within each."""
    batch_size: int = 64
    lr: float = 1e-3
    frame_lr: float = 1e-4
    """Learning rate of the frame head, which continues from the frame stage (or the parent)."""
    weight_decay: float = 0.05
    noise: float = 0.1
    """Deviation of the noise on features, in units of each feature's own deviation."""
    min_length: int = 5
    """Temporal jitter: a random run of at least this many faces is kept."""
    patience: int = 4
    """Epochs without a lower validation loss after which training stops; the best epoch's weights are kept."""
    seed: int = 0


def video_sequences(
    pack: Pack,
    names: Sequence[str],
    cache: FeatureCache,
    *,
    blend: bool,
    seed: int = 0,
    on_progress: ProgressCallback | None = None,
) -> list[FeatureSequence]:
    """Return features of the pack's named sequences; with `blend`, a self-blended copy follows each real one."""
    sequences, view = pack.sequences(), cache.model.frame_view
    most = view.count if view else FaceConfig.faces_per_track  # as many as a verdict is made from
    plan: list[tuple[list[int], bool]] = []
    wanted: list[Crops] = []
    for name in names:
        indices = subsample(sequences[name], most)
        pixels = hashlib.sha256()
        for i in indices:
            pixels.update(pack.encoded(i))
        key, video = pixels.hexdigest()[:40], pack.rows[indices[0]].video
        plan.append((indices, False))
        wanted.append(Crops(key, len(indices), partial(_crop_at, pack, indices), video))
        if blend and pack.rows[indices[0]].label == Label.REAL:
            # The same mask and colours in every frame: a forgery is of one making.
            draw = [seed, int(key[:8], 16)]

            plan.append((indices, True))
            wanted.append(Crops(f"{key}-sbi{seed}", len(indices), partial(_blended_at, pack, indices, draw), video))
    found = []
    for (indices, blended), features in zip(plan, cache.get(wanted, on_progress=on_progress), strict=True):
        row = pack.rows[indices[0]]
        label = int(Label.FAKE) if blended else row.label
        found.append(FeatureSequence(features, label, row.source, row, blended=blended))
    return found


def _crop_at(pack: Pack, indices: Sequence[int], k: int) -> NDArray[np.uint8]:
    return pack.crop(indices[k])


def _blended_at(pack: Pack, indices: Sequence[int], draw: Sequence[int], k: int) -> NDArray[np.uint8]:
    fake, _ = self_blend(pack.crop(indices[k]), pack.landmarks([indices[k]])[0], np.random.default_rng(draw))
    return fake


def pseudo_sequences(
    features: Tensor, pack: Pack, indices: Sequence[int], *, count: int, length: int = 10, seed: int = 0
) -> list[FeatureSequence]:
    """Return about `count` sequences of each label, from features (N, F) of the single crops at `indices`.

    Each holds `length` crops of one person with one label in random order: without time, but with ten faces' evidence
    to combine.  A source with one label only gives none, as it would give the label away.
    """
    rng = np.random.default_rng(seed)
    people: dict[tuple[str, str, int], list[int]] = {}
    for k, i in enumerate(indices):
        row = pack.rows[i]
        people.setdefault((row.source, row.group, row.label), []).append(k)
    labels_of: dict[str, set[int]] = {}
    for source, _, label in people:
        labels_of.setdefault(source, set()).add(label)
    people = {key: found for key, found in people.items() if len(labels_of[key[0]]) == len(Label)}
    result = []
    for label in Label:
        keys = sorted(key for key in people if key[2] == label and len(people[key]) >= 2)
        for _ in range(count if keys else 0):
            key = keys[int(rng.integers(len(keys)))]
            chosen = rng.choice(people[key], size=length, replace=len(people[key]) < length)
            result.append(FeatureSequence(features[torch.from_numpy(chosen)], int(label), f"{key[0]} crops"))
    return result


def draw_epoch(items: Sequence[FeatureSequence], count: int, rng: np.random.Generator) -> list[int]:
    """Return indices drawn with replacement: sources equally often, and both labels equally often within each."""
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
    model: FaceSequenceClassifier,
    items: Sequence[FeatureSequence],
    settings: SequenceStageConfig,
    *,
    val: Sequence[FeatureSequence] = (),
    fresh_frame_head: bool = False,
    on_progress: ProgressCallback | None = None,
    on_epoch: EpochCallback | None = None,
) -> list[dict[str, float]]:
    """Train LSTM and head from scratch, and the frame head further, in place on (T, F) features.

    The loss is weighted by the class counts of each epoch's draws.  With `val` sequences of both labels, training stops
    early and keeps the best epoch's weights.  `fresh_frame_head` resets the frame head, too.  Return one entry an
    epoch.
    """
    torch.manual_seed(settings.seed)
    model.lstm.reset_parameters()
    model.head.reset_parameters()
    if model.config.frame_mean:  # begin at the mean of the frames, and learn what to add
        nn.init.zeros_(model.head.weight)
        nn.init.zeros_(model.head.bias)
    if fresh_frame_head:
        model.frame_head.reset_parameters()
    if settings.epochs == 0:
        model.eval()
        return []
    rng = np.random.default_rng(settings.seed)
    spread = torch.cat([item.features for item in items]).std(dim=0)  # (F,)
    trained = [*model.lstm.parameters(), *model.head.parameters()]
    frame_lr = settings.lr if fresh_frame_head else settings.frame_lr
    groups: list[dict[str, Any]] = [
        {"params": trained},
        {"params": list(model.frame_head.parameters()), "lr": frame_lr},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.lr, weight_decay=settings.weight_decay)
    steps = settings.epochs * -(-settings.draws // settings.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [settings.lr, frame_lr], total_steps=steps, pct_start=0.1)
    device = next(model.parameters()).device
    judged = {item.label for item in val} == set(Label)
    model.eval()
    best: tuple[float, int, dict[str, Tensor]] | None = None
    if judged and model.config.frame_mean and not fresh_frame_head:
        # The mean of the frames is where it begins, and what it must beat: the recurrence must not cost anything.
        best = (_validate(model, val)["val_loss"], -1, _heads(model))
    history: list[dict[str, float]] = []
    for epoch in range(settings.epochs):
        model.dropout.train()
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
        entry: dict[str, float] = {
            "epoch": epoch + 1,
            "train_loss": loss_sum / len(drawn),
            "train_accuracy": hits / len(drawn),
        }
        model.dropout.eval()
        if judged:
            entry |= _validate(model, val)
            if best is None or entry["val_loss"] < best[0] - 1e-4:
                best = (entry["val_loss"], epoch, _heads(model))
        history.append(entry)
        if on_epoch:
            on_epoch({"stage": "sequence", **entry})
        if on_progress:
            on_progress("sequence", (epoch + 1) / settings.epochs)
        if best is not None and epoch - best[1] >= settings.patience:
            break
    if best is not None:
        model.load_state_dict(best[2], strict=False)
    model.eval()
    return history


def _heads(model: FaceSequenceClassifier) -> dict[str, Tensor]:
    """Return a copy of the weights that this stage trains."""
    return {k: v for k, v in copy.deepcopy(model.state_dict()).items() if not k.startswith("backbone.")}


def _validate(model: FaceSequenceClassifier, val: Sequence[FeatureSequence]) -> dict[str, float]:
    """Return loss (classes weighted equally) and accuracy on validation sequences."""
    margins, _ = sequence_margins(model, val)
    videos = margins_by_video(val, margins)
    labels = np.array([video.label for video in videos])
    log_odds = tempered(*means_and_penalties([list(video.segments.values()) for video in videos]))
    losses = np.logaddexp(0, np.where(labels == Label.FAKE, -log_odds, log_odds))
    loss = np.mean([losses[labels == label].mean() for label in Label])
    return {"val_loss": float(loss), "val_accuracy": float(((log_odds >= 0) == labels).mean())}


@torch.inference_mode()
def sequence_margins(
    model: FaceSequenceClassifier, items: Sequence[FeatureSequence]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return logit differences FAKE minus REAL, (N,) each: the LSTM's, and the faces' mean of the frame head's."""
    device = next(model.parameters()).device
    sequence, frames = [], []
    for start in range(0, len(items), 256):
        chunk = [item.features for item in items[start : start + 256]]
        lengths = torch.tensor([len(features) for features in chunk])
        padded = nn.utils.rnn.pad_sequence(chunk, batch_first=True).to(device)
        logits, frame_logits = model.classify_features(padded, lengths)
        sequence += (logits[:, Label.FAKE] - logits[:, Label.REAL]).tolist()
        differences = (frame_logits[:, :, Label.FAKE] - frame_logits[:, :, Label.REAL]).cpu()
        frames += [float(row[:length].mean()) for row, length in zip(differences, lengths.tolist(), strict=True)]
    return np.array(sequence), np.array(frames)


@dataclass
class VideoMargins:
    """A video's logit differences FAKE minus REAL: the highest of each segment, and whose is the highest of all."""

    worst: FeatureSequence
    segments: dict[int, float]

    @property
    def label(self) -> int:
        """The label of its most suspicious person."""
        return self.worst.label


def margins_by_video(sequences: Sequence[FeatureSequence], margins: NDArray[np.float64]) -> list[VideoMargins]:
    """Put together what belongs to one video; a sequence without a row is one by itself.

    A segment is as fake as its most fake person (`ml.model.decision`): the more people, the more chances of a false
    alarm.
    """
    found: dict[str, VideoMargins] = {}
    for k, (item, margin) in enumerate(zip(sequences, margins.tolist(), strict=True)):
        name, segment = f"sequence {k}", 0
        if item.row is not None:
            name, segment = item.row.video or item.row.sequence, item.row.segment
        video = found.setdefault(name, VideoMargins(item, {}))
        if margin > max(video.segments.values(), default=margin):
            video.worst = item
        video.segments[segment] = max(margin, video.segments.get(segment, margin))
    return list(found.values())
