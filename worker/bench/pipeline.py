"""`manage.py benchmark`: the naive pipeline, the product's path and the floor on the same clips, in turns."""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import ml  # noqa: F401 (first: it tells OpenMP how to wait)

import cv2  # isort: skip
import torch  # isort: skip

from ml.bench import detection_accuracy as ml_accuracy
from ml.bench.pipelines import Floor, Seconds, floor_of, naive, naive_config
from ml.faces.extract import extract_faces
from ml.model.network import FaceSequenceClassifier
from ml.video.decode import VideoError
from worker.bench.in_process import Product
from worker.process import host, runtime

KINDS = ("naive", "product", "floor")
TOGETHER = (1, 4, 16, 64)
"""Videos that are scored at once."""


class BenchmarkError(Exception):
    """Nothing can be measured; the message is a sentence."""


@dataclass
class Clip:
    """One file's figures: seconds of each run, by kind; per stage the product's and the floor's."""

    path: Path
    facts: str
    seconds: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    stages: dict[str, dict[str, list[float]]] = field(default_factory=lambda: {kind: {} for kind in KINDS})

    def add(self, kind: str, seconds: float, stages: Seconds) -> None:
        """Note one run of the kind."""
        self.seconds[kind].append(seconds)
        for stage, value in stages.items():
            self.stages[kind].setdefault(stage, []).append(value)


def use_all_cores() -> None:
    """One video at a time: arithmetic may have every core, for all three kinds alike."""
    runtime.share_cores(processes=1)
    runtime.prepare()


def measure(
    paths: Sequence[Path], weights: Path, *, repeat: int, naive_repeat: int, say: Callable[[str], None]
) -> list[Clip]:
    """Every clip in turns, so that what disturbs the machine disturbs all three.  Raises BenchmarkError."""
    product = Product(weights)
    small = product.classifier.model
    large = FaceSequenceClassifier(naive_config(product.classifier.info.config))
    large.load_state_dict(small.state_dict())
    large.eval()
    clips: list[Clip] = []
    floors: list[Floor] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in paths:  # once beforehand: imports, allocations and the disk's cache are nobody's cost
            try:
                found, _ = product.run(path, folder)
            except VideoError as error:
                raise BenchmarkError(f"{path} cannot be measured: {error.detail}") from error
            say(f"trying settings of the floor: {path.name}")
            floors.append(floor_of(path, found, product.classifier))
            info = found.info
            clips.append(Clip(path, f"{info.width}x{info.height} {info.codec}, {found.frames_decoded} frames"))
        for turn in range(repeat):
            for clip, least in zip(clips, floors, strict=True):
                say(f"turn {turn + 1} of {repeat}: {clip.path.name}")
                if turn < naive_repeat:
                    started = time.perf_counter()
                    stages = naive(clip.path, folder, large)
                    clip.add("naive", time.perf_counter() - started, stages)
                started = time.perf_counter()
                _, stages = product.run(clip.path, folder)
                clip.add("product", time.perf_counter() - started, stages)
                seconds = least.run()
                clip.add("floor", sum(seconds.values()), seconds)
    return clips


def accuracy(paths: Sequence[Path], weights: Path, *, stride: int, say: Callable[[str], None]) -> dict[str, Any]:
    """What the product's quick ways cost in faces, boxes and scores; `refused` names files that are no videos."""
    product = Product(weights)
    float32 = ml_accuracy.float32_of(product.classifier)
    results, refused = [], []
    for number, path in enumerate(paths, 1):
        say(f"{number} of {len(paths)}: {path.name}")
        try:
            results.append(
                ml_accuracy.compare(
                    path, detector=product.detector, quick=product.classifier, float32=float32, stride=stride
                )
            )
        except VideoError as error:
            refused.append(f"{path.name}: {error.code}")
    return ml_accuracy.summary(results) | {"refused": refused, "stride": stride, "machine": facts()}


def scoring(paths: Sequence[Path], weights: Path, *, repeat: int, say: Callable[[str], None]) -> dict[str, Any]:
    """The network alone, in turns in float32 by torch and as the product computes on this device: videos a second.

    The videos are the people of the clips, again and again.  Raises BenchmarkError.
    """
    product = Product(weights)
    kinds = {"float32": ml_accuracy.float32_of(product.classifier), "quick": product.classifier}
    people = []
    for path in paths:
        say(f"looking for faces: {path.name}")
        try:
            found = extract_faces(path, detector=product.detector)
        except VideoError as error:
            raise BenchmarkError(f"{path} cannot be measured: {error.detail}") from error
        people += [[face.crop for face in track.faces] for track in found.tracks]
    if not people:
        raise BenchmarkError("Nobody is seen in these clips: there is nothing to score.")
    scores = {name: kind.score(people) for name, kind in kinds.items()}
    apart = [abs(a.fake_probability - b.fake_probability) for a, b in zip(*scores.values(), strict=True)]
    rates: dict[int, dict[str, float]] = {}
    for together in TOGETHER:
        say(f"{together} together")
        videos = list(islice(cycle(people), together))
        seconds: dict[str, list[float]] = {name: [] for name in kinds}
        for turn in range(repeat + 1):  # the first one warms up
            for name, kind in kinds.items():
                started = time.perf_counter()
                kind.score(videos)
                if turn:
                    seconds[name].append(time.perf_counter() - started)
        rates[together] = {name: round(together / statistics.median(taken), 2) for name, taken in seconds.items()}
    return {
        "quick": "onnx" if product.classifier.onnx else str(product.classifier.dtype).removeprefix("torch."),
        "videos_per_s": rates,
        "worst_score_difference": round(max(apart), 5),
        "machine": facts(),
    }


def report(clips: Sequence[Clip], *, memory: Memory) -> dict[str, Any]:
    """One JSON object: over all clips, and for each.  Seconds are those of one video."""
    return {
        **{kind: _spread([s for clip in clips for s in clip.seconds[kind]]) for kind in KINDS},
        "ratios": _ratios(clips),
        "stages": {
            kind: {
                stage: _spread([s for clip in clips for s in clip.stages[kind].get(stage, [])])
                for stage in dict.fromkeys(stage for clip in clips for stage in clip.stages[kind])
            }
            for kind in KINDS
        },
        "clips": [
            {
                "name": clip.path.name,
                "facts": clip.facts,
                **{kind: _spread(clip.seconds[kind]) for kind in KINDS},
                "ratios": _ratios([clip]),
            }
            for clip in clips
        ],
        "peak_memory_mb": memory.extract_mb,
        "memory": asdict(memory),
        "machine": facts(),
    }


@dataclass(frozen=True)
class Memory:
    """The largest resident sizes of fresh worker processes, in MB: one that only extracts, one that does both stages.

    `libraries_mb` of the first is what lies in shared libraries' files: read-only, and in memory once for all workers.
    """

    extract_mb: float
    libraries_mb: float
    both_mb: float


def peak_memory(paths: Sequence[Path], weights: Path) -> Memory:
    """Of processes that do the product's path with each file.  Raises BenchmarkError."""
    extract, both = (_memory_of(stages, paths, weights) for stages in ("extract", "both"))
    return Memory(extract["peak_mb"], extract["libraries_mb"], both["peak_mb"])


def _memory_of(stages: str, paths: Sequence[Path], weights: Path) -> dict[str, float]:
    command, env = host.own_process("worker.bench.memory_probe.process", stages, weights, *paths)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise BenchmarkError(f"Memory could not be measured: {done.stderr.strip().splitlines()[-1:]}")
    return dict(json.loads(done.stdout))


def facts() -> dict[str, Any]:
    """What a figure is worth nothing without."""
    return host.facts() | {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "torch": torch.__version__,
        "opencv": cv2.__version__,
    }


def _ratios(clips: Sequence[Clip]) -> dict[str, float | None]:
    """Medians of one clip, or their geometric mean over several: a long clip must not hide a short one."""
    found: dict[str, float | None] = {}
    for name, over, under in (("naive_to_product", "naive", "product"), ("product_to_floor", "product", "floor")):
        each = [
            statistics.median(clip.seconds[over]) / statistics.median(clip.seconds[under])
            for clip in clips
            if clip.seconds[over] and clip.seconds[under]
        ]
        found[name] = round(statistics.geometric_mean(each), 3) if each else None
    return found


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    if not values:
        return {"median": None, "min": None, "max": None}
    figures = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, 4) for name, value in figures.items()}
