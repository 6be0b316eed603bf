"""Long polls and event streams: what they wait for, how long, and that they leave threads for everybody else.

Time is the test's own: a pause moves the clock, and what happens meanwhile is the next step of a script.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from detection.api import waiting
from detection.models import TERMINAL_STATES, Analysis, Stage, State, Video
from detection.services.jobs import analyses
from detection.services.jobs.analyses import AnalysisClaim
from detection.services.jobs.cancellation import cancel_analysis
from detection.services.uploads.uploads import delete_video
from tests.api.conftest import Caller, Factory

pytestmark = pytest.mark.django_db


class Clock:
    """Replaces the pauses: each is a step of the script, and the time that it would have taken."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.steps: list[Callable[[], object]] = []
        self.paused = 0

    def pause(self, seconds: float) -> bool:
        self.now += seconds
        self.paused += 1
        if self.steps:
            self.steps.pop(0)()
        return False


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(waiting, "pause", clock.pause)
    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def video(owner: Caller, factory: Factory) -> Video:
    return factory.video(owner.user)


def path_of(video: Video, rest: str = "") -> str:
    return f"/api/v1/tasks/{video.current_analysis_id}/{rest}"


def events(response: Any) -> Iterator[tuple[str, Any]]:
    """(event, data) of a stream; ("", None) for a comment."""
    assert response.status_code == 200
    assert response["Content-Type"] == "text/event-stream"
    for block in b"".join(response.streaming_content).decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith("retry"))
        if "event" in fields:
            yield fields["event"], json.loads(fields["data"])
        elif block.startswith(":"):
            yield "", None


def take_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_slots", threading.BoundedSemaphore(0))


# --- long polls ------------------------------------------------------------------------------------------------------


def test_it_answers_as_soon_as_the_task_has_ended(owner: Caller, video: Video, clock: Clock) -> None:
    task = video.current_analysis_id
    assert task is not None
    clock.steps = [lambda: None, lambda: None, lambda: cancel_analysis(analysis_id=task)]
    body = owner.get(path_of(video, "?wait=30")).json()
    assert (body["state"], body["error"]["code"], clock.paused) == ("failed", "cancelled", 3)


def test_in_the_end_it_answers_how_the_task_stands(owner: Caller, video: Video, clock: Clock) -> None:
    assert owner.get(path_of(video, "?wait=30")).json()["state"] == "queued"
    assert clock.now == 1030.0


@pytest.mark.parametrize("query", ["", "?wait=0"])
def test_without_a_wait_it_waits_for_nothing(owner: Caller, video: Video, clock: Clock, query: str) -> None:
    assert owner.get(path_of(video, query)).json()["state"] == "queued"
    assert clock.paused == 0


def test_a_task_that_has_ended_is_not_waited_for(owner: Caller, factory: Factory, clock: Clock) -> None:
    assert owner.get(path_of(factory.judged(owner.user), "?wait=30")).json()["state"] == "succeeded"
    assert clock.paused == 0


def test_while_too_many_wait_it_answers_at_once(
    owner: Caller, video: Video, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_no_slot(monkeypatch)
    assert owner.get(path_of(video, "?wait=30")).json()["state"] == "queued"
    assert clock.paused == 0


def test_a_slot_comes_back_whatever_ends_the_wait(
    owner: Caller, video: Video, clock: Clock, monkeypatch: pytest.MonkeyPatch, problem: Callable[..., Any]
) -> None:
    slots = threading.BoundedSemaphore(1)
    monkeypatch.setattr(waiting, "_slots", slots)
    owner.get(path_of(video, "?wait=1"))
    clock.steps = [lambda: delete_video(video=video)]
    problem(owner.get(path_of(video, "?wait=30")), 404, "not_found")
    assert slots.acquire(blocking=False)


@pytest.mark.parametrize("value", ["61", "-1", "1.5", "ten", "", "9" * 40, "\u0663"])
def test_what_is_no_wait_is_refused(owner: Caller, video: Video, problem: Callable[..., Any], value: str) -> None:
    answer = problem(owner.client.get(path_of(video), {"wait": value}, headers=owner.headers), 400, "validation_error")
    assert [error["field"] for error in answer["errors"]] == ["wait"]


def test_strangers_wait_for_nothing(other: Caller, video: Video, clock: Clock, problem: Callable[..., Any]) -> None:
    problem(other.get(path_of(video, "?wait=30")), 404, "not_found")
    problem(other.get(path_of(video, "events/")), 404, "not_found")
    assert clock.paused == 0


# --- streams ---------------------------------------------------------------------------------------------------------


def test_a_stream_tells_each_movement_and_the_end(owner: Caller, factory: Factory, video: Video, clock: Clock) -> None:
    rows = Analysis.objects.filter(video=video)
    task = video.current_analysis_id
    assert task is not None
    claims: list[AnalysisClaim] = []

    def begin() -> None:
        claim = analyses.claim(analysis_id=task, stage=Stage.EXTRACT, worker="w")
        assert claim is not None
        claims.append(claim)

    clock.steps = [
        lambda: None,
        begin,
        lambda: rows.update(progress=40),
        lambda: analyses.finish_failed(claim=claims[0], code="corrupt_video", detail="It breaks off."),
    ]
    told = list(events(owner.get(path_of(video, "events/"))))
    assert [(name, body["state"], body["progress"]) for name, body in told] == [
        ("progress", "queued", 0),
        ("progress", "running", 0),
        ("progress", "running", 40),
        ("end", "failed", 40),
    ]
    assert told[-1][1] == owner.get(path_of(video)).json()
    assert clock.paused == 4


def test_a_stream_of_a_task_that_has_ended_tells_its_verdict_and_ends(
    owner: Caller, factory: Factory, clock: Clock
) -> None:
    video = factory.judged(owner.user)
    ((name, body),) = events(owner.get(path_of(video, "events/")))
    assert (name, body["verdict"]["label"], clock.paused) == ("end", "fake", 0)


def test_a_silent_stream_says_that_it_is_there_and_ends_in_time(owner: Caller, video: Video, clock: Clock) -> None:
    told = [name for name, _ in events(owner.get(path_of(video, "events/")))]
    assert told[0] == "progress"
    assert set(told[1:]) == {""}
    assert 50 <= len(told[1:]) <= 60  # every ten seconds of ten minutes
    assert 1600 <= clock.now < 1601


def test_while_too_many_wait_a_stream_tells_how_the_task_stands_and_ends(
    owner: Caller, video: Video, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_no_slot(monkeypatch)
    ((name, body),) = events(owner.get(path_of(video, "events/")))
    assert (name, body["state"], clock.paused) == ("progress", "queued", 0)


def test_a_stream_whose_client_has_gone_gives_its_slot_back(
    owner: Caller, video: Video, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = threading.BoundedSemaphore(1)
    monkeypatch.setattr(waiting, "_slots", slots)
    response = owner.get(path_of(video, "events/"))
    stream = iter(response.streaming_content)
    assert b"retry" in next(stream)
    assert b"queued" in next(stream)
    assert not slots.acquire(blocking=False)
    response.close()  # as a server does when it cannot write any more
    assert slots.acquire(blocking=False)


def test_a_stream_ends_where_its_video_is_deleted(owner: Caller, video: Video, clock: Clock) -> None:
    clock.steps = [lambda: delete_video(video=video)]
    assert [name for name, _ in events(owner.get(path_of(video, "events/")))] == ["progress"]


def test_a_head_request_gets_no_stream(owner: Caller, video: Video, clock: Clock) -> None:
    response = owner.request("head", path_of(video, "events/"))
    assert (response.status_code, response["Content-Type"], clock.paused) == (200, "text/event-stream", 0)


# --- the end of the process -------------------------------------------------------------------------------------------


def test_who_waits_hears_of_the_servers_end_and_the_server_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real pause
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    monkeypatch.setattr(waiting, "_closing", threading.Event())
    try:
        waiting.stop_waiting_at_sigterm()
        signal.raise_signal(signal.SIGTERM)
        assert heard == [signal.SIGTERM]
        assert waiting.pause(60)
        with waiting.waiting() as may_wait:
            assert not may_wait
    finally:
        signal.signal(signal.SIGTERM, before)


def test_states_that_end_a_wait_are_those_that_end_a_task() -> None:
    assert set(TERMINAL_STATES) == set(State) - {State.QUEUED, State.RUNNING}
