"""Train the classifier from one packed file of crops (see `ml.data`).

    python -m ml.train PACK --out DIR --recipe baseline

writes `DIR/weights.safetensors` and `DIR/history.json`.  The recipe baseline trains the frame stage of each of its
members into a folder of its own below DIR, and writes their mean; any other recipe trains one network.

Stage `frames` trains the backbone and the frame head on single crops, with checkpoints (`--resume` goes on from the
last one); with `torchrun --nproc-per-node N -m ml.train ...` in N processes, which on two cores is half as fast again.
Stage `refit` fits the frame head of `--weights` anew, on its frozen backbone (`ml.training.head_refit`), as the recipe
baseline does at its end; it needs PyAV.  Stage `sequence` trains the heads on cached features of the videos' faces,
calibrates them, judges them on people held out, and writes the weights.  It needs torch, torchvision, timm, numpy,
SciPy, OpenCV, scikit-learn, safetensors and tqdm, nothing else; with PyAV, crops are compressed as video codecs do it,
too.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist

from ml.config import ModelConfig
from ml.data.crop_pack import Pack, PackError
from ml.model.imagenet import imagenet_state
from ml.model.inference import choose_device
from ml.model.network import FaceSequenceClassifier, model_config
from ml.model.weights import WeightsError, load_weights, read_info
from ml.training.fit import FRAMES_CHECKPOINT, FitOptions, fit, splits_of, train_frame_stage
from ml.training.frame_stage import FrameStageConfig, combine_frame_stages, rank, seed_everything
from ml.training.head_refit import HeadRefitConfig
from ml.training.recipes import BASELINE, RECIPES, Recipe
from ml.training.sequence_stage import SequenceStageConfig


def parse_weights(text: str) -> tuple[tuple[str, float], ...]:
    """Read `dfdc:0.85,web_colour:0.15`."""
    return tuple((name, float(share)) for name, share in (item.split(":") for item in text.split(",") if item))


def parse_pair(text: str) -> tuple[float, float]:
    """Read `0.5,0.5`."""
    first, second = text.split(",")
    return float(first), float(second)


def start_model(
    config: ModelConfig, *, weights: Path | None, start: str, imagenet: str | None
) -> FaceSequenceClassifier:
    """Return a model with the features of `weights`, else ImageNet's unless `start` is scratch; print which.

    Only the backbone and the frame head are taken from `weights`: what reads sequences begins anew.
    """
    model = FaceSequenceClassifier(config)
    if weights is not None:
        given, info = load_weights(weights)
        if info.config.backbone != config.backbone:
            raise ValueError(
                f"{weights.name} is a {info.config.backbone}, and {config.backbone} is to be trained (--backbone)."
            )
        model.backbone.load_state_dict(given.backbone.state_dict())
        model.frame_head.load_state_dict(given.frame_head.linear_state())
        print(f"start: the backbone and frame head of {info.name} ({weights.name})")
        return model
    if start == "scratch":
        print("start: from scratch")
        return model
    try:
        state, source = imagenet_state(config.backbone, imagenet)
        model.backbone.load_state_dict(state)
        print(f"start: ImageNet weights from {source}")
    except (OSError, RuntimeError) as error:
        print(f"start: from scratch, because ImageNet weights cannot be had: {error}")
    return model


def options_of(args: argparse.Namespace) -> FitOptions:
    """Gather what a training does from the command line."""
    return FitOptions(
        name=args.name,
        full=args.stage not in ("sequence", "refit") and not args.members,
        seed=args.seed,
        crops=args.crops,
        batch_size=args.batch_size,
        sizes=((args.size, 1.0),),
        source_weights=args.source_weights,
        blended_share=args.blended_share,
        mild_share=args.mild_share,
        frames=FrameStageConfig(
            head_weights=args.head_weights,
            lr=args.lr,
            ema=args.ema,
            workers=args.workers,
            steps_per_epoch=args.steps_per_epoch,
            val_crops=args.val_crops,
        ),
        head_refit=HeadRefitConfig(
            crops=args.refit_crops,
            recorded=args.refit_recordings,
            hidden=args.refit_hidden,
            stay=args.refit_stay,
            invariance=args.refit_invariance,
            steps=args.refit_steps,
        )
        if args.refit_crops
        else None,
        sequence=SequenceStageConfig(epochs=args.sequence_epochs, draws=args.sequence_draws, seed=args.seed),
        pseudo_crops=args.pseudo_crops,
        pseudo_count=args.pseudo_sequences,
        seen_sources=tuple(args.seen_sources),
        held_crops=args.final_val_crops,
        fake_recall=args.fake_recall,
        false_alarms=args.false_alarms,
        shuffle_labels=args.shuffle_labels,
        n_bootstrap=args.bootstrap,
    )


def build_parser() -> argparse.ArgumentParser:
    """Describe the command's options; those of a recipe are put in as defaults by `main`."""
    parser = argparse.ArgumentParser(
        prog="python -m ml.train", description="Train the classifier from a pack of crops."
    )
    parser.add_argument("pack", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints, history and weights")
    parser.add_argument(
        "--recipe", choices=["baseline", *RECIPES], help="defaults of all that follows (ml/training/recipes.py)"
    )
    parser.add_argument("--smoke", action="store_true", help="the recipe in a minute: few and small crops")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto; on cuda a recipe takes more of everything")
    parser.add_argument("--stage", choices=("frames", "refit", "sequence", "all"), default="all")
    parser.add_argument(
        "--members", type=Path, nargs="+", metavar="RUN", help="finished frame stages (--out folders): ship their mean"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--name", default="baseline", help="name written into the weights")
    parser.add_argument("--license", default="", metavar="SPDX", help="terms of the data, written into the weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", type=Path, help="weights of this program to start from")
    parser.add_argument(
        "--seen-sources", nargs="+", default=(), metavar="SOURCE",
        help="sources that --weights have seen as a whole: nothing of them is validation or holdout",
    )  # fmt: skip
    parser.add_argument("--start", choices=("imagenet", "scratch"), default="imagenet", help="without --weights")
    parser.add_argument("--imagenet", metavar="FILE", help="ImageNet weights, instead of a package's or the hub's")
    parser.add_argument("--backbone", default=ModelConfig.backbone, help="any name that timm knows")
    parser.add_argument("--size", type=int, default=ModelConfig.input_size, help="side of the network's input, pixels")
    parser.add_argument("--mirror", action="store_true", help="scores are means over faces and mirror images")
    parser.add_argument("--workers", type=int, default=1, help="loader processes")
    frames = parser.add_argument_group("frame stage")
    frames.add_argument("--crops", type=int, default=200_000, help="crops seen in all")
    frames.add_argument("--batch-size", type=int, default=32)
    frames.add_argument("--source-weights", type=parse_weights, default=(), help="such as dfdc:0.85,web_colour:0.15")
    frames.add_argument(
        "--head-weights",
        type=parse_pair,
        default=(0.5, 0.5),
        help="of the heads: BLENDED,FORGED",
    )
    frames.add_argument("--blended-share", type=float, default=1.0, help="forgeries with a self-blended face each")
    frames.add_argument("--mild-share", type=float, default=0.0, help="of the groups, changed only mildly")
    frames.add_argument("--lr", type=float, default=FrameStageConfig.lr)
    frames.add_argument("--ema", type=float, default=0.0, help="decay of the weights' average; 0 is off")
    frames.add_argument("--steps-per-epoch", type=int, default=100)
    frames.add_argument("--val-crops", type=int, default=512, help="validation crops after each epoch")
    frames.add_argument("--stop-after", type=int, help="end the stage at this step, keeping the schedule")
    refit = parser.add_argument_group("stage refit, which also ends the recipe baseline")
    refit.add_argument("--refit-crops", type=int, default=0, help="augmented crops to fit the head to; 0 is off")
    refit.add_argument("--refit-recordings", type=int, default=HeadRefitConfig.recorded, help="crops with their copies")
    refit.add_argument("--refit-hidden", type=int, default=HeadRefitConfig.hidden, help="units of its hidden layer")
    refit.add_argument("--refit-stay", type=float, default=HeadRefitConfig.stay, help="penalty of leaving the old head")
    refit.add_argument("--refit-invariance", type=float, default=HeadRefitConfig.invariance, help="penalty of a change")
    refit.add_argument("--refit-steps", type=int, default=HeadRefitConfig.steps, help="steps of the fit itself")
    sequence = parser.add_argument_group("sequence stage")
    sequence.add_argument("--fake-recall", type=float, help="share of fakes the threshold is to catch, on validation")
    sequence.add_argument("--false-alarms", type=float, help="share of reals that it may call fake there, instead")
    sequence.add_argument("--shuffle-labels", action="store_true", help="a check for leaks: the result must be chance")
    sequence.add_argument("--sequence-epochs", type=int, default=12)
    sequence.add_argument("--sequence-draws", type=int, default=1024, help="sequences drawn an epoch")
    sequence.add_argument("--pseudo-crops", type=int, default=4000)
    sequence.add_argument("--pseudo-sequences", type=int, default=600, help="of each label")
    sequence.add_argument("--final-val-crops", type=int, default=5000)
    sequence.add_argument("--bootstrap", type=int, default=1000)
    return parser


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line over the recipe's defaults."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.recipe:
        recipe: Recipe = RECIPES[BASELINE[0] if args.recipe == "baseline" else args.recipe]
        if args.smoke:
            recipe = recipe.for_smoke()
        elif choose_device(args.device).type == "cuda":
            recipe = recipe.for_cuda()
        parser.set_defaults(**asdict(recipe))
        args = parser.parse_args(argv)
    return args


def join_processes(device: str) -> None:
    """Join the other processes of this training where `torchrun` started it; otherwise do nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        return
    cuda = choose_device(device).type == "cuda"
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if cuda else "gloo")


def train_members(argv: Sequence[str], out: Path) -> list[Path] | None:
    """Train the frame stage of each member of the baseline; return their folders, or None where one failed."""
    folders = [out / name for name in BASELINE]
    for name, folder in zip(BASELINE, folders, strict=True):
        print(f"member {name}:", flush=True)
        if main([*argv, "--recipe", name, "--stage", "frames", "--out", str(folder)]):
            return None
    return folders


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse_args(argv)
    join_processes(args.device)
    if args.recipe == "baseline" and args.stage in ("frames", "all") and not args.members:
        args.members = train_members(argv, args.out)
        if args.members is None:
            return 1
        if args.stage == "frames" or rank():
            return 0
    if args.stage == "refit" and not (args.weights and args.refit_crops):
        print("--stage refit needs --weights, and --recipe or --refit-crops.", file=sys.stderr)
        return 1
    options = options_of(args)
    try:
        pack = Pack(args.pack)
        seed_everything(args.seed)
        device = choose_device(args.device)
        config = model_config(
            args.backbone, input_size=args.size, mirror=args.mirror, members=len(args.members or [None])
        )
        counts = {name: len(rows) for name, rows in splits_of(pack, options).items()}
        print(f"crops, no person in two splits: {counts}", flush=True)
        if args.stage == "refit":
            model, _ = load_weights(args.weights)
            model.to(device)
        elif args.members:
            model = FaceSequenceClassifier(config)
            combine_frame_stages(model, [run / FRAMES_CHECKPOINT for run in args.members])
            model.to(device)
        elif args.stage == "sequence":
            model = FaceSequenceClassifier(config).to(device)
        else:
            model = start_model(config, weights=args.weights, start=args.start, imagenet=args.imagenet)
            model.to(device)
        if args.stage == "frames" or (rank() and options.full):
            checkpoint = args.out / FRAMES_CHECKPOINT
            train_frame_stage(model, pack, options, checkpoint, resume=args.resume, stop_after=args.stop_after)
            return 0
        if rank():
            return 0  # what follows is work for one
        fitted = fit(
            model,
            pack,
            args.out,
            options,
            resume=args.resume,
            frames_done=args.stage == "sequence" and not args.members,
            started_from=read_info(args.weights) if args.weights else None,
            license=args.license,
        )
    except (PackError, WeightsError, ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    info = fitted.info
    print(f"{fitted.path}  sha256 {fitted.sha256}")
    print(f"temperature {info.temperature:.3f}  threshold {info.threshold:.3f}  experimental {info.experimental}")
    print(json.dumps(info.metrics.get("summary", "no held-out video"), indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
