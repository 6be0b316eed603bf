"""What a model is worth, on the frozen holdout or on any folder of videos."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import torch
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from detection.errors import Refused
from detection.models import ModelVersion
from detection.services import registry, snapshots
from ml.config import Label
from ml.datasets import DatasetError, DatasetItem, scan
from ml.evaluation import build_report
from ml.faces import FaceDetector, extract_faces
from ml.features import FeatureCache
from ml.fit import FitOptions, scored_split
from ml.pack import CropRow, Pack, PackError, PackWriter
from ml.splits import HOLDOUT
from ml.video import VideoError
from ml.weights import WeightsError, WeightsInfo, file_sha256, load_weights
from worker import figures, learning
from worker.training import write_report

_detector: FaceDetector | None = None


class Command(BaseCommand):
    help = "Evaluate MODEL (a registered version, or a file of weights): figures with intervals, and a report."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("model", metavar="MODEL", help="`active`, id, name, start of the sha256, or a file")
        parser.add_argument("--on", type=Path, metavar="PATH", help="a data set's folder; else the frozen holdout")
        layouts = ("celeb-df", "ffpp", "dfdc", "folder", "csv")
        parser.add_argument("--format", choices=layouts, help="of --on; else guessed")
        parser.add_argument("--out", type=Path, help="folder for report.html and report.json")
        parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that look for faces")
        parser.add_argument("--bootstrap", type=int, default=1000, help="draws behind the intervals")

    def handle(self, *args: Any, model: str, on: Path | None, **options: Any) -> None:
        try:
            path, sha256, name = _find(model)
            network, info = load_weights(path, sha256=sha256)
            if on is None:
                pack = _holdout(info)
            else:
                pack = self._folder(on, options["format"], sha256, max(1, options["workers"]))
        except (DatasetError, WeightsError, PackError, ValueError, OSError) as error:
            raise CommandError(str(error)) from error
        except Refused as error:
            raise CommandError(error.detail) from error
        features = FeatureCache(learning.feature_folder(), network)
        videos = scored_split(network, pack, HOLDOUT, features, FitOptions(), temperature=info.temperature)
        if not videos:
            raise CommandError("There is no labelled video with faces to evaluate on.")
        seen = {row.group for row in pack.rows} | {row.donor for row in pack.rows if row.donor}
        facts = {
            "Model": f"{name} ({sha256[:8]})",
            "Evaluated on": str(on) if on else "the frozen holdout",
            "People also seen in training": ", ".join(sorted(seen & set(info.trained_on))[:20]) or "none known",
            "Threshold": f"{info.threshold:.4f}",
            "Temperature": f"{info.temperature:.3f}",
        }
        report = build_report(
            videos,
            threshold=info.threshold,
            title=f"Evaluation of {name}",
            facts=facts,
            n_bootstrap=options["bootstrap"],
        )
        out = options["out"] or learning.root() / "evaluations" / f"{sha256[:8]}-{on.name if on else 'holdout'}"
        where = write_report(out, report, pack)
        self.stdout.write(report["headline"])
        for line in figures.lines(report["summary"]):
            self.stdout.write(line)
        self.stdout.write(f"Report: {where}")

    def _folder(self, on: Path, layout: str | None, sha256: str, workers: int) -> Pack:
        """Faces of a data set's videos, by the product's own extraction; nothing is kept but this pack."""
        found = scan(on, layout)
        self.stdout.write(f"{len(found.items)} videos in {on} ({found.format}).")
        for note in (*found.notes, *(f"missing: {name}" for name in found.missing[:10])):
            self.stdout.write(f"  {note}")
        writer = PackWriter()
        faceless: list[str] = []
        context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
            answers = pool.map(_people, [item.path for item in found.items])
            bar = tqdm(answers, total=len(found.items), unit="video", disable=not sys.stderr.isatty())
            for item, answer in zip(found.items, bar, strict=True):
                if isinstance(answer, str):
                    faceless.append(f"{item.relative}: {answer}")
                else:
                    _add(writer, item, *answer)
        for line in faceless[:10]:
            self.stdout.write(f"  left out, {line}")
        if len(faceless) > 10:
            self.stdout.write(f"  and {len(faceless) - 10} more")
        return Pack(writer.write(learning.root() / "evaluations" / f"{sha256[:8]}-{os.getpid()}.pack"))


def _find(reference: str) -> tuple[Path, str, str]:
    """(file, sha256, name) of a registered version, or of a file of weights."""
    path = Path(reference)
    if path.is_file():
        return path, file_sha256(path), path.stem
    if reference == "active":
        version = ModelVersion.objects.filter(active=True).first()
        if version is None:
            raise Refused("no_model", "No model is active. Register one (manage.py register_model --activate).")
    else:
        version = registry.find_model(reference=reference)
    return registry.local_weights(model=version), version.sha256, version.name


def _holdout(info: WeightsInfo) -> Pack:
    items = snapshots.read_snapshot(snapshot=learning.freeze(seed=0, seen=info.trained_on))
    held = [item for item in items if item.side == HOLDOUT and not {item.identity, item.donor} & set(info.trained_on)]
    if not held:
        raise PackError(
            "There is no held-out video of people this model was not trained on. Import a data set"
            " (manage.py import_dataset), or name a folder with --on."
        )
    return learning.pack_of(held)


def _start_worker() -> None:
    torch.set_num_threads(1)  # the processes share the cores, so their threads must not
    cv2.setNumThreads(1)


def _people(path: Path) -> tuple[list[list[Any]], list[list[float]], int] | str:
    """(RGB crops by person, box sizes, height of the frame), or why there are none."""
    global _detector
    _detector = _detector or FaceDetector(device="cpu")
    try:
        found = extract_faces(path, detector=_detector)
    except VideoError as error:
        return error.detail
    if not found.tracks:
        return "no face"
    sizes = [[max(f.box[2] - f.box[0], f.box[3] - f.box[1]) for f in track.faces] for track in found.tracks]
    return [[f.crop for f in track.faces] for track in found.tracks], sizes, found.info.height


def _add(writer: PackWriter, item: DatasetItem, people: Sequence[Any], sizes: Sequence[Any], height: int) -> None:
    for track, (crops, boxes) in enumerate(zip(people, sizes, strict=True)):
        for order, (crop, size) in enumerate(zip(crops, boxes, strict=True)):
            writer.add_crop(
                crop,
                CropRow(
                    label=item.label,
                    group=item.identity,
                    source=item.dataset,
                    donor=item.donor,
                    method=item.method if item.label == Label.FAKE else "",
                    split=HOLDOUT,
                    sequence=f"{item.relative}#{track}",
                    order=order,
                    origin=item.relative,
                    video=item.relative,
                    compression=item.compression,
                    height=height,
                    face_px=float(size),
                ),
            )
