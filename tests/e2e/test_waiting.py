"""Requests that wait hold only some of a real server's threads, and hear at once what they wait for."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from deepfake_desk_client import Client
from tests.stack import Stack, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
WATCHERS, MAY_WAIT = 10, 2


@pytest.fixture
def stack() -> Iterator[Stack]:
    stack = Stack(DFD_MAX_WAITING=MAY_WAIT)
    try:
        stack.start_web()  # one process with four threads
        yield stack
    finally:
        stack.close()


def test_more_watchers_than_threads_leave_threads_for_everybody_else(stack: Stack) -> None:
    url, token = f"http://127.0.0.1:{stack.port}", stack.client.headers["Authorization"].split()[-1]
    task = stack.upload("one-person.mp4")["task"]["id"]  # no worker: it stays queued

    def events(_: int) -> list[str]:
        with Client(url, token)._call("GET", f"tasks/{task}/events/", stream=True) as answer:
            return [line.decode() for line in answer.iter_lines(chunk_size=1) if line.startswith(b"event")]

    with ThreadPoolExecutor(WATCHERS) as pool:
        watchers = [pool.submit(events, number) for number in range(WATCHERS)]
        wait_for(lambda: sum(one.done() for one in watchers) >= WATCHERS - MAY_WAIT, "answers", timeout_s=300)
        assert stack.client.get(f"/api/v1/tasks/{task}/")["state"] == "queued"
        assert stack.client.get("/healthz") is not None
        assert stack.client.delete(f"/api/v1/tasks/{task}/")["error"]["code"] == "cancelled"
        told = sorted((one.result() for one in watchers), key=len)
    assert told == [["event: progress"]] * (WATCHERS - MAY_WAIT) + [["event: progress", "event: end"]] * MAY_WAIT
