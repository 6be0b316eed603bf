"""Tasks that are cancelled at random moments, on real processes:

    python -m tests.chaos.cancelling --tasks 100 --cancel 50

The end is judged by what database and storage hold (`ledger`), as after a storm: nothing stuck, nothing half stored.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from demo.client import ClientError
from tests.stack import CLIPS, TERMINAL, Stack, wait_for
from worker.bench.load.client import as_new

KINDS = ("one-person.mp4", "two-people.mp4", "blended-fake.mp4", "no-face.mp4")
CANCELLERS = 4
LOOK_S = 0.3
"""Between looks at a task: as many as there are cancellers cost the workers their processor."""
LONGEST_S = 1800.0


def cancel_some(*, tasks: int, cancel: int, seed: int = 0, say: Callable[[str], object] = print) -> dict[str, Any]:
    """Run it; returns the figures, and in `faults_found` all that is not as it should be (empty: nothing)."""
    deal = random.Random(seed)
    # Nothing is to end by a lease that runs out.
    stack = Stack(model=True, DFD_LEASE_S=60)
    try:
        stack.start_web()
        stack.start_beat()
        paths = [stack.var / f"clip-{number}.mp4" for number in range(tasks)]
        for number, path in enumerate(paths):
            path.write_bytes(as_new((CLIPS / KINDS[number % len(KINDS)]).read_bytes()))
        uploaded = [dict(stack.client.upload(path)[1]) for path in paths]
        # A quarter of the chosen ones before any worker is there, the others once they have got so far.
        chosen = [(video, deal.choice((0, 1, 20, 40, 60, 75, 80, 90))) for video in deal.sample(uploaded, cancel)]
        early, late = chosen[: cancel // 4], chosen[cancel // 4 :]

        def cancel_one(choice: tuple[dict[str, Any], int]) -> str:
            video, percent = choice
            wait_for(
                lambda: _has_come_to(stack.task(video), percent), f"{percent} %", timeout_s=LONGEST_S, every_s=LOOK_S
            )
            try:
                answer = stack.client.delete(f"/api/v1/tasks/{video['task']['id']}/")
            except ClientError as error:
                return str(error.problem["code"])
            return str(answer["error"]["code"])

        answers = Counter(cancel_one((video, 0)) for video, _ in early)
        stack.start_worker(concurrency=2)
        with ThreadPoolExecutor(CANCELLERS) as cancellers:
            answers.update(cancellers.map(cancel_one, late))
        say(f"asked {cancel} times: {dict(answers)}")
        started = time.monotonic()
        wait_for(
            lambda: all(stack.task(video)["state"] in TERMINAL for video in uploaded),
            "end of all tasks", timeout_s=LONGEST_S, every_s=LOOK_S, log=lambda: stack.log("worker"),
        )  # fmt: skip
        say(f"all tasks had ended {time.monotonic() - started:.0f} s after the last was cancelled")
        stack.kill("worker")
        found = json.loads(stack.run([sys.executable, "-m", "tests.chaos.ledger"]).splitlines()[-1])
    finally:
        stack.close()
    videos = found.pop("videos")
    found["judged_though_cancelled"] = [
        key for key, video in videos.items() if video["state"] == "cancelled" and video["verdicts"]
    ]
    states = Counter(video["state"] for video in videos.values())
    if states["cancelled"] != answers["cancelled"]:
        found["cancelled"] = [f"{states['cancelled']} rows, {answers['cancelled']} answers"]
    return {
        "tasks": tasks,
        "asked": cancel,
        "answers": dict(answers),
        "states": dict(states),
        "faults_found": {name: rows for name, rows in found.items() if rows},
    }


def _has_come_to(task: dict[str, Any], percent: int) -> bool:
    return task["state"] in TERMINAL or task["progress"] >= percent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--cancel", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    report = cancel_some(**vars(parser.parse_args()), say=lambda line: print(line, file=sys.stderr))
    print(json.dumps(report, indent=2))
    return bool(report["faults_found"])


if __name__ == "__main__":
    sys.exit(main())
