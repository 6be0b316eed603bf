"""What a model is worth, on the frozen holdout or on any folder of videos."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from detection.errors import Refused
from detection.management.storage import storage_answers
from detection.models import ModelVersion
from detection.services.learning import registry, snapshots
from ml.config import FrameView, Label
from ml.data.catalog.scan import DatasetError, DatasetItem, scan
from ml.data.crop_pack import CropRow, Pack, PackError, PackWriter
from ml.data.extract_sequences import FoundPeople, extract_all
from ml.data.splits import HOLDOUT
from ml.evaluation.report import build_report
from ml.model.network import FaceSequenceClassifier
from ml.model.weights import WeightsError, WeightsInfo, file_sha256, load_weights
from ml.model.whole_frames import whole_frames
from ml.resource_limits import OverLimit, limited
from ml.training.feature_cache import FeatureCache
from ml.training.fit import FitOptions, scored_split
from ml.video.errors import VideoError
from worker.stages.shown import video_limits
from worker.stages.watchdog import file_limits
from worker.training import console, judging, snapshot_pack
from worker.training.reports import write_report


class Command(BaseCommand):
    help = "Evaluate MODEL (a registered version, or a file of weights): figures with intervals, and a report."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("model", metavar="MODEL", help="`active`, id, name, start of the sha256, or a file")
        parser.add_argument("--on", type=Path, metavar="PATH", help="a data set's folder; else the frozen holdout")
        layouts = ("celeb-df", "ffpp", "dfdc", "folder", "csv")
        parser.add_argument("--format", choices=layouts, help="of --on; else guessed")
        parser.add_argument("--out", type=Path, help="folder for report.html and report.json")
        parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that look for faces")
        parser.add_argument("--bootstrap", type=int, default=1000, help="draws behind the intervals")

    @storage_answers()
    def handle(self, *args: Any, model: str, on: Path | None, **options: Any) -> None:
        try:
            path, sha256, name = _find(model)
            network, info = load_weights(path, sha256=sha256)
            faceless: set[str] = set()
            if on is None:
                pack, faceless = _holdout(network, info)
            else:
                pack = self._folder(on, options["format"], sha256, max(1, options["workers"]), network.frame_view)
        except (DatasetError, WeightsError, PackError, ValueError, OSError) as error:
            raise CommandError(str(error)) from error
        except Refused as error:
            raise CommandError(error.detail) from error
        out = options["out"] or snapshot_pack.root() / "evaluations" / f"{sha256[:8]}-{on.name if on else 'holdout'}"
        try:
            self._evaluate(network, info, pack, faceless, name, sha256, on, out, options["bootstrap"])
        except OSError as error:
            raise CommandError(f"The report cannot be written to {out}: {error.strerror or error}.") from error
        finally:
            if on is not None:  # its faces are kept no longer, however this ended
                pack.path.unlink(missing_ok=True)

    def _evaluate(
        self,
        network: FaceSequenceClassifier,
        info: WeightsInfo,
        pack: Pack,
        faceless: set[str],
        name: str,
        sha256: str,
        on: Path | None,
        out: Path,
        bootstrap: int,
    ) -> None:
        """Score the pack's held-out videos, write the report into `out`, and say what is in it.  Raises OSError."""
        features = FeatureCache(snapshot_pack.feature_folder(), network)
        choice, temperature, shift = FitOptions(), info.temperature, info.shift
        videos = scored_split(network, pack, HOLDOUT, features, choice, temperature=temperature, shift=shift)
        if not videos:
            raise CommandError("There is no labelled video to evaluate on that the model can judge.")
        seen = {row.group for row in pack.rows} | {row.donor for row in pack.rows if row.donor}
        facts = {
            "Model": f"{name} ({sha256[:8]})",
            "Evaluated on": str(on) if on else "the frozen holdout",
            "People also seen in training": ", ".join(sorted(seen & set(info.trained_on))[:20]) or "none known",
            "Threshold": f"{info.threshold:.4f}",
            "Temperature": f"{info.temperature:.3f}",
        }
        if apart := [video for video in videos if video.key in faceless]:
            facts["Among them, without a face"] = str(judging.counted(apart, threshold=info.threshold))
        report = build_report(
            videos,
            threshold=info.threshold,
            title=f"Evaluation of {name}",
            facts=facts,
            n_bootstrap=bootstrap,
        )
        # Whole frames of videos would outlive their files there.
        where = write_report(out, report, None if network.frame_view else pack)
        self.stdout.write(report["headline"])
        if apart:
            self.stdout.write(f"Among them {len(apart)} without a face: {facts['Among them, without a face']}.")
        for line in console.lines(report["summary"]):
            self.stdout.write(line)
        self.stdout.write(f"Report: {where}")

    def _folder(self, on: Path, layout: str | None, sha256: str, workers: int, view: FrameView | None) -> Pack:
        """Faces of a data set's videos, by the product's own extraction, or frames; only this pack is kept."""
        found = scan(on, layout)
        self.stdout.write(f"{len(found.items)} videos in {on} ({found.format}).")
        for note in (*found.notes, *(f"missing: {name}" for name in found.missing[:10])):
            self.stdout.write(f"  {note}")
        writer = PackWriter()
        faceless: list[str] = []
        paths = [item.path for item in found.items]
        answers = (_frames(path, view) for path in paths) if view else extract_all(paths, workers=workers)
        bar = tqdm(answers, total=len(found.items), unit="video", disable=not sys.stderr.isatty())
        for item, answer in zip(found.items, bar, strict=True):
            if isinstance(answer, str):
                faceless.append(f"{item.relative}: {answer}")
            else:
                _add(writer, item, answer)
        for line in faceless[:10]:
            self.stdout.write(f"  left out, {line}")
        if len(faceless) > 10:
            self.stdout.write(f"  and {len(faceless) - 10} more")
        return Pack(writer.write(snapshot_pack.root() / "evaluations" / f"{sha256[:8]}-{os.getpid()}.pack"))


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


def _frames(path: Path, view: FrameView) -> FoundPeople | str:
    """Frames of a video's first segment in the place of a person's faces, or why there are none."""
    try:
        with limited(file_limits()):
            shown = whole_frames(path, view, video_limits())
    except (VideoError, OverLimit) as error:
        return error.detail
    return FoundPeople(
        [[frame.picture for frame in shown]], [[frame.number for frame in shown]], [[0.0] * len(shown)], 0
    )


def _holdout(network: FaceSequenceClassifier, info: WeightsInfo) -> tuple[Pack, set[str]]:
    """Return the held-out videos that the network can judge, and the ids of those without a face."""
    items = snapshots.read_snapshot(snapshot=snapshot_pack.freeze(seed=0, seen=info.trained_on))
    held = [item for item in items if item.split == HOLDOUT and not {item.identity, item.donor} & set(info.trained_on)]
    held = snapshot_pack.judged_by(network, held)
    if not held:
        raise PackError(
            "There is no held-out video of people this model was not trained on. Import a data set"
            " (manage.py import_dataset), or name a folder with --on."
        )
    return snapshot_pack.shown_to(network, held), {item.video for item in held if not item.tracks}


def _add(writer: PackWriter, item: DatasetItem, found: FoundPeople) -> None:
    for track, (crops, sizes) in enumerate(zip(found.crops, found.face_px, strict=True)):
        for order, (crop, size) in enumerate(zip(crops, sizes, strict=True)):
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
                    height=found.height,
                    face_px=size,
                ),
            )
