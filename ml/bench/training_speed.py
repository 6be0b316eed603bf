"""Training speed against the hardware's floor: `python -m ml.bench [--steps 40] [--videos 1000]`.

1. `full`: crops per second of the frame stage as `retrain --full` runs it (decoding, augmentation, self-blending,
   optimizer, average of weights), against a bare forward-backward loop of the same network on one ready batch.  Both
   run in turns in one process, so that a busy machine slows both; the ratio is what counts.
2. `frozen`: seconds for the heads on the cached features of so many videos of ten faces.

Images and features are made up: only their number and size matter here.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ml.config import Label, ModelConfig
from ml.data.crop_pack import CropRow, Pack, PackWriter
from ml.model.inference import choose_device
from ml.model.network import FaceSequenceClassifier
from ml.model.preprocessing import normalise
from ml.training.fit import FitOptions, fit, train_frame_stage
from ml.training.frame_stage import FrameStageConfig, autocast, seed_everything

BARE_STEPS = 8


def made_up_pack(path: Path, *, videos: int, faces: int, side: int, people: int, seed: int = 0) -> Pack:
    """Write a pack of noise images in sequences, half of each label, of `people` people."""
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(8)]
    writer = PackWriter()
    for video in range(videos):
        label = video % len(Label)
        for order in range(faces):
            image = images[(video + order) % len(images)].copy()
            image[:4, :4] = np.frombuffer(video.to_bytes(4, "little") * 12, np.uint8).reshape(4, 4, 3)
            row = CropRow(label, f"person {video // 2 % people}", "bench", sequence=f"{video}", order=order)
            writer.add_crop(image, row)
    return Pack(writer.write(path))


def bench_full(folder: Path, *, steps: int, rounds: int, batch: int, workers: int) -> dict[str, Any]:
    """Return medians over the rounds, and their ratio."""
    device = choose_device()
    config = ModelConfig(frame_mean=True)
    pack = made_up_pack(folder / "full.pack", videos=120, faces=4, side=224, people=60)
    seed_everything(0)
    model = FaceSequenceClassifier(config).to(device)
    other = FaceSequenceClassifier(config).to(device).to(memory_format=torch.channels_last).train()
    raw = torch.randint(0, 256, (batch, config.input_size, config.input_size, 3), dtype=torch.uint8)
    x, y = normalise(raw.to(device), config), (torch.arange(batch) % 2).to(device)
    product: list[float] = []
    bare: list[float] = []

    def bare_round(entry: dict[str, Any]) -> None:
        """Time a round of the bare loop after each round of the product's."""
        product.append(float(entry["crops_per_s"]))
        started = time.perf_counter()
        for _ in range(BARE_STEPS):
            with autocast(device):
                loss = nn.functional.cross_entropy(other.frame_head(other.features(x)).float(), y)
            other.zero_grad(set_to_none=True)
            loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        bare.append(BARE_STEPS * batch / (time.perf_counter() - started))
        print(f"round {len(bare)}: product {product[-1]:.1f}, bare {bare[-1]:.1f} crops/s", flush=True)

    options = FitOptions(
        crops=steps * rounds * batch,
        batch_size=batch,
        frames=FrameStageConfig(steps_per_epoch=steps, ema=0.99, workers=workers, val_crops=0),
    )
    train_frame_stage(model, pack, options, folder / "bench.ckpt", on_epoch=bare_round)
    return {
        "product_crops_per_s": statistics.median(product),
        "bare_crops_per_s": statistics.median(bare),
        "ratio": statistics.median(p / b for p, b in zip(product, bare, strict=True)),
    }


def bench_frozen(folder: Path, *, videos: int) -> dict[str, float]:
    """Time a whole `fit` with a frozen backbone whose features are cached, intervals included.

    The network is small and never runs; only the width of its features (2048) counts.
    """
    config = ModelConfig(frame_mean=True, input_size=32)
    pack = made_up_pack(folder / "frozen.pack", videos=videos, faces=10, side=32, people=videos // 4)
    seed_everything(0)
    model = FaceSequenceClassifier(config).to(choose_device())
    options = FitOptions(full=False)
    fit(model, pack, folder / "first", options, cache=folder / "features")  # fills the cache
    started = time.perf_counter()
    fit(model, pack, folder / "second", options, cache=folder / "features")
    return {"videos": videos, "seconds": time.perf_counter() - started}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m ml.bench", description="Measure training against its floor.")
    parser.add_argument("--steps", type=int, default=40, help="batches a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1, help="loader processes")
    parser.add_argument("--videos", type=int, default=1000, help="of the frozen mode")
    parser.add_argument("--only", choices=("full", "frozen"))
    parser.add_argument("--json", action="store_true", help="one JSON object at the end")
    args = parser.parse_args(argv)
    answer: dict[str, Any] = {
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(choose_device()),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.only != "frozen":
            answer["full"] = bench_full(
                folder, steps=args.steps, rounds=args.rounds, batch=args.batch_size, workers=args.workers
            )
        if args.only != "full":
            answer["frozen"] = bench_frozen(folder, videos=args.videos)
    if full := answer.get("full"):
        print(
            f"full: {full['product_crops_per_s']:.1f} crops/s, bare forward-backward {full['bare_crops_per_s']:.1f}:"
            f" {full['ratio']:.0%} of the floor"
        )
    if frozen := answer.get("frozen"):
        print(f"frozen: {frozen['seconds']:.1f} s for {frozen['videos']} videos with cached features")
    if args.json:
        print(json.dumps(answer))
    return 0
