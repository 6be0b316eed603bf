"""A worker that dies in a long video: its successor goes on at the next segment, and the answer is the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.storage import default_storage

from detection import dispatch
from detection.models import Analysis, FolderCheck, Stage, State, Video
from detection.services.jobs import analyses, attempt_files
from ml.faces import extract_video as extracting
from ml.faces.extract import Extraction, extract_faces
from ml.video.single_pictures import SegmentStart
from tests.worker.test_runtime import register, upload
from tests.worker.test_segments import long_video
from worker import tasks
from worker.process import runtime
from worker.stages import kept_segments

__all__ = ["long_video"]
pytestmark = pytest.mark.django_db


class Killed(BaseException):
    """As by SIGKILL: nothing is settled."""


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.VAR_DIR = tmp_path / "var"
    settings.MEDIA_ROOT = str(tmp_path / "media")
    settings.DFD_MAX_SEGMENTS = 4
    monkeypatch.setattr(dispatch, "_publish", lambda task, args: True)
    monkeypatch.setattr(runtime, "_loaded", None)


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Where each segment that is looked at begins."""
    starts: list[int | None] = []

    def noted(*args: Any, **options: Any) -> Extraction:
        starts.append(options["video"].start)
        return extract_faces(*args, **options)

    monkeypatch.setattr(extracting, "extract_faces", noted)
    return starts


def unfinished(video: Video) -> list[str]:
    try:
        return sorted(default_storage.listdir(f"{video.folder}/unfinished")[0])
    except FileNotFoundError:
        return []


def rows_of(video: Video) -> list[tuple[object, ...]]:
    return list(
        video.faces.order_by("track", "position").values_list(
            "track", "segment", "position", "frame_number", "timestamp_s", "x1", "y2", "probability", "still"
        )
    )


def die_in(name: str, monkeypatch: pytest.MonkeyPatch, analysis: Analysis) -> None:
    """Run an attempt that ends, as if killed, when that segment has been stored."""
    put = kept_segments.KeptSegments.put

    def put_and_die(self: kept_segments.KeptSegments, part: str, *args: Any) -> None:
        put(self, part, *args)
        if part == name:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(kept_segments.KeptSegments, "put", put_and_die)
        patched.setattr("worker.stages.attempt._settle_exception", lambda *args: None)
        patched.setattr("worker.process.lease_heartbeat.WRITE_EVERY_S", 0.0)
        with pytest.raises(Killed):
            tasks.extract_faces(str(analysis.pk))
    Analysis.objects.filter(pk=analysis.pk).update(lease_until="2020-01-01T00:00:00Z")
    assert analyses.give_back_expired()[State.QUEUED] == 1
    Analysis.objects.filter(pk=analysis.pk).update(not_before="2020-01-01T00:00:00Z")


def test_the_next_attempt_goes_on_at_the_next_segment(
    long_video: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    looked: list[int | None],
    django_capture_on_commit_callbacks: Callable[..., Any],
) -> None:
    register(tmp_path, "m", seed=1)
    video = upload(long_video)
    analysis = analyses.queue_analysis(video=video)
    with django_capture_on_commit_callbacks(execute=True):
        die_in("02", monkeypatch, analysis)
    assert len(looked) == 3, "the beginning and two later segments"
    analysis.refresh_from_db()
    assert analysis.progress > 0
    assert unfinished(video) == [analysis.pk.hex]
    assert FolderCheck.objects.filter(video_id=video.pk).exists(), "looked after, should nobody come"
    attempt_files.prune(video.pk)
    assert unfinished(video) == [analysis.pk.hex], "kept as long as it may be needed"

    with django_capture_on_commit_callbacks(execute=True):
        tasks.extract_faces(str(analysis.pk))
    assert len(looked) == 4, "only the last one is looked at once more"
    analysis.refresh_from_db()
    assert (analysis.stage, analysis.last_error) == (Stage.CLASSIFY, "")
    assert unfinished(video) == []
    video.refresh_from_db()
    spans = [(part["start_s"], part["end_s"]) for part in video.segments or ()]
    rows = rows_of(video)

    looked.clear()
    tasks.classify_video(str(analysis.pk))
    with django_capture_on_commit_callbacks(execute=True):
        tasks.extract_faces(str(analyses.queue_analysis(video=video, reuse_faces=False).pk))
    assert len(looked) == 4, "another analysis begins at the beginning"
    video.refresh_from_db()
    assert [(part["start_s"], part["end_s"]) for part in video.segments or ()] == spans
    assert rows_of(video) == rows, "as undisturbed"


def test_a_part_that_was_not_written_to_its_end_is_made_again(long_video: bytes, tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    path.write_bytes(long_video)
    found = extract_faces(path, detector=runtime.detector(), other_views=False)
    part = extracting.Part(found, (SegmentStart(5, 0.5, 2),), 0.25)
    data = kept_segments.bytes_of(part)
    again = kept_segments.part_of(data)
    assert again is not None
    assert (again.starts, again.choosing_s) == (part.starts, part.choosing_s)
    assert again.extraction is not None
    assert again.extraction.info == found.info
    assert again.extraction.segments == found.segments
    assert [frame.boxes for frame in again.extraction.sampled_frames] == [f.boxes for f in found.sampled_frames]
    for one, other in zip(again.extraction.sampled_frames, found.sampled_frames, strict=True):
        assert np.array_equal(one.image, other.image)
    assert kept_segments.part_of(kept_segments.bytes_of(extracting.Part(None))) == extracting.Part(None)
    assert kept_segments.part_of(data[:-100]) is None
    assert kept_segments.part_of(data[:50]) is None
    assert kept_segments.part_of(b"") is None
