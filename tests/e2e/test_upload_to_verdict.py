"""From upload to verdict: `manage.py up` in a process of its own, HTTP from outside, and nothing left after Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.stack import Stack, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]


def start_up(stack: Stack) -> None:
    stack.start("up", sys.executable, "manage.py", "up")
    wait_for(lambda: "Ready after" in stack.log("up"), "a ready product", log=lambda: stack.log("up"))


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    stack = Stack(static=True, DFD_CONCURRENCY=2)
    try:
        start_up(stack)
        yield stack
    finally:
        stack.close()


def test_a_task_waits_for_a_model_and_finishes_by_itself_once_there_is_one(stack: Stack) -> None:
    video = stack.upload("one-person.mp4")
    wait_for(
        lambda: stack.task(video)["stage"] == "awaiting_model", "task that waits for a model", timeout_s=300,
        log=lambda: stack.log("up"),
    )  # fmt: skip
    assert stack.task(video)["state"] == "queued"
    stack.register_tiny_model()
    task = stack.wait_for_state(video, "succeeded")
    assert (task["progress"], task["error"]) == (100, None)
    verdict = task["verdict"]
    assert verdict["label"] in ("real", "fake")
    assert "experimental_model" in verdict["review_reasons"]
    assert [len(person["frames"]) for person in verdict["faces"]] == [10]
    faces = stack.client.get(f"/api/v1/videos/{video['id']}/faces/")["results"]
    assert len(faces) == 10
    detail = stack.client.get(f"/api/v1/videos/{video['id']}/")
    assert (detail["status"], detail["codec"]) == ("succeeded", "h264")
    assert 0 < detail["frames_decoded"] <= 150


def test_two_people_are_scored_apart_and_the_answer_names_the_person(stack: Stack) -> None:
    video = stack.upload("two-people.mp4")
    verdict = stack.wait_for_state(video, "succeeded")["verdict"]
    scores = {person["track"]: person["fake_probability"] for person in verdict["faces"]}
    assert len(scores) == 2
    assert verdict["fake_probability"] == max(scores.values())


def test_a_file_that_only_looks_like_a_video_fails_with_a_code(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes((b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2") + bytes(2000))
    status, video = stack.client.upload(path)
    assert status == 202
    task = stack.wait_for_state(video, "failed")
    assert task["error"]["code"] in ("not_a_video", "corrupt_video", "no_video_stream")
    assert task["attempts"] == 1


def test_a_video_is_scored_again_under_a_new_model_without_a_new_extraction(stack: Stack) -> None:
    video = stack.client.get("/api/v1/videos/")["results"][-1]
    before = stack.client.get(f"/api/v1/videos/{video['id']}/")["verdict"]
    stack.register_tiny_model(name="second", seed=1)
    again = stack.client.post(f"/api/v1/videos/{video['id']}/analyze/", {})
    task = stack.wait_for_state({"task": again}, "succeeded")
    assert task["verdict"]["model_version"] != before["model_version"]
    assert task["verdict"]["fake_probability"] != before["fake_probability"]
    assert len(stack.attempt_folders(video)) == 1


def test_a_second_up_on_the_same_state_is_refused(stack: Stack) -> None:
    with pytest.raises(AssertionError, match="Another `up` already runs"):
        stack.manage("up", "--port", "1")


def test_a_broker_that_is_killed_is_started_again(stack: Stack) -> None:
    before = stack.broker("status")
    os.kill(int(before.rstrip(".\n").split()[-1]), signal.SIGKILL)
    wait_for(lambda: "runs as process" in status(stack), "a new broker")
    assert status(stack) != before


def status(stack: Stack) -> str:
    try:
        return stack.broker("status")
    except AssertionError:
        return ""


def test_ctrl_c_ends_every_process(stack: Stack) -> None:
    """The last test of this module: it ends what the others use."""
    process = stack.processes["up"]
    family = [*psutil.Process(process.pid).children(recursive=True)]
    assert len(family) >= 5  # worker and its children, beat, gunicorn and its worker
    family.append(psutil.Process(int(stack.broker("status").rstrip(".\n").split()[-1])))
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=300) == 0
    _, alive = psutil.wait_procs(family, timeout=60)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
    assert stack.log("up").endswith("Everything has ended.\n")


def test_up_says_what_is_missing_before_it_starts_anything() -> None:
    stack = Stack()
    try:
        with pytest.raises(AssertionError, match="Static files are not collected"):
            stack.manage("up")
        (stack.var / "db.sqlite3").unlink()
        with pytest.raises(AssertionError, match="The database is not prepared"):
            stack.manage("up")
    finally:
        stack.close()
