"""`manage.py import_dataset` on folders of clips, as a person would use it, and as a crash would leave it."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from detection import dispatch
from detection.models import Analysis, DatasetVideo, FaceFrame, State, Video
from detection.services.jobs import analyses
from detection.services.jobs.analyses import AnalysisClaim
from detection.services.learning.datasets import dataset_owner, register_item
from tests.ml.clips import DEMO, write_clip
from tests.stack import Stack, wait_for
from tests.worker import deaf_process
from worker.management.commands import import_dataset
from worker.process import extraction_child as child
from worker.process import extraction_pool, runtime
from worker.process.extraction_child import Answer
from worker.process.lease_heartbeat import LeaseHeartbeat
from worker.stages.attempt import BadInput, worker_name

CLIP = DEMO / "one-person.mp4"


@pytest.fixture(autouse=True)
def _no_broker(own_state: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.VAR_DIR.mkdir()

    def nobody_is_told(task: str, args: list[str]) -> bool:
        raise AssertionError("an import must not need a broker")

    monkeypatch.setattr(dispatch, "_publish", nobody_is_told)


@pytest.fixture
def no_eyes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extraction that fails every file at once, for tests that are about something else."""

    def fail(claim: AnalysisClaim, heart: LeaseHeartbeat) -> None:
        raise BadInput("corrupt_video", "It breaks off.")

    monkeypatch.setattr(runtime, "extract", fail)


def another(clip: Path, path: Path, number: int) -> Path:
    """The same picture as a file of other content: a box that players skip, at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(clip.read_bytes() + b"\x00\x00\x00\x09free" + bytes([number]))
    return path


def run(*arguments: object) -> dict[str, Any]:
    out = io.StringIO()
    try:
        call_command("import_dataset", *map(str, arguments), "--workers", "0", "--json", stdout=out)
    finally:
        answer: dict[str, Any] = json.loads(out.getvalue() or "{}")
    return answer


# --- in this process -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.django_db
def test_a_folder_becomes_labelled_videos_with_faces_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    another(CLIP, root / "real" / "anna.mp4", 1)
    another(CLIP, root / "real" / "copy" / "anna again.mp4", 1)
    another(DEMO / "blended-fake.mp4", root / "fake" / "anna.mp4", 2)
    write_clip(root / "real" / "nobody.mp4")
    (root / "real" / "cut.mp4").write_bytes(CLIP.read_bytes()[:9000])
    (root / "real" / "page.mp4").write_text("<html>")

    answer = run(root)
    counts = {name: answer[name] for name in ("found", "real", "fake", "imported", "known", "duplicates", "with_faces")}
    assert counts == {
        "found": 6, "real": 5, "fake": 1, "imported": 4, "known": 0, "duplicates": 1, "with_faces": 2,
    }  # fmt: skip
    assert answer["without_face"] == ["real/nobody.mp4"]
    assert [(row["path"], row["code"]) for row in answer["failed"]] == [
        ("real/page.mp4", "not_a_video"),
        ("real/cut.mp4", "corrupt_video"),
    ]
    fake = DatasetVideo.objects.get(label="fake")
    assert (fake.dataset, fake.path, fake.identity) == ("mine", "fake/anna.mp4", "mine_anna")
    assert (fake.video.status, fake.video.label, fake.video.faces.count()) == (State.SUCCEEDED, "fake", 10)
    assert not Video.objects.filter(needs_review=True).exists()

    def rows() -> list[Any]:
        return [list(table.objects.order_by("pk").values_list()) for table in (Analysis, FaceFrame, DatasetVideo)]

    before = rows()
    again = run(root)
    assert (again["imported"], again["known"], again["duplicates"], again["with_faces"]) == (0, 4, 1, 2)
    assert again["failed"] == answer["failed"]
    assert rows() == before


@pytest.mark.slow
@pytest.mark.django_db
def test_a_person_reads_what_was_found_and_what_became_of_it(tmp_path: Path, no_eyes: None) -> None:
    another(CLIP, tmp_path / "set" / "real" / "a.mp4", 1)
    (tmp_path / "set" / "list.csv").write_text("path,label,split\nreal/a.mp4,real,test\ngone.mp4,fake,\n")
    out = io.StringIO()
    call_command("import_dataset", str(tmp_path / "set"), "--workers", "0", stdout=out)
    lines = out.getvalue().splitlines()
    assert lines[0].endswith("set: 1 video in the layout csv, called set here.")
    assert lines[1].split() == ["real", "1", "(test", "1)"]
    assert lines[2] == "1 video named by the set's lists, not here: gone.mp4"
    assert [line.split() for line in lines[3:11]] == [
        ["imported", "1"], ["known", "already", "0"], ["duplicates", "0"], ["with", "faces", "0"],
        ["without", "a", "face", "0"], ["failed", "1"], ["missing", "1"], ["label", "conflicts", "0"],
    ]  # fmt: skip
    assert lines[11] == "corrupt_video: real/a.mp4: It breaks off."


@pytest.mark.django_db
def test_a_dry_run_and_a_set_that_contradicts_itself_write_nothing(tmp_path: Path) -> None:
    root = tmp_path / "set"
    (tmp_path / "empty").mkdir()
    another(CLIP, root / "real" / "a.mp4", 1)
    assert run(root, "--dry-run")["found"] == 1
    another(CLIP, root / "fake" / "real" / "b.mp4", 2)
    with pytest.raises(CommandError, match=r"fake/real/b\.mp4"):
        run(root)
    with pytest.raises(CommandError, match="no labelled video"):
        run(tmp_path / "empty", "--format", "folder")
    assert not Video.objects.exists()
    assert not (tmp_path / "media").exists()


@pytest.mark.django_db
def test_content_that_is_here_with_the_other_label_is_refused_and_the_rest_goes_in(
    tmp_path: Path, no_eyes: None
) -> None:
    root = tmp_path / "set"
    another(CLIP, root / "fake" / "a.mp4", 1)
    another(CLIP, root / "real" / "a.mp4", 1)
    another(CLIP, root / "real" / "b.mp4", 2)
    out = io.StringIO()
    with pytest.raises(CommandError, match="1 video refused"):
        call_command("import_dataset", str(root), "--workers", "0", "--json", stdout=out)
    answer = json.loads(out.getvalue())
    assert (answer["imported"], [row["path"] for row in answer["conflicts"]]) == (2, ["real/a.mp4"])
    assert set(DatasetVideo.objects.values_list("path", "label")) == {("fake/a.mp4", "fake"), ("real/b.mp4", "real")}


@pytest.mark.django_db
def test_a_limit_takes_labels_and_methods_in_turn(tmp_path: Path, no_eyes: None) -> None:
    for number in range(4):
        another(CLIP, tmp_path / "ff" / "original_sequences/youtube/c23/videos" / f"00{number}.mp4", number)
        for index, method in enumerate(("Deepfakes", "FaceSwap"), 1):
            folder = tmp_path / "ff" / "manipulated_sequences" / method / "c23" / "videos"
            another(CLIP, folder / f"00{number}_00{(number + 1) % 4}.mp4", number + 10 * index)
    assert run(tmp_path / "ff", "--limit", 4)["imported"] == 4
    assert sorted(DatasetVideo.objects.values_list("label", "method")) == [
        ("fake", "Deepfakes"), ("fake", "FaceSwap"), ("real", ""), ("real", ""),
    ]  # fmt: skip
    assert run(tmp_path / "ff", "--limit", 4)["known"] == 4


@pytest.mark.django_db
def test_what_a_dead_process_holds_is_waited_for_and_then_taken_or_given_up(
    tmp_path: Path, settings: Any, no_eyes: None
) -> None:
    root = tmp_path / "set"
    for number, attempts in ((1, 1), (2, settings.DFD_MAX_ATTEMPTS)):
        file = another(CLIP, root / "real" / f"{number}.mp4", number)
        register_item(
            owner=dataset_owner(), file=file, name="x", dataset="set", relative=f"real/{number}.mp4", label="real",
            identity=f"set_{number}",
        )  # fmt: skip
        Analysis.objects.filter(attempts=0).update(
            state=State.RUNNING, attempts=attempts, token=uuid4(), lease_until=timezone.now() + timedelta(seconds=1)
        )
    answer = run(root)
    assert answer["known"] == 2
    assert {row["path"]: row["code"] for row in answer["failed"]} == {
        "real/1.mp4": "corrupt_video",
        "real/2.mp4": "gave_up",
    }
    assert sorted(Analysis.objects.values_list("state", "attempts")) == [("dead", 3), ("failed", 2)]


@pytest.mark.django_db
def test_one_import_at_a_time(tmp_path: Path, settings: Any) -> None:
    another(CLIP, tmp_path / "set" / "real" / "a.mp4", 1)
    with (settings.VAR_DIR / "import.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CommandError, match="Another import runs"):
            run(tmp_path / "set")
    assert not Video.objects.exists()


@pytest.mark.django_db
def test_ctrl_c_says_that_the_same_command_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**arguments: Any) -> None:
        raise KeyboardInterrupt

    another(CLIP, tmp_path / "set" / "real" / "a.mp4", 1)
    monkeypatch.setattr(import_dataset, "extract_all", interrupted)
    with pytest.raises(CommandError, match="Run the same command again to go on") as stopped:
        run(tmp_path / "set")
    assert stopped.value.returncode == 130


@pytest.mark.django_db
def test_a_file_that_takes_too_long_is_broken_off_and_tried_later(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DFD_TASK_SOFT_LIMIT_S = 1
    monkeypatch.setattr(runtime, "extract", lambda claim, heart: time.sleep(30))
    register_item(
        owner=dataset_owner(), file=another(CLIP, tmp_path / "a.mp4", 1), name="x", dataset="set", relative="a.mp4",
        label="real", identity="set_a",
    )  # fmt: skip
    handler = signal.getsignal(signal.SIGALRM)
    try:
        answer = child.extract_one(str(Analysis.objects.get().pk), limit=True)
    finally:
        signal.signal(signal.SIGALRM, handler)
    assert (answer.ended, answer.trouble) == (False, "")
    assert answer.again_s > 1
    assert "It took longer than 1 s." in Analysis.objects.get().last_error


def _registered(tmp_path: Path) -> Analysis:
    register_item(
        owner=dataset_owner(), file=another(CLIP, tmp_path / "a.mp4", 1), name="x", dataset="set", relative="a.mp4",
        label="real", identity="set_a",
    )  # fmt: skip
    return Analysis.objects.get()


def _extract_until_ctrl_c(workers: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        extraction_pool.extract_all(
            ids=[Analysis.objects.get().pk], workers=workers, ended=lambda: None, waiting=lambda count: None
        )


@pytest.mark.django_db
def test_ctrl_c_just_after_a_claim_gives_the_work_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    analysis, real_claim, begun = _registered(tmp_path), analyses.claim, []

    def interrupted_claim(**arguments: Any) -> AnalysisClaim | None:
        claim = real_claim(**arguments)
        signal.raise_signal(signal.SIGINT)
        return claim

    monkeypatch.setattr(analyses, "claim", interrupted_claim)
    monkeypatch.setattr(runtime, "extract", lambda claim, heart: begun.append(claim))
    _extract_until_ctrl_c(workers=0)
    analysis.refresh_from_db()
    assert (analysis.state, analysis.attempts, analysis.token, begun) == (State.QUEUED, 0, None, [])


@pytest.mark.django_db
def test_ctrl_c_while_an_attempt_is_settled_lets_it_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_eyes: None
) -> None:
    analysis, real_finish = _registered(tmp_path), analyses.finish_failed

    def interrupted_finish(**arguments: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        real_finish(**arguments)

    monkeypatch.setattr(analyses, "finish_failed", interrupted_finish)
    extraction_pool.extract_all(ids=[analysis.pk], workers=0, ended=lambda: None, waiting=lambda count: None)
    analysis.refresh_from_db()
    assert (analysis.state, analysis.error_code) == (State.FAILED, "corrupt_video")


@pytest.mark.django_db
def test_ctrl_c_that_a_callback_has_swallowed_ends_the_work_at_its_next_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysis = _registered(tmp_path)

    def swallow(claim: AnalysisClaim, heart: LeaseHeartbeat) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        heart(10)

    monkeypatch.setattr(runtime, "extract", swallow)
    _extract_until_ctrl_c(workers=0)
    analysis.refresh_from_db()
    assert (analysis.state, analysis.attempts) == (State.QUEUED, 0)


@pytest.mark.django_db
def test_what_a_process_holds_that_has_to_be_killed_is_given_back_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysis, real_hand_out = _registered(tmp_path), extraction_pool._hand_out

    def hand_out_then_ctrl_c(line: Any, team: Any) -> None:
        real_hand_out(line, team)
        if team[0].work is not None:  # the row as that process would have claimed it
            name = worker_name(team[0].process.pid)
            assert analyses.claim(analysis_id=analysis.pk, stage="extract", worker=name) is not None
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(extraction_pool, "serve", deaf_process.serve)
    monkeypatch.setattr(extraction_pool, "END_S", 0.1)
    monkeypatch.setattr(extraction_pool, "_hand_out", hand_out_then_ctrl_c)
    _extract_until_ctrl_c(workers=1)
    analysis.refresh_from_db()
    assert (analysis.state, analysis.attempts, analysis.token) == (State.QUEUED, 0, None)


def test_a_database_that_does_not_come_back_ends_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def down(analysis_id: str) -> Answer:
        tries.append(analysis_id)
        return Answer(analysis_id, ended=False, trouble="OperationalError: gone")

    monkeypatch.setattr(extraction_pool, "extract_one", down)
    with pytest.raises(extraction_pool.ExtractionError, match="OperationalError: gone"):
        extraction_pool.extract_all(ids=[uuid4()], workers=0, ended=lambda: None, waiting=lambda count: None)
    assert len(tries) == extraction_pool.MAX_TROUBLES


def test_a_process_that_cannot_start_ends_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "no.such.settings")
    with pytest.raises(extraction_pool.ExtractionError, match="died 3 times"):
        extraction_pool.extract_all(ids=[uuid4()], workers=1, ended=lambda: None, waiting=lambda count: None)


# --- as processes that are killed ------------------------------------------------------------------------------------


@pytest.fixture
def stack() -> Iterator[Stack]:
    stack = Stack()
    try:
        yield stack
    finally:
        with contextlib.suppress(ProcessLookupError):
            stack.close()


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for number in range(6):
        another(CLIP, root / ("real", "fake")[number % 2] / f"{number}.mp4", number)
    return root


class Import:
    """The command in a process group of its own."""

    def __init__(self, stack: Stack, root: Path) -> None:
        self.stack = stack
        self.command = [sys.executable, "manage.py", "import_dataset", str(root), "--workers", "2", "--json"]

    def start(self) -> subprocess.Popen[bytes]:
        return self.stack.start("import", *self.command)

    def children(self) -> list[psutil.Process]:
        found = psutil.Process(self.stack.processes["import"].pid).children(recursive=True)
        return [process for process in found if "spawn_main" in " ".join(process.cmdline())]

    def finish(self) -> dict[str, Any]:
        done = subprocess.run(
            self.command, cwd=Path(__file__).parents[2], env=self.stack.environment, capture_output=True, text=True,
            timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def wait_for(self, sql: str) -> None:
        wait_for(lambda: self.count(sql) > 0, sql, log=lambda: self.stack.log("import"), timeout_s=300)

    def count(self, sql: str) -> int:
        with contextlib.closing(sqlite3.connect(self.stack.var / "db.sqlite3", timeout=300)) as database:
            return int(database.execute(f"SELECT count(*) FROM {sql}").fetchone()[0])

    def assert_complete(self) -> None:
        assert self.count("detection_video") == self.count("detection_datasetvideo") == 6
        assert self.count("detection_analysis WHERE state = 'succeeded' AND stage = 'done'") == 6
        assert self.count("detection_faceframe") == 60
        folders = list((self.stack.var / "media" / "videos").iterdir())
        assert len(folders) == 6
        assert all(len([path for path in folder.iterdir() if path.is_dir()]) == 1 for folder in folders)


@pytest.mark.slow
@pytest.mark.chaos
def test_an_import_killed_with_its_children_goes_on_where_it_was(stack: Stack, clips: Path) -> None:
    work = Import(stack, clips)
    work.start()
    work.wait_for("detection_video")
    stack.kill("import")  # while it registers or has just begun
    work.start()
    work.wait_for("detection_analysis WHERE state = 'succeeded'")
    stack.kill("import")  # while it extracts
    answer = work.finish()
    assert (answer["found"], answer["with_faces"], answer["failed"]) == (6, 6, [])
    work.assert_complete()


@pytest.mark.slow
@pytest.mark.chaos
def test_killed_children_are_replaced_and_those_of_a_killed_import_end_by_themselves(stack: Stack, clips: Path) -> None:
    work = Import(stack, clips)
    process = work.start()
    work.wait_for("detection_analysis WHERE state = 'running'")
    victim = work.children()[0]
    victim.kill()
    work.wait_for("detection_analysis WHERE state = 'succeeded'")
    wait_for(lambda: victim.pid not in {c.pid for c in work.children()} and len(work.children()) == 2, "a new child")
    orphans = work.children()
    process.kill()
    wait_for(lambda: not any(orphan.is_running() for orphan in orphans), "the end of the orphans", timeout_s=300)
    assert work.finish()["with_faces"] == 6
    work.assert_complete()


@pytest.mark.slow
@pytest.mark.chaos
def test_ctrl_c_gives_the_work_back_and_leaves_no_process(stack: Stack, clips: Path) -> None:
    work = Import(stack, clips)
    process = work.start()
    work.wait_for("detection_analysis WHERE state = 'running'")
    children = work.children()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole group
    assert process.wait(timeout=300) == 130
    assert "Run the same command again to go on." in stack.log("import")
    assert "Traceback" not in stack.log("import")
    assert not any(child.is_running() for child in children)
    assert work.count("detection_analysis WHERE state = 'running'") == 0
    assert work.count("detection_analysis WHERE state = 'queued' AND attempts > 0") == 0
    assert work.finish()["with_faces"] == 6


def test_quiet_logging_leaves_a_level_alone_that_someone_chose() -> None:
    root = logging.getLogger()
    before = root.level
    try:
        root.setLevel(logging.INFO)
        child.quiet_logging()
        assert root.level == logging.WARNING
        root.setLevel(logging.DEBUG)
        child.quiet_logging()
        assert root.level == logging.DEBUG
    finally:
        root.setLevel(before)
