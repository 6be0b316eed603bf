"""Fuzzing: a short run over many kinds of file, and that it would tell if anything went wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import av
import pytest
from django.core.management import CommandError, call_command

from ml.bench.fuzz.mutate import Seed, mutant, read_seeds
from ml.bench.fuzz.seeds import write_seeds
from ml.config import VideoConfig
from ml.resource_limits import LEAST_BYTES, Limits
from tests.worker import misbehaving
from worker.bench.fuzz import run as fuzzing
from worker.bench.fuzz.canary import Canary
from worker.bench.fuzz.child import judge
from worker.bench.fuzz.run import Run, fuzz

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = Path(os.environ.get("DFD_SHARED_DATA", ROOT.parent / "shared" / "data")) / "hostile"
CODES = {
    "ok", "ok_without_clip", "corrupt_video", "not_a_video", "no_video_stream", "empty_file", "resolution_too_large",
    "video_too_long",
}  # fmt: skip
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="who opens a file is seen on Linux only")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_seeds(tmp_path_factory.mktemp("seeds"))


@pytest.fixture(scope="module")
def seeds(clips: list[Path]) -> list[Seed]:
    return read_seeds(clips)


def run(seeds: list[Seed], folder: Path, **changes: Any) -> Run:
    (folder / "work").mkdir()
    settings: dict[str, Any] = {
        "key": 1, "files": 0, "seconds": None, "processes": 1, "folder": folder / "work", "keep": folder / "kept",
        "limits": Limits(), "wall_s": 120.0, "config": VideoConfig(),
    }  # fmt: skip
    return Run(seeds=seeds, **{**settings, **changes})


def test_two_hundred_mutants_end_with_a_clear_answer_and_reach_nothing(
    seeds: list[Seed], clips: list[Path], tmp_path: Path
) -> None:
    what = run(seeds, tmp_path, files=200)
    with Canary(what.folder, clips[0]) as canary:
        report = fuzz(what, canary, progress=lambda done, total: None)
    assert report.problems == []
    assert report.files == sum(report.outcomes.values()) == len(seeds) + 200
    assert set(report.outcomes) <= CODES, report.findings
    assert report.outcomes["ok"] > 30
    assert report.outcomes["corrupt_video"] > 20
    assert sorted(path.name for path in what.folder.iterdir()) == ["canary.mp4", "canary.txt"]


@needs_linux
def test_what_misbehaves_is_contained_kept_and_told(
    seeds: list[Seed], clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzzing, "serve", misbehaving.serve)
    monkeypatch.setattr(fuzzing, "GRACE_S", 1.0)
    what = run(seeds, tmp_path, wall_s=5.0, limits=Limits(memory_bytes=LEAST_BYTES))
    with Canary(what.folder, clips[0]) as canary:
        report = fuzz(what, canary, progress=lambda done, total: None)
    assert report.files == len(seeds)
    odd = {finding.number: finding.code for finding in report.findings if finding.number != misbehaving.READS}
    assert odd == {
        misbehaving.CRASHES: "crashed",
        misbehaving.HANGS: "killed",
        misbehaving.SPINS: "too_long",
        misbehaving.EATS: "out_of_memory",
        misbehaving.BREAKS: "broke",
    }
    assert "exit code -11" in report.findings[0].detail
    for finding in report.findings:
        assert Path(finding.file).read_bytes() == seeds[finding.number].data
    problems = sorted(report.problems)
    assert problems[0] == f"File {misbehaving.BREAKS} broke the program: KeyError: 'nobody expects this'"
    assert problems[1:] != []
    assert all(problem.startswith("The canary was touched (file) while [") for problem in problems[1:])


@needs_linux
def test_the_bait_is_good_enough_for_a_decoder_that_obeys(
    seeds: list[Seed], clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = av.open

    def obey(file: str, **options: Any) -> Any:
        obedient = {"protocol_whitelist": "file,http,tcp,udp,rtp", "enable_drefs": "1", "safe": "0"}
        return real(file, **{**options, "options": obedient, "timeout": (2, 2)})

    with Canary(tmp_path, clips[0]) as canary:
        for obeys in (False, True):
            if obeys:
                monkeypatch.setattr("ml.video.probe.av.open", lambda file, mode="r", **o: obey(file, mode=mode, **o))
            touched: set[str] = set()
            for number in range(len(seeds), 700):
                made = mutant(seeds, key=1, number=number, bait=canary.bait)
                if not made.how.startswith(("script ffconcat", "script hls", "script sdp", "elsewhere")):
                    continue
                path = tmp_path / f"mutant{made.suffix}"
                path.write_bytes(made.data)
                judge(path, VideoConfig(), Limits(), 120)
                touched |= set(canary.touched())
            assert ("file" in touched) is obeys
            assert bool(touched) is obeys


STRACED = """
import os, sys
from pathlib import Path
from ml.config import VideoConfig
from ml.resource_limits import Limits
from worker.bench.fuzz.child import judge

first, *files = map(Path, sys.argv[1:])
judge(first, VideoConfig(), Limits(), 60)  # whatever is imported late
os.path.exists("/files-begin")
for file in files:
    code, error = judge(file, VideoConfig(), Limits(), 60)
    assert code != "broke", error
os.path.exists("/files-end")
"""
HARMLESS = {"/proc/self/statm", "/sys/devices/system/cpu/online", "/dev/urandom", "/proc/cpuinfo"}


needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
# What the C library reads for its own ends: memory settings, and its tables for the names in transport streams.
C_LIBRARY = re.compile(r"/proc/sys/vm/overcommit_memory|/(usr/)?lib\S*/gconv/[\w.-]+")


def assert_nothing_else_is_touched(clip: Path, files: list[Path], log: Path) -> None:
    """Look at the files under strace; between the first and the last nothing but them and their clips may be opened."""
    traced = subprocess.run(
        ["strace", "-f", "-qq", "-e", "trace=%file,%network", "-o", str(log),
         sys.executable, "-c", STRACED, str(clip), *map(str, files)],
        cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    if "ptrace" in traced.stderr.lower() and "not permitted" in traced.stderr.lower():
        pytest.skip("strace may not trace here")
    assert traced.returncode == 0, traced.stderr
    lines = log.read_text(errors="replace").splitlines()
    began = next(n for n, line in enumerate(lines) if '"/files-begin"' in line)
    ended = next(n for n, line in enumerate(lines) if '"/files-end"' in line)
    calls = [line.split(None, 1)[1] for line in lines[began + 1 : ended]]
    assert [call for call in calls if re.match(r"(socket|connect|bind|send|recv|accept|listen)", call)] == []
    opened = {path for call in calls if call.startswith(("open", "creat")) for path in re.findall(r'"([^"]*)"', call)}
    own = {str(path) for path in files}
    assert len(opened & own) > 0.9 * len(own), "the log must show what was looked at"
    clips = re.compile(rf"{re.escape(str(files[0].parent))}/clip-[\w-]+\.(mp4|mkv|webm)")
    assert {
        path for path in opened - own - HARMLESS if not clips.fullmatch(path) and not C_LIBRARY.match(path)
    } == set()


@pytest.mark.slow
@needs_strace
def test_strace_sees_no_other_file_opened_and_no_socket(seeds: list[Seed], clips: list[Path], tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    files = []
    with Canary(work, clips[0]) as canary:
        for number in range(1200):
            made = mutant(seeds, key=5, number=number, bait=canary.bait)
            if number < 250 or made.how.startswith(("script", "elsewhere", "address")):
                files.append(work / f"mutant-{number}{made.suffix}")
                files[-1].write_bytes(made.data)
        assert len(files) > 400
        assert_nothing_else_is_touched(clips[0], files, tmp_path / "strace.log")
        assert canary.touched() == []


@pytest.mark.slow
@pytest.mark.shared_data
@needs_strace
@pytest.mark.skipif(not HOSTILE.is_dir(), reason="the research data is not here; point DFD_SHARED_DATA at it")
def test_strace_sees_the_hostile_files_touch_nothing_either(clips: list[Path], tmp_path: Path) -> None:
    files = []
    for number, path in enumerate(sorted(path for path in HOSTILE.iterdir() if path.stat().st_size)):
        files.append(tmp_path / f"hostile-{number}{path.suffix}")
        shutil.copyfile(path, files[-1])
    assert_nothing_else_is_touched(clips[0], files, tmp_path / "strace.log")


def test_the_command_says_what_it_found_and_ends_with_1_if_something_was_not_contained(
    clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = StringIO()
    options: dict[str, Any] = {"files": 20, "processes": 1, "keep": tmp_path / "kept", "stdout": out}
    call_command("fuzz", str(clips[0]), json=True, **options)
    found = json.loads(out.getvalue())
    assert (found["files"], found["problems"]) == (21, [])
    assert sum(found["outcomes"].values()) == 21

    real = fuzzing.fuzz

    def touched(*args: Any, **kwargs: Any) -> Any:
        report = real(*args, **kwargs)
        report.problems.append("The canary was touched (tcp).")
        return report

    monkeypatch.setattr(fuzzing, "fuzz", touched)
    with pytest.raises(CommandError, match=r"Not contained:\nThe canary was touched"):
        call_command("fuzz", str(clips[0]), **options)
    assert "21 files in" in out.getvalue()


@pytest.mark.parametrize("arguments", [["/nowhere/at/all"], ["--files", "-1"], ["--processes", "0"]])
def test_the_command_refuses_what_makes_no_sense(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("fuzz", *arguments)
