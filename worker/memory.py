"""The process whose memory `worker.benchmark` measures: what a worker has imported, nothing of the benchmark's own."""

from __future__ import annotations

import json
import resource
import tempfile
from pathlib import Path

from ml.config import VideoConfig
from ml.faces import extract_faces
from ml.search import FaceDetector
from worker import app as celery  # noqa: F401 (a worker has it in memory, too)
from worker import runtime


def process(stages: str, weights: str, *paths: str) -> None:
    """Do the files one after another, by `extract` alone or by `both` stages; prints the peak as JSON."""
    runtime.share_cores(processes=1)
    runtime.prepare()
    detector = FaceDetector()
    classifier = None
    if stages == "both":
        from ml.pipeline import Classifier

        classifier = Classifier.load(Path(weights))
    with tempfile.TemporaryDirectory() as name:
        for path in map(Path, paths):
            extraction = extract_faces(path, detector=detector)
            clip = runtime.trimmed(path, Path(name), extraction, VideoConfig())
            result = runtime.extraction_result(extraction, clip, trim_s=0.0)
            if classifier is not None and result.faces:
                crops = [image for face in result.faces if (image := runtime.decoded_crop(face.png)) is not None]
                classifier.score([crops])
    print(json.dumps(_peak()))


def _peak() -> dict[str, float]:
    """Not by getrusage on Linux: there a process inherits the peak of the one that started it."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2, "libraries_mb": 0.0}
    kb = {
        name: int(value.split()[0])
        for name, value in (line.split(":", 1) for line in status.read_text().splitlines())
        if name in ("VmHWM", "RssFile")
    }
    return {"peak_mb": round(kb["VmHWM"] / 1024, 1), "libraries_mb": round(kb["RssFile"] / 1024, 1)}
