"""What a video costs in the database does not depend on how many there are: as many queries, and an index for each."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.db import connection
from django.test.utils import CaptureQueriesContext

from detection.models import Analysis, FaceFrame, ModelVersion, Stage, State
from detection.services.jobs import analyses, sweeper
from detection.services.uploads import quotas, uploads
from tests.detection.conftest import MakeVideo, claimed, extraction, verdict

SMALL = {"detection_modelversion"}
"""Tables that do not grow with the videos."""


def whole_life(owner: User, model: ModelVersion, folder: Path, content: bytes) -> list[str]:
    """The queries of one video from its upload to its verdict, a sweep included."""
    with CaptureQueriesContext(connection) as caught:
        file = ContentFile(b"\0\0\0\x18ftypmp42" + content, name="clip.mp4")
        submission = uploads.submit_video(owner=owner, upload=file, idempotency_key=content.decode())
        analysis = Analysis.objects.get(video=submission.video)
        claim = claimed(analysis)
        analyses.heartbeat(claim=claim, progress=10)
        analyses.finish_extraction(claim=claim, result=extraction(folder))
        claim = claimed(analysis, Stage.CLASSIFY)
        list(FaceFrame.objects.filter(video_id=claim.video_id).order_by("track", "position"))
        analyses.finish_classification(claim=claim, result=verdict(model))
        sweeper.sweep()
    analysis.refresh_from_db()
    assert analysis.state == State.SUCCEEDED
    return [query["sql"] for query in caught.captured_queries]


@pytest.fixture(autouse=True)
def _the_queue_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted by the clock, not by the video, whose cost is what counts here."""
    monkeypatch.setattr(quotas, "QUEUE_LOOK_S", 3600.0)
    monkeypatch.setattr(quotas, "_looked", (time.monotonic(), settings.DFD_MAX_QUEUE, False))


def test_a_video_costs_as_many_queries_among_many_as_among_few(
    make_video: MakeVideo, model: ModelVersion, tmp_path: Path
) -> None:
    owner = make_video().owner
    assert isinstance(owner, User)
    whole_life(owner, model, tmp_path, b"the first of its day")
    few = whole_life(owner, model, tmp_path, b"among few")
    for _ in range(60):
        make_video()
    assert len(whole_life(owner, model, tmp_path, b"among many")) == len(few) <= 80


def test_no_query_of_a_video_reads_a_whole_table(make_video: MakeVideo, model: ModelVersion, tmp_path: Path) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("the query plan's wording is SQLite's")
    owner = make_video().owner
    assert isinstance(owner, User)
    read = []
    for sql in whole_life(owner, model, tmp_path, b"clip"):
        if re.match("SELECT|UPDATE|DELETE|INSERT", sql):
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN QUERY PLAN {sql}".replace("%", "%%"), [])
                plan = [row[-1] for row in cursor.fetchall()]
            tables = {table for step in plan for table in re.findall(r"SCAN ([a-z]\w+)", step)}
            read += [(tables - SMALL, sql)] if tables - SMALL else []
    assert not read
