"""Trains the classifier from one packed file of crops (see ml.data).

    python -m ml.train PACK --out DIR

writes `DIR/weights.safetensors` and `DIR/history.json`.  Stage `frames` trains the backbone and the frame head on
single crops, with checkpoints (`--resume` goes on from the last one); stage `sequence` trains the LSTM on cached
features of the videos' faces, judges it on people it has not seen, and writes the weights.  It needs torch,
torchvision, numpy, OpenCV, scikit-learn and safetensors, nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from ml.batches import FramePlan
from ml.config import DecisionConfig, Label, ModelConfig
from ml.data import class_weights, row_components, split_singles
from ml.engine import (
    FrameTraining,
    frame_features,
    load_checkpoint,
    pick_device,
    seed_everything,
    spread,
    train_frames,
)
from ml.model import FaceSequenceClassifier, imagenet_backbone_state
from ml.pack import Pack, PackError
from ml.report import crossed_predictions, frame_report, sequence_report
from ml.sequence import SequenceTraining, pseudo_sequences, train_sequence_head, video_sequences
from ml.weights import WeightsInfo, save_weights

FRAMES_CHECKPOINT = "frames.ckpt"


def parse_sizes(text: str) -> tuple[tuple[int, float], ...]:
    """`64:0.7,112:0.3` -> ((64, 0.7), (112, 0.3)): input side in pixels and share of the steps."""
    pairs = tuple((int(size), float(share)) for size, share in (item.split(":") for item in text.split(",")))
    if abs(sum(share for _, share in pairs) - 1.0) > 1e-6:
        raise argparse.ArgumentTypeError(f"the shares of {text} do not add up to 1")
    return pairs


def parse_weights(text: str) -> tuple[tuple[str, float], ...]:
    """`dfdc:0.85,web_colour:0.15`."""
    return tuple((name, float(share)) for name, share in (item.split(":") for item in text.split(",") if item))


def start_model(config: ModelConfig, *, backbone: str | None, scratch: bool) -> FaceSequenceClassifier:
    """A model with ImageNet features where they can be had; prints which start it is."""
    model = FaceSequenceClassifier(config)
    if scratch or (backbone is None and config.arch != ModelConfig.arch):
        print("start: from scratch")
        return model
    try:
        model.backbone.load_state_dict(imagenet_backbone_state(backbone))
        print(f"start: ImageNet weights from {backbone or 'the torchvision hub'}")
    except OSError as error:
        print(f"start: from scratch, because ImageNet weights cannot be had: {error}")
    return model


def run_frames(model: FaceSequenceClassifier, pack: Pack, args: argparse.Namespace) -> list[dict[str, float]]:
    """Stage 1.  Pairs hold each label once, so the counts of what is drawn are even and the loss's weights are 1."""
    train, val = split_singles(pack, seed=args.seed)
    plan = FramePlan(
        batch_size=args.batch_size,
        total_steps=args.crops // args.batch_size,
        seed=args.seed,
        sizes=args.sizes,
        source_weights=args.source_weights,
    )
    settings = FrameTraining(
        lr=args.lr,
        ema=args.ema,
        workers=args.workers,
        steps_per_epoch=args.steps_per_epoch,
        val_crops=args.val_crops,
    )
    print(f"frames: {len(train)} training and {len(val)} validation crops, no person in both", flush=True)
    return train_frames(
        model,
        pack,
        train,
        val,
        plan=plan,
        settings=settings,
        weights=class_weights(list(Label) * (plan.batch_size // 2)),
        checkpoint=args.out / FRAMES_CHECKPOINT,
        resume=args.resume,
        stop_after=args.stop_after,
    )


def load_frames(model: FaceSequenceClassifier, checkpoint: Path) -> list[dict[str, float]]:
    """The frame stage's result (its averaged weights, if it kept an average) into `model`; returns its history."""
    state = load_checkpoint(checkpoint)
    model.load_state_dict(state["average"] or state["model"])
    history: list[dict[str, float]] = state["history"]
    return history


def state_sha256(model: FaceSequenceClassifier) -> str:
    """Hex digest of the backbone's weights and of the input size: what features depend on besides the crops."""
    digest = hashlib.sha256(str(model.config.input_size).encode())
    for name, tensor in sorted(model.backbone.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def run_sequence(
    model: FaceSequenceClassifier, pack: Pack, args: argparse.Namespace, frame_history: list[dict[str, float]]
) -> dict[str, Any]:
    """Stage 2: judge by folds of people, then train on everything, calibrate, and write the weights."""
    settings = SequenceTraining(epochs=args.sequence_epochs, draws=args.sequence_draws, seed=args.seed)
    train, val = split_singles(pack, seed=args.seed)
    print("sequence: features of the videos' faces and of single crops ...", flush=True)
    key = hashlib.sha256(f"{pack.content_sha256()} {state_sha256(model)}".encode()).hexdigest()[:16]

    def cached(name: str) -> Callable[[Callable[[int], NDArray[np.uint8]], int], Tensor]:
        """Features are kept in --out, so that a second run with the same backbone and pack takes seconds."""

        def features_of(load: Callable[[int], NDArray[np.uint8]], count: int) -> Tensor:
            path = args.out / f"features-{key}-{name}-{args.seed}-{count}.safetensors"
            if not path.exists():
                args.out.mkdir(parents=True, exist_ok=True)
                partial = path.with_suffix(".partial")
                save_file({"features": frame_features(model, load, count)}, str(partial))
                partial.replace(path)
            return load_file(str(path))["features"]

        return features_of

    videos = video_sequences(pack, row_components(pack.rows), cached("videos"), seed=args.seed)
    chosen, held = spread(train, args.pseudo_crops), spread(val, args.final_val_crops)
    features = cached("singles")(lambda k: pack.crop(chosen[k]), len(chosen))
    held_features = cached("held")(lambda k: pack.crop(held[k]), len(held))
    pseudo = pseudo_sequences(features, pack, chosen, count=args.pseudo_sequences, seed=args.seed)
    print(f"sequence: {len(videos)} of videos, {len(pseudo)} of single crops", flush=True)
    crossed = crossed_predictions(model, videos, pseudo, settings, n_folds=args.folds, seed=args.seed)
    metrics = sequence_report(crossed, n_bootstrap=args.bootstrap)
    metrics["frames"] = frame_report(model, pack, held, held_features, n_bootstrap=args.bootstrap)
    history = train_sequence_head(model, [*videos, *pseudo], settings)
    low = metrics["videos"]["auc"]["low"]
    info = WeightsInfo(
        name=args.name,
        config=model.config,
        threshold=crossed.threshold,
        temperature=crossed.temperature,
        experimental=low is None or low < DecisionConfig().experimental_auc,
        training_data_sha256=pack.content_sha256(),
        metrics=metrics,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    sha256 = save_weights(model, info, args.out / "weights.safetensors")
    report = {
        "sha256": sha256,
        "experimental": info.experimental,
        "temperature": info.temperature,
        "threshold": info.threshold,
        "metrics": metrics,
        "frames_history": frame_history,
        "sequence_history": history,
        "sequence_settings": asdict(settings),
        "arguments": {key: str(value) for key, value in vars(args).items()},
    }
    (args.out / "history.json").write_text(json.dumps(report, indent=1))
    return report


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ml.train", description="Train the classifier from a pack of crops."
    )
    parser.add_argument("pack", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints, history and weights")
    parser.add_argument("--stage", choices=("frames", "sequence", "all"), default="all")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--name", default="baseline", help="name written into the weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backbone", help="torchvision state dict to start from, instead of the hub's")
    parser.add_argument("--scratch", action="store_true", help="do not look for ImageNet weights")
    parser.add_argument("--arch", default=ModelConfig.arch)
    parser.add_argument("--feature-dim", type=int, default=ModelConfig.feature_dim)
    parser.add_argument("--workers", type=int, default=1, help="loader processes")
    frames = parser.add_argument_group("frame stage")
    frames.add_argument("--crops", type=int, default=200_000, help="crops seen in all")
    frames.add_argument("--batch-size", type=int, default=32)
    frames.add_argument("--sizes", type=parse_sizes, default=((112, 1.0),), help="such as 64:0.7,112:0.3")
    frames.add_argument("--source-weights", type=parse_weights, default=(), help="such as dfdc:0.85,web_colour:0.15")
    frames.add_argument("--lr", type=float, default=1e-3)
    frames.add_argument("--ema", type=float, default=0.0, help="decay of the weights' average; 0 is off")
    frames.add_argument("--steps-per-epoch", type=int, default=100)
    frames.add_argument("--val-crops", type=int, default=512, help="validation crops after each epoch")
    frames.add_argument("--stop-after", type=int, help="end the stage at this step, keeping the schedule")
    sequence = parser.add_argument_group("sequence stage")
    sequence.add_argument("--folds", type=int, default=5)
    sequence.add_argument("--sequence-epochs", type=int, default=12)
    sequence.add_argument("--sequence-draws", type=int, default=1024, help="sequences drawn an epoch")
    sequence.add_argument("--pseudo-crops", type=int, default=4000)
    sequence.add_argument("--pseudo-sequences", type=int, default=600, help="of each label")
    sequence.add_argument("--final-val-crops", type=int, default=5000)
    sequence.add_argument("--bootstrap", type=int, default=1000)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    try:
        pack = Pack(args.pack)
        seed_everything(args.seed)
        config = ModelConfig(arch=args.arch, feature_dim=args.feature_dim, input_size=args.sizes[-1][0])
        checkpoint = args.out / FRAMES_CHECKPOINT
        if args.stage == "sequence":
            model = FaceSequenceClassifier(config).to(pick_device())
            history = load_frames(model, checkpoint)
        else:
            model = start_model(config, backbone=args.backbone, scratch=args.scratch).to(pick_device())
            history = run_frames(model, pack, args)
            load_frames(model, checkpoint)
        if args.stage != "frames":
            report = run_sequence(model, pack, args, history)
            print(json.dumps({k: report[k] for k in ("sha256", "experimental", "temperature", "threshold")}))
            print(json.dumps(report["metrics"]["summary"], indent=1))
    except (PackError, ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
