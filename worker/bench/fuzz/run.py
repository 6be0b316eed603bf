"""Mutation fuzzing of probe, decode and trim: many hostile files through child processes that may die of them."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from ml.bench.fuzz.mutate import Seed, mutant
from ml.config import VideoConfig
from ml.resource_limits import Limits
from worker.bench.fuzz.canary import Canary
from worker.bench.fuzz.child import BROKE, TOO_LONG, Answer, Job, serve

GRACE_S = 5.0
"""After the limit on the wall clock: then the process is killed, as the product kills it."""
LATE_S = 5.0
"""A process that is killed later than that has not been stopped in time."""
MEMORY_GRACE_BYTES = 512 * 1024**2
START_S = 120.0
FILES_PER_CHILD = 1000
CRASHED, KILLED = "crashed", "killed"
_KEPT = (BROKE, CRASHED, KILLED, TOO_LONG, "out_of_memory", "too_much_cpu")


class FuzzError(Exception):
    """The fuzzing itself cannot be done; the message is a sentence."""


@dataclass(frozen=True)
class Finding:
    """A file that was worth keeping: which, made how, and what it did."""

    number: int
    seed: str
    how: str
    code: str
    detail: str
    file: str


@dataclass
class Report:
    """What a run found.  `problems` are sentences on what was not contained: there must be none."""

    key: int
    seeds: int
    files: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    peak_mb: float = 0.0
    """The most memory that a process had, less what it had at its start."""
    canary_watches_files: bool = False
    findings: list[Finding] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The report for programs."""
        return asdict(self) | {"outcomes": dict(self.outcomes.most_common())}


@dataclass
class Run:
    """What is to be done."""

    seeds: Sequence[Seed]
    key: int
    files: int
    """Mutants; the seeds as they are come first."""
    seconds: float | None
    processes: int
    folder: Path
    """For what is being looked at, with nothing else in it."""
    keep: Path
    limits: Limits
    wall_s: float
    config: VideoConfig


def fuzz(run: Run, canary: Canary, *, progress: Callable[[int, int], None]) -> Report:
    """Look at every file; `progress` is called with how many of how many are done.  Raises FuzzError."""
    report = Report(key=run.key, seeds=len(run.seeds), canary_watches_files=canary.watches_files)
    total, number, began = len(run.seeds) + run.files, 0, time.monotonic()
    job = Job(run.seeds, run.key, canary.bait, run.folder, run.config, run.limits, run.wall_s)
    team = [_Child(job) for _ in range(run.processes)]
    try:
        while True:
            late = run.seconds is not None and time.monotonic() - began > run.seconds
            for place, child in enumerate(team):
                if child.number is None and child.ready and number < total and not late:
                    if child.done >= FILES_PER_CHILD:
                        child.end()
                        team[place] = _Child(job)
                    else:
                        child.ask(number)
                        number += 1
            if all(child.number is None and child.ready for child in team) and (late or number >= total):
                break
            wait([child.pipe for child in team], timeout=0.2)
            at_work = [child.number for child in team if child.number is not None]
            for place, child in enumerate(team):
                if _attend(child, run, canary, report):
                    team[place] = _Child(job)
            for touched in canary.touched():
                report.problems.append(f"The canary was touched ({touched}) while {at_work} were looked at.")
                for touching in at_work:
                    _keep(report, run, canary, touching, f"canary-{touched}", "")
            progress(report.files, total)
    finally:
        for child in team:
            child.end()
    report.seconds = round(time.monotonic() - began, 1)
    return report


class _Child:
    """One process, and the file that it is at."""

    def __init__(self, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe: Connection
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=serve, args=(theirs, job), name="fuzz", daemon=True)
        self.process.start()
        theirs.close()
        self.number: int | None = None
        self.ready = False
        self.done = 0
        self.since = time.monotonic()
        self.base_bytes = 0

    def ask(self, number: int) -> None:
        self.number, self.since = number, time.monotonic()
        self.done += 1
        self.pipe.send(number)

    def answer(self) -> Answer | None:
        """None while there is none.  Raises EOFError when the process has died."""
        try:
            return self.pipe.recv() if self.pipe.poll() else None
        except OSError as error:
            raise EOFError from error

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _attend(child: _Child, run: Run, canary: Canary, report: Report) -> bool:
    """Take the child's answer, if any; True when it has died or was killed, and another must take its place."""
    seconds = time.monotonic() - child.since
    try:
        answer = child.answer()
    except EOFError:
        child.process.join()
        if child.number is None:
            raise FuzzError("A process that looks at files cannot start; what it said is above.") from None
        _count(report, CRASHED, seconds)
        code = child.process.exitcode
        _keep(report, run, canary, child.number, CRASHED, f"exit code {code}")
        child.end()
        return True
    if answer is None:
        if not child.ready and seconds > START_S:
            raise FuzzError(f"A process that looks at files was not ready within {START_S:.0f} s.")
        if child.number is None or seconds < run.wall_s + GRACE_S:
            return False
        child.end()
        seconds = time.monotonic() - child.since
        _count(report, KILLED, seconds)
        _keep(report, run, canary, child.number, KILLED, f"after {seconds:.1f} s")
        if seconds > run.wall_s + GRACE_S + LATE_S:
            report.problems.append(f"File {child.number} was stopped after {seconds:.1f} s only.")
        return True
    if not child.ready:
        child.ready, child.base_bytes = True, answer.peak_bytes
        return False
    child.number = None
    _count(report, answer.code, seconds)
    grown = answer.peak_bytes - child.base_bytes
    report.peak_mb = max(report.peak_mb, round(grown / 1024**2, 1))
    if grown > run.limits.memory_bytes + MEMORY_GRACE_BYTES:
        report.problems.append(f"File {answer.number} took {grown / 1024**2:,.0f} MB of memory.")
    if answer.code == BROKE:
        report.problems.append(f"File {answer.number} broke the program: {answer.error.strip().splitlines()[-1]}")
    if answer.code in _KEPT:
        _keep(report, run, canary, answer.number, answer.code, answer.error)
    return False


def _count(report: Report, code: str, seconds: float) -> None:
    report.files += 1
    report.outcomes[code] += 1
    report.slowest_s = max(report.slowest_s, round(seconds, 2))


def _keep(report: Report, run: Run, canary: Canary, number: int, code: str, detail: str) -> None:
    made = mutant(run.seeds, key=run.key, number=number, bait=canary.bait)
    run.keep.mkdir(parents=True, exist_ok=True)
    path = run.keep / f"{run.key}-{number}-{code}{made.suffix}"
    path.write_bytes(made.data)
    report.findings.append(Finding(number, made.name, made.how, code, detail, str(path)))
