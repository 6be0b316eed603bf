"""`benchmark --throughput` does the same videos both ways, and says how much of the bare pipeline's pace is left."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

pytest.importorskip("aiohttp", reason="the extra `load` is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(900)]
CLIPS = Path(__file__).resolve().parents[2] / "demo" / "clips"


def test_every_video_comes_to_its_end_both_ways() -> None:
    out = StringIO()
    call_command(
        "benchmark", str(CLIPS / "one-person.mp4"), "--throughput", "4", "--json", stdout=out, stderr=StringIO()
    )
    report = json.loads(out.getvalue())
    assert report["system"]["states"] == {"succeeded": 4}
    assert report["share"] == pytest.approx(report["bare"]["seconds"] / report["system"]["seconds"], rel=0.01)
    assert report["bare"]["videos_per_s"] > 0
