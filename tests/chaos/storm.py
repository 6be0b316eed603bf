"""The product under a storm: uploads, while its processes are killed at random.  `make chaos`, or with other figures

    python -m tests.chaos.storm --uploads 500 --kills 30 --broker-restarts 3 --database-restarts 1

Faults are spread over the work by its progress, in an order that the seed gives.  All the while receivers of webhooks
hang, a user at their quota goes on sending, and a folder that is not the product's lies among the uploads.  The end is
judged by what database and storage hold (`ledger`): nothing lost, nothing twice, nothing stuck, no file and no row
without the other, everybody told; and by when the sweeps ran: never two periods apart.
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
from tests.chaos import sweep_times
from tests.chaos.burdens import HangingReceiver, SmallDisk, UserAtQuota
from tests.chaos.report import shown
from tests.many.servers import Postgres
from tests.stack import CLIPS, TERMINAL, Stack, wait_for
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
LOOK_S = 1.0
"""Between looks at what has not ended: a request each."""
STUCK_AFTER_S = 240.0
"""Without any progress for this long, something is stuck."""
LATE_PERIODS = 2
# As `up` and docker-compose.yml have it: what recovers waits behind nothing, what others may delay delays nothing.
SWEEPER, WEBHOOKS = "worker-maintenance", "worker-webhooks"


@dataclass(frozen=True)
class Plan:
    """How much of what; the same seed deals the same faults in the same order."""

    uploads: int = 500
    kills: int = 30
    broker_restarts: int = 3
    database_restarts: int = 1
    web_kills: int = 3
    beat_kills: int = 1
    sweeper_kills: int = 2
    webhook_worker_kills: int = 2
    disk_fulls: int = 1
    duplicates: int = 10
    workers: int = 2
    hanging_webhooks: int = 3
    users_at_quota: int = 1
    foreign_folders: int = 1
    sweep_s: int = 15
    sweep_late_s: int = 0
    seed: int = 0

    def faults(self) -> list[str]:
        names = (
            "kills", "broker_restarts", "database_restarts", "web_kills", "beat_kills", "sweeper_kills",
            "webhook_worker_kills", "disk_fulls", "duplicates",
        )  # fmt: skip
        found = [name for name in names for _ in range(getattr(self, name))]
        random.Random(self.seed).shuffle(found)
        return found

    @property
    def late_after_s(self) -> int:
        """After so many seconds without a sweep the next one is late."""
        return self.sweep_late_s or LATE_PERIODS * self.sweep_s


class Storm:
    """One run, to be closed.  `say` is told what happens."""

    def __init__(self, plan: Plan, *, say: Callable[[str], object]) -> None:
        self.plan, self.say = plan, say
        self.deal = random.Random(plan.seed + 1)
        self.server = Postgres() if plan.database_restarts else None
        self.receivers = [HangingReceiver() for _ in range(plan.hanging_webhooks)]
        settings: dict[str, Any] = {"DATABASE_URL": self.server.migrated("dfd")} if self.server else {}
        self.prepared = not (plan.database_restarts or plan.disk_fulls)  # or else a disk is mounted over its weights
        self.stack = Stack(
            model=self.prepared,
            # Each kill strikes somebody at random; how many strikes make a poison is another test's.
            DFD_MAX_ATTEMPTS=50,
            DFD_REPUBLISH_S=5,
            DFD_LEASE_S=15,  # on a busy machine a step that is alive may take more than the other tests' eight
            DFD_TASK_SOFT_LIMIT_S=180,
            DFD_SWEEP_S=plan.sweep_s,
            DFD_WEBHOOK_ALLOW_HTTP=True,
            DFD_WEBHOOK_TRUSTED=",".join(f"127.0.0.1:{receiver.port}" for receiver in self.receivers),
            **settings,
        )
        self.media = SmallDisk(self.stack.var / "media", plan.uploads) if plan.disk_fulls else None
        self.foreign = [self.stack.var / "media" / "uploads" / "lost+found" for _ in range(plan.foreign_folders)]
        for folder in self.foreign:
            folder.mkdir(parents=True)
            folder.chmod(0)
        self.at_quota: list[UserAtQuota] = []
        self.accepted: dict[str, str] = {}  # video id -> which clip it is
        self.refused: list[str] = []
        self.answers: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self._ended: set[str] = set()
        self._looked_at = 0.0
        self._look = threading.Lock()
        self._numbers = itertools.count()
        self._uploading = threading.Event()

    def run(self) -> None:
        """Until all has ended that was begun."""
        started = time.monotonic()
        self._start()
        threads = [threading.Thread(target=self._upload_some, daemon=True) for _ in range(UPLOADERS)]
        self._uploading.set()
        for thread in threads:
            thread.start()
        for user in self.at_quota:
            user.start()
        since = time.time()
        self._make_weather()
        for thread in threads:
            thread.join()
        self._wait_for_the_end(lambda: self._finished() + len(self.refused) == self.plan.uploads)
        self._let_the_burdens_end()
        self.stack.kill("sweep-times")
        self.sweeps = sweep_times.gaps(self.stack.log("sweep-times"), since=since, until=time.time())
        self.seconds = time.monotonic() - started

    def judge(self) -> dict[str, Any]:
        """The figures, once it has run; `faults_found` names all that is not as it should be."""
        return self._judged(json.loads(self.stack.run([sys.executable, "-m", "tests.chaos.ledger"]).splitlines()[-1]))

    def close(self) -> None:
        self._uploading.clear()
        for name in list(self.stack.processes):
            self.stack.kill(name)
        for receiver in self.receivers:
            receiver.close()
        for folder in self.foreign:
            if folder.is_dir():
                folder.chmod(0o700)
        if self.media is not None:
            self.media.close()
        self.stack.close()
        if self.server is not None:
            self.server.close()

    # --- the calm ----------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if not self.prepared:
            self.stack.register_tiny_model()
        self.stack.broker("start")  # or else it is a child of the first worker, and `_kills` may strike it for good
        for number in range(self.plan.workers):
            self._start_worker(f"worker-{number}")
        self._start_worker(SWEEPER)
        self._start_worker(WEBHOOKS)
        self.stack.start_beat()
        self.stack.start_web()
        self.stack.start("sweep-times", sys.executable, "-m", "tests.chaos.sweep_times")
        for receiver in self.receivers:
            self.stack.client.post("/api/v1/webhooks/", {"url": f"http://127.0.0.1:{receiver.port}/"})
        self.at_quota = [UserAtQuota(self.stack) for _ in range(self.plan.users_at_quota)]
        self.token = self.stack.client.headers["Authorization"].split()[-1]

    def _start_worker(self, name: str, *, wait: bool = True) -> None:
        queues = {SWEEPER: "maintenance", WEBHOOKS: "webhooks"}.get(name, "extract,classify")
        self.stack.start_worker(name=name, queues=queues, wait=wait)

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
            if time.monotonic() - self._looked_at > LOOK_S:
                self._looked_at = time.monotonic()
                client = Client(port=self.stack.port, token=self.token, timeout_s=10)
                with contextlib.suppress(ClientError):
                    for video in [video for video in list(self.accepted) if video not in self._ended]:
                        if client.get(f"/api/v1/videos/{video}/")["status"] in TERMINAL:
                            self._ended.add(video)
            return len(self._ended)

    def _let_the_burdens_end(self) -> None:
        """Each receiver has been called, and what the user at their quota has sent before has ended."""
        for user in self.at_quota:
            user.stop()
            wait_for(user.has_all_ended, "end of what a user at their quota has sent", timeout_s=STUCK_AFTER_S)
        if self.accepted:
            called = "a call of each receiver of webhooks"
            wait_for(lambda: all(each.calls for each in self.receivers), called, timeout_s=STUCK_AFTER_S)

    # --- the storm ---------------------------------------------------------------------------------------------------

    def _make_weather(self) -> None:
        faults = self.plan.faults()
        for number, fault in enumerate(faults):
            due = (number + 0.5) / len(faults) * self.plan.uploads
            self._wait_for_the_end(lambda due=due: self._finished() >= due)  # type: ignore[misc]
            time.sleep(self.deal.uniform(0, 0.5))
            self.say(f"{self._finished():4} of {self.plan.uploads} ended; now: {fault.replace('_', ' ')[:-1]}")
            getattr(self, f"_{fault}")()
            self.done[fault] += 1

    def _kills(self) -> None:
        """kill -9: a worker of videos with all its processes, or the one that does the work."""
        name = f"worker-{self.deal.randrange(self.plan.workers)}"
        children = _children(self.stack.processes[name].pid)
        if children and self.deal.random() < 0.5:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.deal.choice(children), signal.SIGKILL)
            return
        self._kill_worker(name)

    def _sweeper_kills(self) -> None:
        self._kill_worker(SWEEPER)

    def _webhook_worker_kills(self) -> None:
        self._kill_worker(WEBHOOKS)

    def _kill_worker(self, name: str) -> None:
        self.stack.kill(name)
        self._start_worker(name, wait=False)

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

    def _judged(self, found: dict[str, Any]) -> dict[str, Any]:
        videos = found.pop("videos")
        at_quota = {video: clip for user in self.at_quota for video, clip in user.accepted.items()}
        accepted = self.accepted | at_quota
        wrong = []
        for video, name in accepted.items():
            state, faces = KINDS[name]
            row = videos.get(video)
            if row is None:
                continue
            verdicts = int(state == "succeeded")
            if (row["state"], row["faces"], row["verdicts"], row["analyses"]) != (state, faces, verdicts, 1):
                wrong.append({"video": video, "clip": name, **row})
        faults = {
            "refused": self.refused,
            "lost": sorted(set(accepted) - set(videos)),
            "never_accepted": sorted(set(videos) - set(accepted)),
            "not_as_in_calm": wrong,
            **{name: value for name, value in found.items() if name != "deliveries"},
            "quota_not_kept": [user.wrong_answers() for user in self.at_quota if user.wrong_answers()],
            "foreign_folders_removed": [folder.name for folder in self.foreign if not folder.is_dir()],
            "sweeps_late_s": [round(gap, 1) for gap in self.sweeps if gap > self.plan.late_after_s],
        }
        return {
            "plan": asdict(self.plan),
            "database": "postgresql" if self.server else "sqlite",
            "accepted": len(self.accepted),
            "answers": dict(self.answers),
            "at_quota": {
                "accepted_before": len(at_quota),
                "answers": dict(sum((user.answers for user in self.at_quota), Counter())),
            },
            "webhooks": {"calls_that_hung": [each.calls for each in self.receivers], **found["deliveries"]},
            "sweeps": {
                "ran": len(self.sweeps) - 1,
                "period_s": self.plan.sweep_s,
                "late_after_s": self.plan.late_after_s,
                "longest_gap_s": round(max(self.sweeps), 1),
            },
            "faults": dict(self.done),
            "states": dict(Counter(videos[video]["state"] for video in self.accepted if video in videos)),
            "second_attempts": sum(row["attempts"] > 1 for row in videos.values()),
            "seconds": round(self.seconds, 1),
            "faults_found": {name: value for name, value in faults.items() if value},
        }


def no_postgres() -> str:
    """Why there is no server to restart; empty where there can be one."""
    try:
        Postgres.can_run()
    except pytest.skip.Exception as reason:
        return str(reason)
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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # with all that runs for it
    with contextlib.closing(Storm(plan, say=lambda line: print(line, file=sys.stderr, flush=True))) as storm:
        storm.run()
        report = storm.judge()
    if not plain:
        print(json.dumps(report))
        return bool(report["faults_found"])
    print(shown(report))
    return bool(report["faults_found"])


if __name__ == "__main__":
    sys.exit(main())
