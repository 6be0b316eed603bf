"""Processes die and the broker goes away; every video is analysed all the same, and once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest
from celery import Celery

from tests.stack import Stack, wait_for

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def running() -> Iterator[Stack]:
    """Broker, worker, beat, web and a model; the tests put back what they have broken."""
    stack = Stack(model=True)
    try:
        stack.start_worker()
        stack.start_beat()
        stack.start_web()
        yield stack
    finally:
        stack.close()


@pytest.fixture(params=[2])
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """For workers that misbehave; the parameter is how long a lease lasts: where it is waited for, it may be short."""
    stack = Stack(DFD_LEASE_S=request.param)
    try:
        stack.start_beat()
        stack.start_web()
        yield stack
    finally:
        stack.close()


def test_a_worker_killed_in_mid_video_and_started_again_finishes_it_once(running: Stack) -> None:
    video = running.upload("two-people.mp4")
    running.wait_for_state(video, "running")
    running.kill("worker")
    assert running.task(video)["state"] == "running"
    running.start_worker()
    task = running.wait_for_state(video, "succeeded")
    assert [len(person["frames"]) for person in task["verdict"]["faces"]] == [10, 10]
    assert len(running.client.get(f"/api/v1/videos/{video['id']}/faces/")["results"]) == 20
    assert len(running.attempt_folders(video)) == 1
    assert finished(running, video) == {"extract": 1, "classify": 1}


def test_an_upload_while_the_broker_is_down_is_taken_at_once_and_analysed_when_it_is_back(running: Stack) -> None:
    pid = int(running.broker("status").rstrip(".\n").split()[-1])
    os.kill(pid, signal.SIGKILL)
    started = time.monotonic()
    video = running.upload("one-person.mp4")
    assert time.monotonic() - started < 60  # and not once the broker is back
    time.sleep(2)
    assert running.task(video)["state"] == "queued"
    running.broker("start")
    running.wait_for_state(video, "succeeded")
    assert finished(running, video) == {"extract": 1, "classify": 1}


def test_messages_delivered_many_times_are_worked_on_once(running: Stack) -> None:
    video = running.upload("blended-fake.mp4")
    producer = Celery(broker=f"redis+socket://{running.var}/broker/valkey.sock")
    for _ in range(10):
        for task, queue in (("extract_faces", "extract"), ("classify_video", "classify")):
            producer.send_task(f"worker.tasks.{task}", [video["task"]["id"]], queue=queue, ignore_result=True)
    running.wait_for_state(video, "succeeded")
    analysis = f"analysis={video['task']['id']}"

    def answered() -> bool:
        lines = running.log("worker").splitlines()
        return sum(analysis in line and ("nothing_to_do" in line or "stage_finished" in line) for line in lines) >= 20

    wait_for(answered, "end of the duplicates")
    assert finished(running, video) == {"extract": 1, "classify": 1}
    assert len(running.attempt_folders(video)) == 1


def test_a_task_that_kills_its_process_is_given_up_after_three_attempts(stack: Stack) -> None:
    stack.environment["DFD_TEST_EXTRACT"] = "die"
    stack.start_worker(app="tests.chaos.workers")
    video = stack.upload("one-person.mp4")
    task = stack.wait_for_state(video, "failed")
    assert task["attempts"] == 3
    assert task["error"]["code"] == "gave_up"
    assert "3 attempts" in task["error"]["detail"]
    time.sleep(3)  # it is finite: nobody tries a fourth time
    assert stack.task(video)["attempts"] == 3
    assert stack.processes["worker"].poll() is None
    assert stack.attempt_folders(video) == []


@pytest.mark.parametrize("stack", [60], indirect=True, ids=["nobody waits for a lease"])
def test_a_worker_that_is_stopped_puts_its_work_down_and_the_next_takes_it_up_uncounted(stack: Stack) -> None:
    stack.environment["DFD_TEST_EXTRACT"] = "sleep"
    stack.start_worker(app="tests.chaos.workers")
    video = stack.upload("one-person.mp4")
    stack.wait_for_state(video, "running")
    worker = stack.processes.pop("worker")
    worker.send_signal(signal.SIGTERM)
    worker.wait(timeout=300)
    task = stack.task(video)
    assert (task["state"], task["attempts"]) == ("queued", 0)
    stack.start_worker(app="tests.chaos.workers")
    assert stack.wait_for_state(video, "running")["attempts"] == 1


def finished(stack: Stack, video: dict[str, object]) -> dict[str, int]:
    """How often a worker has finished each stage of the video's task."""
    task = video["task"]
    assert isinstance(task, dict)
    lines = [line for line in stack.log("worker").splitlines() if "stage_finished" in line and str(task["id"]) in line]
    return {stage: sum(f"stage={stage}" in line for line in lines) for stage in ("extract", "classify")}
