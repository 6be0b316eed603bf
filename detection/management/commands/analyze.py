"""`manage.py analyze`: files in, verdicts out, without a server."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from detection.errors import Refused
from detection.models import ModelVersion
from detection.selectors.segments import coverage_of
from detection.services.learning import registry
from ml.analyze import Analysis, SegmentFrames, analyze
from ml.config import SegmentConfig, VideoConfig
from ml.faces.detector import FaceDetector
from ml.faces.extract import Extraction
from ml.model.decision import Decision, Look
from ml.model.inference import Classifier
from ml.model.weights import BASELINE, WeightsError, file_sha256
from ml.progress import ProgressBar
from ml.resource_limits import Limits, OverLimit, limited
from ml.video.decode import VideoError

ROW = "{state:<10} {verdict:<8} {score:>6} {faces:>6} {seconds:>8}  {path}"


class Command(BaseCommand):
    help = "Analyse video files here and now, with the active model or the one that comes with the program."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files, or folders to walk")
        parser.add_argument("--json", action="store_true", help="one JSON object a line instead of a table")
        parser.add_argument("--weights", type=Path, metavar="FILE", help="instead of the active model's")

    def handle(self, *args: Any, paths: list[Path], **options: Any) -> None:
        files = list(_walk(paths))
        analyzer = _Analyzer(*_load(options["weights"]))
        as_json = options["json"]
        if not as_json:
            about = ", experimental: people decide" if analyzer.model["experimental"] else ""
            self.stdout.write(f"model: {analyzer.model['name']} ({analyzer.model['sha256'][:8]}){about}")
            names = {name: name for name in ("state", "verdict", "score", "faces", "seconds", "path")}
            self.stdout.write(ROW.format(**names))
        broke = 0
        for number, path in enumerate(files, start=1):
            title = f"{number}/{len(files)} {path.name[:60]}"
            with ProgressBar.of_share(title) as bar:
                answer = analyzer.analyze(path, partial(bar.show, title))
            broke += bool(answer["error"] and answer["error"]["code"] == "internal_error")
            self.stdout.write(json.dumps(answer) if as_json else _row(answer))
            self.stdout.flush()
        if broke:
            raise CommandError(f"The program itself failed on {broke} of {len(files)} files; see above.")


class _Analyzer:
    """A detector and a classifier, loaded once for many files."""

    def __init__(self, classifier: Classifier, sha256: str) -> None:
        self.classifier = classifier
        self.detector = FaceDetector()
        self.limits = VideoConfig(
            max_duration_s=float(settings.DFD_MAX_DURATION_S), max_pixels=int(settings.DFD_MAX_FRAME_PIXELS)
        )
        self.segments = SegmentConfig(max_segments=int(settings.DFD_MAX_SEGMENTS))
        self.cost = Limits(memory_bytes=settings.DFD_TASK_MEMORY_BYTES, cpu_s=settings.DFD_TASK_CPU_S)
        info = classifier.info
        self.model: dict[str, Any] = {"name": info.name, "sha256": sha256, "experimental": info.experimental}

    def analyze(self, path: Path, progress: Callable[[float], None]) -> dict[str, Any]:
        """Return the JSON object of one file; a faulty file is an answer, not an error."""
        started = time.perf_counter()
        answer: dict[str, Any] = {
            "path": str(path),
            "state": "failed",
            "verdict": None,
            "error": None,
            "faces": [],
            "people_left_out": 0,
            "segments": [],
            "coverage": None,
            "frames_read": 0,
            "frames_claimed": None,
            "truncated": False,
            "timings": {},
        }
        try:
            found = analyze(
                path, self.classifier, detector=self.detector, video=self.limits, segments=self.segments,
                progress=progress, budget=partial(limited, self.cost), on_extraction=partial(_extracted, answer),
            )  # fmt: skip
            self._judged(found, answer)
        except (VideoError, OverLimit) as error:
            answer["error"] = {"code": error.code, "detail": error.detail}
        except Exception as error:
            traceback.print_exc()
            answer["error"] = {"code": "internal_error", "detail": f"{type(error).__name__}: {error}"}
        answer["timings"]["total"] = round(time.perf_counter() - started, 3)
        return answer

    def _judged(self, found: Analysis, answer: dict[str, Any]) -> None:
        if found.judgement is None:
            answer["state"] = "no_face"
            return
        answer["state"] = "succeeded"
        answer["timings"]["classify"] = round(found.classify_s, 3)
        looks, decision = found.judgement.looks, found.judgement.decision
        for segment in decision.segments:
            answer["segments"][segment.segment] |= {
                "fake_probability": segment.fake_probability,
                "people": [
                    {"track": look.track, "fake_probability": look.score.fake_probability}
                    for look in looks
                    if look.segment == segment.segment and not found.frames
                ],
            }
        verdict = answer["verdict"] = self._verdict(decision)
        if found.frames:
            verdict |= {"track": None, "people": [], "frames": _frames(found.frames, looks)}
            return
        answer["faces"] = _faces(found.extraction, looks)
        verdict |= {
            "track": decision.track,
            "people": [
                {"track": p.track, "fake_probability": p.fake_probability, "still_picture": p.still}
                for p in decision.people
            ],
        }

    def _verdict(self, decision: Decision) -> dict[str, Any]:
        return {
            "label": decision.label,
            "fake_probability": decision.fake_probability,
            "threshold": decision.threshold,
            "assessment": decision.assessment,
            "needs_review": decision.needs_review,
            "review_reasons": list(decision.review_reasons),
            "model_version": self.model,
        }


def _extracted(answer: dict[str, Any], extraction: Extraction) -> None:
    answer["timings"] |= extraction.timings
    answer["frames_read"] = extraction.frames_decoded
    answer["frames_claimed"] = extraction.frames_claimed
    answer["truncated"] = extraction.truncated
    answer["people_left_out"] = extraction.people_left_out
    answer["segments"] = [
        {"start_s": part.start_s, "end_s": part.end_s, "fake_probability": None, "people": []}
        for part in extraction.segments
    ]
    answer["coverage"] = coverage_of(
        spans=[(part.start_s, part.end_s) for part in extraction.segments],
        duration_s=extraction.info.duration_s,
    ).as_dict()


def _frames(shown: Sequence[SegmentFrames], looks: Sequence[Look]) -> list[dict[str, Any]]:
    """Return every scored frame, in the video's time."""
    return [
        {"segment": part.segment, "timestamp_s": round(part.start_s + frame.timestamp_s, 3), "fake_probability": p}
        for part, look in zip(shown, looks, strict=True)
        for frame, p in zip(part.frames, look.score.frame_probabilities, strict=True)
    ]


def _faces(extraction: Extraction, looks: Sequence[Look]) -> list[dict[str, Any]]:
    """Return every scored face, by person and time; boxes are pixels of the frame as shown."""
    return [
        {
            "track": track.index,
            "segment": track.segment,
            "frame_number": face.frame_number,
            "timestamp_s": round(face.timestamp_s, 3),
            "box": [round(side, 1) for side in face.box],
            "probability": round(face.probability, 4),
            "fake_probability": probability,
        }
        for track, look in zip(extraction.tracks, looks, strict=True)
        for face, probability in zip(track.faces, look.score.frame_probabilities, strict=True)
    ]


def _walk(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield files, and files below folders by name, without hidden ones."""
    for path in paths:
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts):
                    yield file
        elif path.is_file():
            yield path
        else:
            raise CommandError(f"There is no file {path}.")


def _load(weights: Path | None) -> tuple[Classifier, str]:
    """Return the classifier to use and the sha256 of its file."""
    try:
        path = weights or _active_weights() or BASELINE
        if not path.is_file():
            raise CommandError(f"There are no weights at {path}. Register some, or give a file with --weights.")
        sha256 = file_sha256(path)
        folder: Path = settings.VAR_DIR / "cache"
        return Classifier.load(path, sha256=sha256, device=settings.DFD_DEVICE, onnx_folder=folder), sha256
    except WeightsError as error:
        raise CommandError(str(error)) from error
    except Refused as error:
        raise CommandError(error.detail) from error


def _active_weights() -> Path | None:
    """Return the active model's file; None without one or without a database."""
    try:
        model = ModelVersion.objects.filter(active=True).first()
    except DatabaseError:
        return None
    return registry.local_weights(model=model) if model else None


def _row(answer: dict[str, Any]) -> str:
    verdict, error = answer["verdict"], answer["error"]
    row = ROW.format(
        state=answer["state"],
        verdict=verdict["label"] if verdict else "-",
        score=f"{verdict['fake_probability']:.2f}" if verdict else "-",
        faces=len(answer["faces"]),
        seconds=f"{answer['timings']['total']:.1f}",
        path=answer["path"].encode(errors="replace").decode(),
    )
    reasons = f" (review: {', '.join(verdict['review_reasons'])})" if verdict and verdict["needs_review"] else ""
    seen = f" ({answer['coverage']['text']})" if answer["coverage"] and len(answer["segments"]) > 1 else ""
    return row + seen + reasons + (f" ({error['code']}: {error['detail']})" if error else "")
