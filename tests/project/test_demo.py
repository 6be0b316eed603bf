"""`make demo`: its words, and the whole thing as a person at a terminal sees it."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from demo.run import CLIPS, DemoError, free_port, videos_to_analyse
from demo.screen import Progress, table
from tests import installation, stack

ROOT = Path(__file__).resolve().parents[2]


def task(**changes: Any) -> dict[str, Any]:
    return {
        "state": "running", "stage": "extract", "progress": 40, "verdict": None, "error": None,
        "started_at": None, "finished_at": None, **changes,
    }  # fmt: skip


def test_without_videos_the_demo_clips_are_taken() -> None:
    assert videos_to_analyse(" ") == CLIPS
    assert all(clip.is_file() for clip in CLIPS)


def test_names_with_spaces_may_be_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("my clip.mp4", "b.mov"):
        Path(name).touch()
    assert videos_to_analyse("'my clip.mp4' b.mov") == [Path("my clip.mp4"), Path("b.mov")]
    assert videos_to_analyse("my clip.mp4") == [Path("my clip.mp4")]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match=r"Not a file: .*gone\.mp4"):
        videos_to_analyse(str(tmp_path / "gone.mp4"))


def test_a_busy_port_is_replaced_by_a_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = taken.getsockname()[1]
        assert free_port(busy) != busy
    assert free_port(busy) == busy


def test_elsewhere_than_on_a_terminal_a_line_is_printed_only_when_a_task_moves_on() -> None:
    out = io.StringIO()
    progress = Progress(out)
    for percent in (10, 20, 30):
        progress.show([("a.mp4", task(progress=percent))])
    progress.show([("a.mp4", task(stage="classify", progress=80))])
    assert [line.split()[-1] for line in out.getvalue().splitlines()] == ["extract", "classify"]


def test_the_table_tells_verdicts_refusals_and_what_a_person_has_to_do() -> None:
    verdict = {
        "label": "fake", "fake_probability": 0.914, "track": 1, "needs_review": True,
        "review_reasons": ["experimental_model"], "faces": [{"frames": [1] * 10}, {"frames": [1] * 9}],
    }  # fmt: skip
    text = table(
        [
            ("a.mp4", task(state="succeeded", verdict=verdict, started_at="2026-01-01T00:00:00Z",
                           finished_at="2026-01-01T00:00:02.5Z")),
            ("b.mp4", task(state="no_face")),
            ("c.mp4", task(state="failed", error={"code": "corrupt_video", "detail": "No frame can be decoded."})),
        ]
    )  # fmt: skip
    a, b, c = text.splitlines()[2:5]
    assert re.split(r"\s{2,}", a)[:6] == ["a.mp4", "succeeded", "fake", "0.91", "10 + 9", "2.5"]
    assert "track 1" in a
    assert "needs review: experimental_model" in a
    assert "needs review" in b
    assert "corrupt_video: No frame can be decoded." in c
    assert "experimental" in text.splitlines()[-2] + text.splitlines()[-1]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of an installation as `make setup` leaves it; nothing of it runs on after the tests."""
    var = tmp_path_factory.mktemp("demo") / "var"
    installation.copy(var, model=True, static=True)
    environment = installation.environment(var) | {"DEMO_EXIT": "", "VIDEOS": ""}
    yield environment
    for process in processes_of(environment):
        process.kill()


def processes_of(environment: dict[str, str]) -> list[psutil.Process]:
    """Every process that works on this installation, by its environment or its command line."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [process.environ().get("DFD_VAR", ""), *process.cmdline()]
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if process.pid != os.getpid() and any(word.startswith(environment["DFD_VAR"]) for word in words):
            found.append(process)
    return found


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_serves_until_ctrl_c_and_then_every_process_is_gone(prepared: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with out.open("wb") as file:
        demo = subprocess.Popen(
            [sys.executable, "-m", "demo.run"],
            cwd=ROOT, env={**prepared, "DFD_PORT": str(stack.free_port())}, stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + 360
    while "Serving until Ctrl-C" not in out.read_text():
        assert demo.poll() is None, out.read_text()
        assert time.monotonic() < deadline, out.read_text()
        time.sleep(0.3)
    text = out.read_text()
    rows = {line.split()[0]: re.split(r"\s{2,}", line) for line in text.splitlines() if re.match(r"\S+\.mp4  ", line)}
    assert {name: row[1] for name, row in rows.items()} == {
        "one-person.mp4": "succeeded",
        "two-people.mp4": "succeeded",
        "no-face.mp4": "no_face",
        "blended-fake.mp4": "succeeded",
    }
    assert rows["one-person.mp4"][4] == "10"
    assert rows["two-people.mp4"][4] == "10 + 10"
    address = re.search(r"http://127\.0\.0\.1:\d+/admin/", text)
    assert address
    with urllib.request.urlopen(address[0], timeout=300) as page:
        assert page.status == 200
    assert len(processes_of(prepared)) >= 5  # the demo, up, broker, worker, beat, web

    os.killpg(demo.pid, signal.SIGINT)  # as a terminal does
    assert demo.wait(timeout=300) == 0
    assert "Everything has ended." in out.read_text()
    assert processes_of(prepared) == []


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_takes_ones_own_files_and_can_end_after_the_table(prepared: dict[str, str], tmp_path: Path) -> None:
    shutil.copy(CLIPS[0], tmp_path / "my own clip.mp4")
    (tmp_path / "notes.mp4").write_text("These are no pictures.")
    wanted = f"'{tmp_path / 'my own clip.mp4'}' {tmp_path / 'notes.mp4'}"
    demo = subprocess.run(
        [sys.executable, "-m", "demo.run"],
        cwd=ROOT, env={**prepared, "VIDEOS": wanted, "DEMO_EXIT": "1", "DFD_PORT": str(stack.free_port())},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert re.search(r"^my own clip\.mp4 +succeeded +(real|fake) +0\.\d\d +10 ", demo.stdout, re.MULTILINE)
    assert re.search(r"^notes\.mp4 +refused .*not_a_video", demo.stdout, re.MULTILINE)
    assert processes_of(prepared) == []
