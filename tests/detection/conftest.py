"""Videos as an upload would have left them, and what a worker would have found in them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from detection import dispatch
from detection.models import Analysis, ModelVersion, Stage, Video
from detection.services.jobs import analyses
from detection.services.jobs.analyses import AnalysisClaim
from detection.services.jobs.results import ClassificationResult, ExtractionResult, FaceCrop, KeptFrame, VideoFacts

MakeVideo = Callable[[], Video]


class Doorbell:
    """Stands for the broker: remembers what was published, or refuses."""

    def __init__(self) -> None:
        self.rung: list[tuple[str, list[str]]] = []
        self.down = False

    def publish(self, task: str, args: list[str]) -> bool:
        if self.down:
            return False
        self.rung.append((task, args))
        return True


@pytest.fixture(autouse=True)
def doorbell(monkeypatch: pytest.MonkeyPatch) -> Doorbell:
    bell = Doorbell()
    monkeypatch.setattr(dispatch, "_publish", bell.publish)
    monkeypatch.setattr(dispatch, "backlog", lambda *, stage: 0)
    return bell


@pytest.fixture(autouse=True)
def _own_media(tmp_path: Path, settings: Any) -> None:
    settings.MEDIA_ROOT = str(tmp_path / "media")


@pytest.fixture
def make_video(db: None) -> MakeVideo:
    owner = User.objects.create_user("owner")
    numbers = itertools.count()

    def make() -> Video:
        content = f"video {next(numbers)}".encode()
        video = Video(
            owner=owner,
            original_name="clip.mp4",
            sha256=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
        )
        video.file.name = default_storage.save(f"{video.folder}/original.mp4", ContentFile(content))
        video.save()
        return video

    return make


@pytest.fixture
def video(make_video: MakeVideo) -> Video:
    return make_video()


@pytest.fixture
def model(db: None) -> ModelVersion:
    return ModelVersion.objects.create(
        name="m", sha256="a" * 64, file="models/m.safetensors", threshold=0.5, active=True
    )


def claimed(analysis: Analysis, stage: str = Stage.EXTRACT) -> AnalysisClaim:
    claim = analyses.claim(analysis_id=analysis.id, stage=stage, worker="host:1")
    assert claim is not None
    return claim


def extraction(tmp_path: Path, *, tracks: int = 1, faces: int = 3, colour: bytes = b"png") -> ExtractionResult:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"clip")
    facts = VideoFacts(
        container="mp4", codec="h264", width=64, height=48, rotation=0, fps=30.0, duration_s=1.0, frames_decoded=30,
        frames_claimed=150, truncated=True,
    )  # fmt: skip
    found = tuple(
        FaceCrop(t, i, i * 3, i / 10, (1.0, 2.0, 30.0, 40.0), 0.99, colour) for t in range(tracks) for i in range(faces)
    )
    box = {"x1": 0.0, "y1": 0.0, "x2": 9.0, "y2": 9.0, "probability": 0.5, "reason": "low_probability"}
    frames = () if found else (KeptFrame(0, 0.0, (box,), b"jpeg"), KeptFrame(9, 0.3, (), b"jpeg"))
    timings = {"extract": 1.0}
    return ExtractionResult(facts, clip, b"thumbnail", tracks, found, frames, timings, people_left_out=3)


def verdict(model: ModelVersion, probability: float = 0.9) -> ClassificationResult:
    return ClassificationResult(
        model_version_id=model.id,
        label="fake" if probability >= 0.5 else "real",
        fake_probability=probability,
        threshold=0.5,
        track=0,
        people=[{"track": 0, "fake_probability": probability, "frames": []}],
        needs_review=True,
        review_reasons=("near_threshold",),
        timings={"classify": 0.5},
    )


def stored_files(video: Video) -> set[str]:
    """Every file of the video in storage, relative to its folder."""
    root = Path(default_storage.path(video.folder))
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
