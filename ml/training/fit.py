"""One training, from a pack to weights: frame network, sequence head, calibration, evaluation.

`python -m ml.train` and `manage.py retrain` both end here.  People are split by whole components: training, validation
(early stopping, temperature, threshold) and holdout (metrics only).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ml.config import Label
from ml.data.crop_pack import Pack, PackError
from ml.data.frame_batches import BatchSchedule
from ml.data.splits import HOLDOUT, TRAIN, VAL, row_components, split_rows, subsample, with_shuffled_labels
from ml.evaluation.report import video_metrics, why_experimental
from ml.evaluation.scored_video import ScoredVideo
from ml.model.calibration import (
    AssessmentBorders,
    choose_borders,
    choose_threshold,
    fit_temperature,
    probabilities,
    tempered,
)
from ml.model.decision import means_and_penalties
from ml.model.network import FaceSequenceClassifier
from ml.model.weights import WeightsInfo, save_weights, strictest
from ml.progress import ProgressCallback
from ml.training.feature_cache import Crops, FeatureCache
from ml.training.frame_stage import (
    EpochCallback,
    FrameStageConfig,
    load_frame_stage,
    seed_everything,
    train_frames,
)
from ml.training.head_refit import HeadRefitConfig, refit_frame_head
from ml.training.scoring import frame_report, scored_videos
from ml.training.sequence_stage import (
    FeatureSequence,
    SequenceStageConfig,
    margins_by_video,
    pseudo_sequences,
    sequence_margins,
    train_sequence_head,
    video_sequences,
)

FRAMES_CHECKPOINT = "frames.ckpt"
WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class FitOptions:
    """What a training does; these options and the pack determine the result."""

    name: str = "model"
    full: bool = True
    """Train the backbone too; without, it is frozen and only the heads learn, from cached features."""
    seed: int = 0
    crops: int = 200_000
    """Crops the frame stage sees in all."""
    batch_size: int = 32
    sizes: tuple[tuple[int, float], ...] = ((112, 1.0),)
    source_weights: tuple[tuple[str, float], ...] = ()
    blended_share: float = 1.0
    mild_share: float = 0.0
    """Both as in ml.data.frame_batches.BatchSchedule."""
    frames: FrameStageConfig = field(default_factory=FrameStageConfig)
    head_refit: HeadRefitConfig | None = None
    """Fit the frame head anew once the backbone is trained."""
    sequence: SequenceStageConfig = field(default_factory=SequenceStageConfig)
    pseudo_crops: int = 4000
    """Single crops whose features make pseudo-sequences."""
    pseudo_count: int = 600
    """Pseudo-sequences of each label."""
    seen_sources: tuple[str, ...] = ()
    """Sources that the weights to start from have seen as a whole: nothing of them is validation or holdout."""
    held_crops: int = 3000
    """Single crops of held-out people (else of validation) that the frame head is judged on."""
    fake_recall: float | None = None
    """The share of fakes that the threshold is to catch on validation."""
    false_alarms: float | None = None
    """The share of reals that the threshold may call fake on validation; with neither, the best balanced accuracy."""
    shuffle_labels: bool = False
    """A check for leaks: training and validation labels are dealt anew, the holdout's stay."""
    n_bootstrap: int = 1000


@dataclass(frozen=True)
class Fitted:
    """A finished training: file, metadata, history, and the scored holdout."""

    path: Path
    sha256: str
    info: WeightsInfo
    history: list[dict[str, Any]]
    holdout: list[ScoredVideo]


def splits_of(pack: Pack, options: FitOptions) -> dict[str, list[int]]:
    """Return the indices of the crops in train, val and holdout."""
    splits = split_rows(pack, seed=options.seed)
    for name in (VAL, HOLDOUT):
        seen = [i for i in splits[name] if pack.rows[i].source in options.seen_sources]
        splits[TRAIN] += seen
        splits[name] = sorted(set(splits[name]) - set(seen))
    return splits


def train_frame_stage(
    model: FaceSequenceClassifier,
    pack: Pack,
    options: FitOptions,
    checkpoint: Path,
    *,
    resume: bool = False,
    stop_after: int | None = None,
    on_progress: ProgressCallback | None = None,
    on_epoch: EpochCallback | None = None,
) -> list[dict[str, Any]]:
    """Train stage 1: backbone and frame head on single crops and on the videos' faces; the result is left in `model`.

    Raises ValueError when there are fewer crops than one batch.
    """
    splits = splits_of(pack, options)
    pack = with_shuffled_labels(pack, splits, options.seed) if options.shuffle_labels else pack
    if options.crops < options.batch_size:
        raise ValueError(f"{options.crops} crops are not one batch of {options.batch_size}.")
    history = train_frames(
        model,
        pack,
        splits[TRAIN],
        splits[VAL],
        schedule=_schedule(options),
        config=options.frames,
        checkpoint=checkpoint,
        resume=resume,
        stop_after=stop_after,
        on_progress=on_progress,
        on_epoch=on_epoch,
    )
    return [{"stage": "frames", **entry} for entry in history]


def _schedule(options: FitOptions) -> BatchSchedule:
    return BatchSchedule(
        batch_size=options.batch_size,
        total_steps=options.crops // options.batch_size,
        seed=options.seed,
        sizes=options.sizes,
        source_weights=options.source_weights,
        blended_share=options.blended_share,
        mild_share=options.mild_share,
        self_blend=not options.shuffle_labels,
    )


def single_features(
    pack: Pack, indices: Sequence[int], cache: FeatureCache, on_progress: ProgressCallback | None
) -> torch.Tensor:
    """Return features (N, F) of single crops."""
    wanted = [
        Crops(hashlib.sha256(pack.encoded(i)).hexdigest()[:40], 1, partial(_single, pack, i), pack.rows[i].video)
        for i in indices
    ]
    found = cache.get(wanted, on_progress=on_progress)
    return torch.cat(found) if found else torch.zeros(0, cache.model.config.feature_dim)


def _single(pack: Pack, index: int, _: int) -> NDArray[np.uint8]:
    return pack.crop(index)


def fit(
    model: FaceSequenceClassifier,
    pack: Pack,
    out: Path,
    options: FitOptions,
    *,
    cache: Path | None = None,
    resume: bool = False,
    frames_done: bool = False,
    started_from: WeightsInfo | None = None,
    license: str = "",
    on_progress: ProgressCallback | None = None,
    on_epoch: EpochCallback | None = None,
) -> Fitted:
    """Trains `model` in place and writes `out/weights.safetensors`.

    `cache` keeps features between runs; `frames_done` takes the frame stage's result from its checkpoint;
    `started_from` are the weights whose training goes on, with the identities that they have seen and their terms;
    `license` are the terms of the data.  Raises ValueError or PackError, with a
    sentence, when the pack cannot be learnt from.
    """
    seed_everything(options.seed)
    splits = splits_of(pack, options)
    seen = {name for i in (*splits[TRAIN], *splits[VAL]) for name in (pack.rows[i].group, pack.rows[i].donor) if name}
    history: list[dict[str, Any]] = []
    checkpoint = out / FRAMES_CHECKPOINT
    if frames_done:
        history = [{"stage": "frames", **entry} for entry in load_frame_stage(model, checkpoint)]
    elif options.full:
        history = train_frame_stage(
            model, pack, options, checkpoint, resume=resume, on_progress=on_progress, on_epoch=on_epoch
        )
    if options.head_refit is not None:
        schedule = replace(_schedule(options), blended_share=0.5, mild_share=0.4)
        history += refit_frame_head(
            model, pack, splits[TRAIN], schedule, options.head_refit, out / "features",
            workers=options.frames.workers, on_progress=on_progress,
        )  # fmt: skip
    history += _train_heads(model, pack, splits, out, options, cache or out / "features", on_progress, on_epoch)
    # From here on the true labels count, whatever was trained on.
    features = FeatureCache(cache or out / "features", model)
    temperature, threshold, borders = calibrate(model, pack, splits, features, options, on_progress)
    holdout = scored_split(model, pack, HOLDOUT, features, options, temperature=temperature, on_progress=on_progress)
    metrics = video_metrics(holdout, threshold=threshold, n_bootstrap=options.n_bootstrap)
    crops = {side: [i for i in splits[side] if not pack.rows[i].sequence] for side in (HOLDOUT, VAL)}
    held = subsample(crops[HOLDOUT] or crops[VAL], options.held_crops)
    metrics["score_bins"] = score_bins(holdout)
    if borders is not None:
        metrics["assessment"] = borders.to_metrics()
    metrics["frames"] = frame_report(
        model, pack, held, single_features(pack, held, features, on_progress), n_bootstrap=options.n_bootstrap
    )
    info = WeightsInfo(
        name=options.name,
        config=model.config,
        threshold=threshold,
        temperature=temperature,
        experimental=bool(why_experimental(metrics)),
        training_data_sha256=pack.content_sha256(),
        trained_on=tuple(sorted(seen.union(started_from.trained_on if started_from else ()))),
        metrics=metrics,
        license=strictest(license, started_from.license if started_from else ""),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    path = out / WEIGHTS
    sha256 = save_weights(model, info, path)
    body = {"sha256": sha256, "experimental": info.experimental, "temperature": temperature, "threshold": threshold}
    body |= {"metrics": metrics, "history": history, "options": asdict(options)}
    (out / "history.json").write_text(json.dumps(body, indent=1))
    return Fitted(path=path, sha256=sha256, info=info, history=history, holdout=holdout)


def score_bins(videos: Sequence[ScoredVideo], bins: int = 20) -> dict[str, list[int]]:
    """Count the scores of each label in `bins` equal bins from 0 to 1, for drift to be compared with later."""
    found = {label.name.lower(): [0] * bins for label in Label}
    for video in videos:
        found[Label(video.label).name.lower()][min(bins - 1, int(video.score * bins))] += 1
    return found


def scored_split(
    model: FaceSequenceClassifier,
    pack: Pack,
    split: str,
    features: FeatureCache,
    options: FitOptions,
    *,
    temperature: float,
    shift: float = 0.0,
    on_progress: ProgressCallback | None = None,
) -> list[ScoredVideo]:
    """Score the videos of one split."""
    names = _names(pack, splits_of(pack, options)[split])
    component = dict(zip((row.group for row in pack.rows), row_components(pack.rows), strict=True))
    sequences = video_sequences(pack, names, features, blend=False, on_progress=on_progress)
    return scored_videos(
        model,
        sequences,
        lambda item: component[item.row.group] if item.row else "",
        temperature=temperature,
        shift=shift,
    )


def _names(pack: Pack, indices: Sequence[int]) -> list[str]:
    """Return the sequences that the rows belong to, in order."""
    return list(dict.fromkeys(pack.rows[i].sequence for i in indices if pack.rows[i].sequence))


def _train_heads(
    model: FaceSequenceClassifier,
    pack: Pack,
    splits: dict[str, list[int]],
    out: Path,
    options: FitOptions,
    folder: Path,
    on_progress: ProgressCallback | None,
    on_epoch: EpochCallback | None,
) -> list[dict[str, Any]]:
    """Train stage 2.  Shuffled labels leave pixels and features as they are; only what the heads are told changes."""
    if options.sequence.epochs == 0:  # the mean of the frames is the verdict: no features to be computed for a training
        return train_sequence_head(model, [], options.sequence, fresh_frame_head=options.shuffle_labels)
    features = FeatureCache(folder, model)
    told = with_shuffled_labels(pack, splits, options.seed) if options.shuffle_labels else pack
    # Which sequences are copied self-blended follows the labels that are told: a shuffled run must not learn the truth.
    train = video_sequences(
        told,
        _names(told, splits[TRAIN]),
        features,
        blend=not options.shuffle_labels,
        seed=options.seed,
        on_progress=on_progress,
    )
    singles = subsample([i for i in splits[TRAIN] if not told.rows[i].sequence], options.pseudo_crops)
    train += pseudo_sequences(
        single_features(told, singles, features, on_progress),
        told,
        singles,
        count=options.pseudo_count,
        seed=options.seed,
    )
    found = {item.label for item in train}
    if found != set(Label):
        missing = " and no ".join(label.name.lower() for label in Label if label not in found)
        raise PackError(f"There is no {missing} video to train on: nothing can be learnt from one side only.")
    history = train_sequence_head(
        model,
        train,
        options.sequence,
        val=_validation(told, splits, features, options, on_progress),
        fresh_frame_head=options.shuffle_labels,
        on_progress=on_progress,
        on_epoch=on_epoch,
    )
    return [{"stage": "sequence", **entry} for entry in history]


def _validation(
    pack: Pack,
    splits: dict[str, list[int]],
    features: FeatureCache,
    options: FitOptions,
    on_progress: ProgressCallback | None,
) -> list[FeatureSequence]:
    """Return validation videos, and pseudo-sequences of single validation crops."""
    singles = subsample([i for i in splits[VAL] if not pack.rows[i].sequence], options.held_crops)
    return [
        *video_sequences(pack, _names(pack, splits[VAL]), features, blend=False, on_progress=on_progress),
        *pseudo_sequences(
            single_features(pack, singles, features, on_progress), pack, singles, count=100, seed=options.seed
        ),
    ]


def calibrate(
    model: FaceSequenceClassifier,
    pack: Pack,
    splits: dict[str, list[int]],
    features: FeatureCache,
    options: FitOptions,
    on_progress: ProgressCallback | None,
) -> tuple[float, float, AssessmentBorders | None]:
    """Return temperature, threshold and borders, fitted on validation; (1.0, 0.5, None) where that lacks a class.

    Fitted as they are used: on videos, each with the rule of `ml.model.decision.combine`.  Without validation videos
    of both labels single crops stand in, one by one: ten crops of ten clips agree less than ten moments of one video.
    """
    items = video_sequences(pack, _names(pack, splits[VAL]), features, blend=False, on_progress=on_progress)
    if {item.label for item in items} != set(Label):
        singles = subsample([i for i in splits[VAL] if not pack.rows[i].sequence], options.held_crops)
        found = single_features(pack, singles, features, on_progress)
        items = [
            FeatureSequence(found[k : k + 1], pack.rows[i].label, pack.rows[i].source) for k, i in enumerate(singles)
        ]
    if {item.label for item in items} != set(Label):
        return 1.0, 0.5, None
    margins, _ = sequence_margins(model, items)
    videos = margins_by_video(items, margins)
    labels = np.array([video.label for video in videos], dtype=np.int64)
    means, penalties = means_and_penalties([list(video.segments.values()) for video in videos])
    temperature = fit_temperature(means, penalties, labels)
    scores = probabilities(tempered(means, penalties, temperature), 1.0)
    threshold = choose_threshold(scores, labels, fake_recall=options.fake_recall, false_alarms=options.false_alarms)
    return temperature, threshold, choose_borders(scores, labels, threshold)
