"""A video in a bucket is judged without all of it being fetched."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from detection import dispatch
from detection.models import State, Verdict, Video
from dfdsite import s3
from ml.video import ranged_file
from tests.ml.clips import faces_of, write_clip
from tests.worker.test_runtime import analyse, register, upload
from worker.process import runtime

pytestmark = pytest.mark.django_db


@pytest.fixture
def got(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """Name, first and last byte + 1 of what is fetched from S3; a whole object begins at 0."""
    from botocore.client import BaseClient

    fetched: list[tuple[str, int, int]] = []
    call = BaseClient._make_api_call

    def counted(self: Any, operation: str, options: dict[str, Any]) -> Any:
        answer = call(self, operation, options)
        if operation == "GetObject":
            first = int(options.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
            fetched.append((options["Key"], first, first + answer["ContentLength"]))
        return answer

    monkeypatch.setattr(BaseClient, "_make_api_call", counted)
    return fetched


def test_only_what_is_looked_at_is_fetched_and_nothing_twice(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch, got: list[tuple[str, int, int]]
) -> None:
    moto = pytest.importorskip("moto")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    frames = [np.asarray(cv2.resize(frame, (320, 180)), np.uint8) for frame in faces_of("one-person.mp4")]
    last = len(frames) - 1
    clip = write_clip(
        tmp_path / "long.mp4",
        frames=1000,
        picture=lambda number: frames[last - abs(last - number % (2 * last))],
        options={"preset": "ultrafast", "g": "100", "crf": "12"},
    )
    monkeypatch.setattr(ranged_file, "BLOCK_BYTES", 16 * 1024)
    monkeypatch.setattr(dispatch, "_publish", lambda task, args: True)
    monkeypatch.setattr(runtime, "_loaded", None)
    settings.VAR_DIR = tmp_path / "var"
    settings.DFD_MAX_SEGMENTS = 2
    with moto.mock_aws():
        import boto3

        boto3.resource("s3").create_bucket(Bucket="videos")
        settings.STORAGES = settings.STORAGES | {"default": s3.storage(bucket="videos")}
        register(tmp_path, "m", seed=1)
        video = upload(clip.read_bytes())
        name = str(video.file.name)
        assert [part for part in got if part[0] == name] == [], "hashed as it came, not fetched again"
        analysis = analyse(video)
        assert analysis.state == State.SUCCEEDED, analysis.last_error
        assert len(Video.objects.get().segments or ()) == 2
        assert Verdict.objects.count() == 1

    parts = sorted((first, end) for key, first, end in got if key == name)
    assert parts
    assert all(a[1] <= b[0] for a, b in pairwise(parts)), "no byte twice"
    read = sum(end - first for first, end in parts)
    assert read < 0.6 * clip.stat().st_size, f"{read} of {clip.stat().st_size}"
    assert list((tmp_path / "var" / "work").iterdir()) == []
