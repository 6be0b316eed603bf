"""The product under a storm: uploads, while its processes are killed at random.  `make chaos`, or with other figures

    python -m tests.chaos.storm --uploads 500 --kills 30 --broker-restarts 3 --database-restarts 1

Faults are spread over the work by its progress, in an order that the seed gives.  The end is judged by what database
and storage hold (`ledger`): nothing lost, nothing twice, nothing stuck, no file and no row without the other.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from demo.client import Client, ClientError
from tests.many.servers import Postgres
from tests.stack import CLIPS, TERMINAL, Stack
from worker.bench.load.client import as_new

KINDS = {
    "one-person.mp4": ("succeeded", 10),
    "two-people.mp4": ("succeeded", 20),
    "blended-fake.mp4": ("succeeded", 10),
    "no-face.mp4": ("no_face", 0),
    "broken.mp4": ("failed", 0),
}
"""State and faces that a calm run ends with."""
UPLOADERS = 4
STUCK_AFTER_S = 240.0
"""Without any progress for this long, something is stuck."""


@dataclass(frozen=True)
class Plan:
    """How much of what; the same seed deals the same faults in the same order."""

    uploads: int = 500
    kills: int = 30
    broker_restarts: int = 3
    database_restarts: int = 1
    web_kills: int = 3
    beat_kills: int = 1
    disk_fulls: int = 1
    duplicates: int = 10
    workers: int = 2
    seed: int = 0

    def faults(self) -> list[str]:
        names = ("kills", "broker_restarts", "database_restarts", "web_kills", "beat_kills", "disk_fulls", "duplicates")
        found = [name for name in names for _ in range(getattr(self, name))]
        random.Random(self.seed).shuffle(found)
        return found


class Storm:
    """One run.  `say` is told what happens."""

    def __init__(self, plan: Plan, *, say: Callable[[str], object]) -> None:
        self.plan, self.say = plan, say
        self.deal = random.Random(plan.seed + 1)
        self.server = Postgres() if plan.database_restarts else None
        settings: dict[str, Any] = {"DATABASE_URL": self.server.database("dfd")} if self.server else {}
        self.prepared = not (plan.database_restarts or plan.disk_fulls)  # or else a disk is mounted over its weights
        self.stack = Stack(
            model=self.prepared,
            # Each kill strikes somebody at random; how many strikes make a poison is another test's.
            DFD_MAX_ATTEMPTS=50,
            DFD_REPUBLISH_S=5,
            DFD_TASK_SOFT_LIMIT_S=60,
            DFD_MAX_REQUESTS_A_MINUTE=1_000_000,
            **settings,
        )
        self.media = SmallDisk(self.stack.var / "media", plan.uploads) if plan.disk_fulls else None
        self.accepted: dict[str, str] = {}  # video id -> which clip it is
        self.refused: list[str] = []
        self.answers: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self._ended: set[str] = set()
        self._looked_at = 0.0
        self._look = threading.Lock()
        self._numbers = itertools.count()
        self._uploading = threading.Event()

    def run(self) -> dict[str, Any]:
        """The figures; `faults_found` names all that is not as it should be."""
        started = time.monotonic()
        try:
            self._start()
            threads = [threading.Thread(target=self._upload_some, daemon=True) for _ in range(UPLOADERS)]
            self._uploading.set()
            for thread in threads:
                thread.start()
            self._make_weather(threads)
            for thread in threads:
                thread.join()
            self._wait_for_the_end(lambda: self._finished() + len(self.refused) == self.plan.uploads)
            seconds = time.monotonic() - started
            found = json.loads(self.stack.run([sys.executable, "-m", "tests.chaos.ledger"]).splitlines()[-1])
            return self._judged(found, seconds)
        finally:
            self._uploading.clear()
            for name in list(self.stack.processes):
                self.stack.kill(name)
            if self.media is not None:
                self.media.close()
            self.stack.close()
            if self.server is not None:
                self.server.close()

    # --- the calm ----------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if not self.prepared:
            self.stack.register_tiny_model()
        for number in range(self.plan.workers):
            self.stack.start_worker(name=f"worker-{number}")
        self.stack.start_beat()
        self.stack.start_web()
        self.token = self.stack.client.headers["Authorization"].split()[-1]

    def _upload_some(self) -> None:
        """As a client that means it: with an idempotency key, again and again until the API says yes."""
        while (number := next(self._numbers)) < self.plan.uploads and self._uploading.is_set():
            name = list(KINDS)[number % len(KINDS)]
            client = Client(port=self.stack.port, token=self.token, timeout_s=30)
            client.headers["Idempotency-Key"] = f"storm-{number}"
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"{number}-{name}"
                path.write_bytes(_content(name))
                while self._uploading.is_set():
                    try:
                        status, video = client.upload(path)
                    except ClientError as error:
                        self.answers[error.problem.get("code", "no_answer")] += 1
                        status = error.problem.get("status", 503)
                        if status < 500 and status != 429:  # what the client did wrong, it would do again
                            self.refused.append(str(error))
                            break
                        time.sleep(0.5)
                        continue
                    self.answers[str(status)] += 1
                    self.accepted[video["id"]] = name
                    break
            # Ahead of the workers by a dozen, so that there are uploads until the end.
            while self._uploading.is_set() and len(self.accepted) > self._finished() + 12:
                time.sleep(0.2)

    def _finished(self) -> int:
        """How many of the accepted have ended, as the API says; the last known number while nobody answers."""
        with self._look:
            if time.monotonic() - self._looked_at > 0.5:
                self._looked_at = time.monotonic()
                client = Client(port=self.stack.port, token=self.token, timeout_s=10)
                with contextlib.suppress(ClientError):
                    for video in [video for video in list(self.accepted) if video not in self._ended]:
                        if client.get(f"/api/v1/videos/{video}/")["status"] in TERMINAL:
                            self._ended.add(video)
            return len(self._ended)

    # --- the storm ---------------------------------------------------------------------------------------------------

    def _make_weather(self, uploaders: list[threading.Thread]) -> None:
        faults = self.plan.faults()
        for number, fault in enumerate(faults):
            due = (number + 0.5) / len(faults) * self.plan.uploads
            self._wait_for_the_end(lambda due=due: self._finished() >= due)  # type: ignore[misc]
            time.sleep(self.deal.uniform(0, 0.5))
            self.say(f"{self._finished():4} of {self.plan.uploads} ended; now: {fault.replace('_', ' ')[:-1]}")
            getattr(self, f"_{fault}")()
            self.done[fault] += 1

    def _kills(self) -> None:
        """kill -9: a worker with all its processes, or the one that does the work."""
        name = self.deal.choice([name for name in self.stack.processes if name.startswith("worker-")])
        children = _children(self.stack.processes[name].pid)
        if children and self.deal.random() < 0.5:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.deal.choice(children), signal.SIGKILL)
            return
        self.stack.kill(name)
        self.stack.start_worker(name=name, wait=False)

    def _broker_restarts(self) -> None:
        pid = int(self.stack.broker("status").rstrip(".\n").split()[-1])
        os.kill(pid, signal.SIGKILL)
        time.sleep(self.deal.uniform(0.5, 3))
        self.stack.broker("start")

    def _database_restarts(self) -> None:
        assert self.server is not None
        self.server.restart(down_s=3)

    def _web_kills(self) -> None:
        self.stack.kill("web")
        self.stack.start_web()

    def _beat_kills(self) -> None:
        self.stack.kill("beat")
        self.stack.start_beat()

    def _disk_fulls(self) -> None:
        assert self.media is not None
        self.media.fill(for_s=5)

    def _duplicates(self) -> None:
        """Messages twice and in another order: what a broker may do, and what a sweeper does when in doubt."""
        producer = Celery(broker=f"redis+socket://{self.stack.var}/broker/valkey.sock")
        tasks = [self._task_of(video) for video in list(self.accepted)[-20:]]
        self.deal.shuffle(tasks)
        with contextlib.suppress(Exception), producer.connection_for_write() as connection:
            for task in filter(None, tasks):
                for stage, queue in (("classify_video", "classify"), ("extract_faces", "extract")):
                    producer.send_task(
                        f"worker.tasks.{stage}", [task], queue=queue, ignore_result=True, connection=connection
                    )

    def _task_of(self, video: str) -> str:
        with contextlib.suppress(ClientError):
            return str(self.stack.client.get(f"/api/v1/videos/{video}/")["task"]["id"])
        return ""

    def _wait_for_the_end(self, condition: Callable[[], bool]) -> None:
        """Until the condition holds.  Fails when nothing ends any more."""
        before, since = -1, time.monotonic()
        while not condition():
            ended = self._finished()
            if ended != before:
                before, since = ended, time.monotonic()
            assert time.monotonic() - since < STUCK_AFTER_S, (
                f"{ended} of {len(self.accepted)} accepted videos have ended, and none within {STUCK_AFTER_S:.0f} s"
            )
            time.sleep(0.2)

    # --- the judgement -----------------------------------------------------------------------------------------------

    def _judged(self, found: dict[str, Any], seconds: float) -> dict[str, Any]:
        videos = found["videos"]
        wrong = []
        for video, name in self.accepted.items():
            state, faces = KINDS[name]
            row = videos.get(video)
            if row is None:
                continue
            verdicts = int(state == "succeeded")
            if (row["state"], row["faces"], row["verdicts"], row["analyses"]) != (state, faces, verdicts, 1):
                wrong.append({"video": video, "clip": name, **row})
        names = (
            "verdicts_twice",
            "stuck",
            "files_without_a_row",
            "rows_without_a_file",
            "temporary_files",
            "work_files",
        )
        faults = {
            "refused": self.refused,
            "lost": sorted(set(self.accepted) - set(videos)),
            "never_accepted": sorted(set(videos) - set(self.accepted)),
            "not_as_in_calm": wrong,
            **{name: found[name] for name in names},
        }
        return {
            "plan": asdict(self.plan),
            "database": "postgresql" if self.server else "sqlite",
            "accepted": len(self.accepted),
            "answers": dict(self.answers),
            "faults": dict(self.done),
            "states": dict(Counter(row["state"] for row in videos.values())),
            "second_attempts": sum(row["attempts"] > 1 for row in videos.values()),
            "seconds": round(seconds, 1),
            "faults_found": {name: value for name, value in faults.items() if value},
        }


def no_postgres() -> str:
    """Why there is no server to restart; empty where there can be one."""
    try:
        Postgres().close()
    except pytest.skip.Exception as reason:
        return str(reason)
    return ""


class SmallDisk:
    """A disk of its own for the stored files, so that it can be filled without harm."""

    def __init__(self, folder: Path, uploads: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        size = f"size={100 + 2 * uploads}m"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=True, capture_output=True)

    def fill(self, *, for_s: float) -> None:
        filler = self.folder / "filler"
        try:
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(1024 * 1024)):
                    pass
            time.sleep(for_s)
        finally:
            filler.unlink(missing_ok=True)

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    @staticmethod
    def missing() -> str:
        """Why there can be none here, as a sentence; empty where there can."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                SmallDisk(Path(folder), 0).close()
            except (OSError, subprocess.CalledProcessError):
                return "A disk of its own cannot be mounted here (that takes root)."
        return ""


def _content(name: str) -> bytes:
    """The clip, or the head of one, and no two uploads the same."""
    if name == "broken.mp4":
        return as_new((CLIPS / "one-person.mp4").read_bytes()[:4000])
    return as_new((CLIPS / name).read_bytes())


def _children(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in listed.stdout.split()]


def main() -> int:
    parser = argparse.ArgumentParser(description="The product under a storm; ends with 1 when anything was lost.")
    for name, value in asdict(Plan()).items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=int, default=value, metavar="N", help=f"default: {value}"
        )
    parser.add_argument("--json", action="store_true", help="only the figures, as one JSON object")
    options = vars(parser.parse_args())
    plain = not options.pop("json")
    plan = Plan(**options)
    if plan.database_restarts and (missing := no_postgres()):
        print(f"{missing}. The storm goes over SQLite, which has no server to restart.", file=sys.stderr)
        plan = replace(plan, database_restarts=0)
    if plan.disk_fulls and (missing := SmallDisk.missing()):
        print(f"{missing} The storm goes without a full disk.", file=sys.stderr)
        plan = replace(plan, disk_fulls=0)
    report = Storm(plan, say=lambda line: print(line, file=sys.stderr, flush=True)).run()
    if not plain:
        print(json.dumps(report))
        return bool(report["faults_found"])
    told = ", ".join(f"{count} x {answer}" for answer, count in sorted(report["answers"].items()))
    print(
        f"\n{report['accepted']} of {plan.uploads} uploads accepted over {report['database']},"
        f" in {report['seconds']:.0f} s ({told}).\n"
        f"Faults: {', '.join(f'{count} {name}' for name, count in report['faults'].items()).replace('_', ' ')}.\n"
        f"Ended: {', '.join(f'{count} {state}' for state, count in sorted(report['states'].items()))};"
        f" {report['second_attempts']} needed another attempt."
    )
    for name in (
        "refused",
        "lost",
        "not_as_in_calm",
        "verdicts_twice",
        "stuck",
        "files_without_a_row",
        "rows_without_a_file",
    ):
        print(f"  {name.replace('_', ' '):<22} {len(report['faults_found'].get(name, []))}")
    if report["faults_found"]:
        print(json.dumps(report["faults_found"], indent=1)[:4000])
    return bool(report["faults_found"])


if __name__ == "__main__":
    sys.exit(main())
