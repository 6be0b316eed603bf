"""`benchmark --throughput` does the same videos both ways, and says how much of the bare pipeline's pace is left."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from tests import installation
from tests.ml.clips import short_clip
from tests.weights import save_tiny

pytest.importorskip("aiohttp", reason="the extra `load` is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(900)]


def test_every_video_comes_to_its_end_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from worker.bench import throughput
    from worker.bench.load import stack

    def prepared(env: dict[str, str], **_: object) -> list[str]:
        """The same by a copy; how it is made, the load test's own stack shows."""
        return [installation.copy(Path(env["DFD_VAR"]), model=True, static=True)]

    monkeypatch.setattr(stack, "prepare", prepared)
    monkeypatch.setattr(throughput, "WARM_UP", 1)  # the pace, which more of them would steady, is not looked at
    clip = short_clip(tmp_path / "short.mp4")
    save_tiny(tmp_path / "tiny.safetensors")
    out = StringIO()
    call_command(
        "benchmark", str(clip), "--throughput=4", f"--weights={tmp_path / 'tiny.safetensors'}", "--json",
        stdout=out, stderr=StringIO(),
    )  # fmt: skip
    report = json.loads(out.getvalue())
    assert report["system"]["states"] == {"succeeded": 4}
    assert report["share"] == pytest.approx(report["bare"]["seconds"] / report["system"]["seconds"], rel=0.01)
    assert report["bare"]["videos_per_s"] > 0
