"""Files that crash their process, hang it, eat its memory or its time: each ends by itself, and the others flow on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.workers import HANG_S, POISON
from tests.stack import CLIPS, Stack, wait_for

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(900)]

WALL_S, CPU_S = 120, 6
SENTENCES = {
    "crash": ("Each time the process that analysed this file ended without a word.",),
    "hang-": (f"It took longer than {HANG_S} s.",),
    "eat--": ("It needed more memory than one file may take (1,024 MB).",),
    # The other limit comes first where a machine has less than a twentieth of a core for it.
    "spin-": (f"It needed more than {CPU_S} s of processor time.", f"It took longer than {WALL_S} s."),
}


@pytest.fixture
def stack() -> Iterator[Stack]:
    stack = Stack(
        DFD_LEASE_S=8, DFD_TASK_SOFT_LIMIT_S=WALL_S, DFD_TASK_CPU_S=CPU_S, DFD_TASK_MEMORY_BYTES=1024**3,
        DFD_TEST_EXTRACT="poison", DFD_TEST_GRACE_S=3, model=True,
    )  # fmt: skip
    try:
        stack.start_beat()
        stack.start_web()
        yield stack
    finally:
        stack.close()


def test_poison_ends_dead_after_three_attempts_with_a_sentence_and_the_others_flow_on(
    stack: Stack, tmp_path: Path
) -> None:
    poisoned = {}
    for end in POISON:
        path = tmp_path / f"{end.decode()}.mp4"
        path.write_bytes((CLIPS / "one-person.mp4").read_bytes() + end)
        status, video = stack.client.upload(path)
        assert status == 202
        poisoned[end.decode().removeprefix("dfd-test-")] = dict(video)
    sound = [stack.upload(name) for name in ("two-people.mp4", "blended-fake.mp4")]
    stack.start_worker(app="tests.chaos.workers", concurrency=3)

    for video in sound:
        task = stack.wait_for_state(video, "succeeded", timeout_s=300)
        assert task["verdict"] is not None
    for name, video in poisoned.items():
        task = stack.wait_for_state(video, "failed", timeout_s=300)
        assert (name, task["attempts"], task["error"]["code"]) == (name, 3, "gave_up")
        assert task["error"]["detail"].removeprefix("Given up after 3 attempts. ") in SENTENCES[name]
        assert stack.attempt_folders(video) == []
    wait_for(lambda: stack.processes["worker"].poll() is None, "a worker that is still there")
    late = stack.upload("one-person.mp4")
    stack.wait_for_state(late, "succeeded", timeout_s=300)
