"""The benchmark measures what it says, as the agreed JSON, and tells what has become slower."""

from __future__ import annotations

import copy
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.ml.clips import DEMO, short_clip
from tests.weights import save_tiny
from worker.bench import pipeline, pipeline_report


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return short_clip(tmp_path_factory.mktemp("bench") / "short.mp4")


@pytest.fixture(scope="module")
def report(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out, weights = StringIO(), tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_tiny(weights)
    call_command(
        "benchmark", str(clip.parent), "--repeat=1", "--naive-repeat=1", f"--weights={weights}", "--json", stdout=out
    )
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


@pytest.mark.slow
def test_the_report_has_the_agreed_form_and_its_figures_fit_together(report: dict[str, Any]) -> None:
    for kind in ("naive", "product", "floor"):
        assert set(report[kind]) == {"median", "min", "max"}
        assert 0 < report[kind]["min"] <= report[kind]["median"] <= report[kind]["max"]
        stages = sum(stage["median"] for stage in report["stages"][kind].values())
        assert stages <= report[kind]["max"] * 1.05
    assert set(report["stages"]["floor"]) == {"decode", "detect", "classify"}
    assert {"extract", "trim", "encode", "classify"} <= set(report["stages"]["product"])
    assert report["peak_memory_mb"] > 100
    assert report["machine"]["cores"] >= 1
    (one,) = report["clips"]
    assert (one["name"], one["facts"]) == ("short.mp4", "640x360 h264, 14 frames")
    ratio = report["product"]["median"] / report["floor"]["median"]
    assert report["ratios"]["product_to_floor"] == pytest.approx(ratio, abs=0.01)
    table = pipeline_report.table(report)
    assert "short.mp4" in table
    assert f"{report['machine']['cores']} cores" in table


@pytest.mark.slow
def test_the_quick_ways_lose_nobody_on_the_projects_own_clip(clip: Path) -> None:
    out = StringIO()
    call_command("benchmark", str(clip), "--accuracy", "--stride=1", "--json", stdout=out)
    found = json.loads(out.getvalue())
    assert (found["videos"], found["lost"], found["found_besides"]) == (1, [], [])
    assert found["median_iou"] >= 0.9
    assert found["worst_score_difference"] <= 0.01
    assert "Lost: nobody." in pipeline_report.accuracy(found)


def test_a_ratio_that_got_worse_is_told_and_one_that_did_not_is_not() -> None:
    entry = {"name": "a.mp4", "facts": "x", "ratios": {"naive_to_product": 50.0, "product_to_floor": 1.2}}
    before = {"clips": [entry, {**entry, "name": "gone.mp4"}]}
    now = copy.deepcopy(before)
    assert pipeline_report.slower(before, now) == []
    now["clips"][0]["ratios"] = {"naive_to_product": 49.0, "product_to_floor": 1.5}
    assert pipeline_report.slower(before, now) == ["a.mp4: 1.50 times the floor, before 1.20."]
    now["clips"][0]["ratios"] = {"naive_to_product": 40.0, "product_to_floor": None}
    assert pipeline_report.slower(before, now) == ["a.mp4: 40.00 times faster than naive, before 50.00."]
    assert pipeline_report.slower({"clips": []}, now) == []


def test_what_cannot_be_measured_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no file or folder"):
        call_command("benchmark", str(tmp_path / "none.mp4"))
    with pytest.raises(CommandError, match="no video in"):
        call_command("benchmark", str(tmp_path))
    with pytest.raises(CommandError, match="nothing to score"):
        call_command("benchmark", str(DEMO / "no-face.mp4"), "--scoring")
    broken = tmp_path / "broken.mp4"
    broken.write_text("not a video")
    with pytest.raises(CommandError, match=r"broken\.mp4 cannot be measured"):
        call_command("benchmark", str(broken), "--repeat=1", "--naive-repeat=0")
    with pytest.raises(CommandError, match="no earlier"):
        call_command("benchmark", str(broken), "--compare", str(broken))


@pytest.mark.slow
def test_the_networks_own_pace_is_measured_in_both_types(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pipeline.TOGETHER == (1, 4, 16, 64)
    monkeypatch.setattr(pipeline, "TOGETHER", (1, 3))  # 64 take half a minute here, and show no more
    out = StringIO()
    call_command("benchmark", str(clip), "--scoring", "--repeat=1", "--json", stdout=out)
    found = json.loads(out.getvalue())
    assert list(found["videos_per_s"]) == ["1", "3"]
    assert all(rate > 0 for rates in found["videos_per_s"].values() for rate in rates.values())
    assert found["worst_score_difference"] <= 0.01
    assert "together" in pipeline_report.scoring(found)
