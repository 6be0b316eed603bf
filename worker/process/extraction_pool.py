"""Many analyses at once without Celery: a team of processes that outlives the death of any of them.

They go through the same claims as Celery's workers, so both may be at the same videos.
"""

from __future__ import annotations

import heapq
import itertools
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from uuid import UUID

import structlog
from django.db import DatabaseError, InterfaceError

from detection.services.jobs import analyses
from worker.process import stop_signal
from worker.process.extraction_child import END_S, Answer, extract_one, serve
from worker.stages import attempt

log = structlog.get_logger(__name__)

START_TRIES = 3
MAX_TROUBLES = 20
AFTER_DEATH_S = 2.0
"""After the death of a process its analysis is looked at again; the row says when it may be taken."""


class ExtractionError(Exception):
    """No process can do the work; the message is a sentence that names the next step."""


def extract_all(
    *, ids: Sequence[UUID], workers: int, ended: Callable[[], None], waiting: Callable[[int], None]
) -> None:
    """Extract until every analysis has ended (or is at another stage); `ended` is called for each.

    With `workers` 0 in this very process: slower, but to be debugged.  What another process holds, and what backs off,
    is waited for; while there is nothing else to do `waiting` is called now and then with how many there are.
    Raises ExtractionError; KeyboardInterrupt gives the work back first.
    """
    line = _Line(str(pk) for pk in ids)
    with stop_signal.stops_with(KeyboardInterrupt, signal.SIGINT):
        if workers == 0:
            _extract_here(line, ended, waiting)
        else:
            _extract_in_team(line, min(workers, len(ids)), ended, waiting)


def _extract_here(line: _Line, ended: Callable[[], None], waiting: Callable[[int], None]) -> None:
    while line.open:
        analysis_id = line.next()
        if analysis_id is None:
            waiting(line.open)
        with stop_signal.interruptible():
            time.sleep(min(1.0, line.due_in()) if analysis_id is None else 0)
        if analysis_id is not None and line.judge(extract_one(analysis_id)):
            ended()


def _extract_in_team(line: _Line, size: int, ended: Callable[[], None], waiting: Callable[[int], None]) -> None:
    with _team(size) as team:
        while line.open:
            _hand_out(line, team)
            if all(member.ready and member.work is None for member in team):
                waiting(line.open)
            with stop_signal.interruptible():
                heard = wait([member.pipe for member in team], timeout=1.0)  # work that backs off becomes due
            for pipe in heard:
                member = next(member for member in team if member.pipe is pipe)
                try:
                    answer: Answer | None = member.pipe.recv()
                except (EOFError, OSError):
                    _replace(member, team, line)
                    continue
                member.ready = True
                if answer is not None:
                    member.work = None
                    if line.judge(answer):
                        ended()


class _Line:
    """What is still to be done, by the time it becomes due."""

    def __init__(self, ids: Iterator[str]) -> None:
        self._order = itertools.count()
        self._waiting = [(0.0, next(self._order), analysis_id) for analysis_id in ids]
        self.open = len(self._waiting)
        self._troubles = 0

    def due_in(self) -> float:
        return max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else 1.0

    def next(self) -> str | None:
        """The next one that is due."""
        return heapq.heappop(self._waiting)[2] if self._waiting and self.due_in() == 0.0 else None

    def put_back(self, analysis_id: str, *, again_s: float) -> None:
        heapq.heappush(self._waiting, (time.monotonic() + again_s, next(self._order), analysis_id))

    def judge(self, answer: Answer) -> bool:
        """Whether that one has ended.  Raises ExtractionError when the database does not come back."""
        if answer.trouble:
            self._troubles += 1
            log.warning("extraction_postponed", analysis=answer.analysis_id, error=answer.trouble)
            if self._troubles >= MAX_TROUBLES:
                raise ExtractionError(
                    f"{self._troubles} tries failed, one after another ({answer.trouble}). Look at the database and the"
                    f" disk with `manage.py doctor`; the same command again then goes on from here."
                )
        else:
            self._troubles = 0
        if answer.ended:
            self.open -= 1
        else:
            self.put_back(answer.analysis_id, again_s=answer.again_s)
        return answer.ended


class _Member:
    """One process of the team, and what it is at."""

    def __init__(self, failed_starts: int = 0) -> None:
        context = multiprocessing.get_context("spawn")  # a library's threads do not survive a fork
        self.pipe: Connection
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=serve, args=(theirs,), name="extract", daemon=True)
        with _blocked_ctrl_c():
            self.process.start()
        theirs.close()  # its end is the child's alone now, so that its death closes the pipe
        self.ready = False
        self.failed_starts = failed_starts
        self.work: str | None = None


@contextmanager
def _team(size: int) -> Iterator[list[_Member]]:
    team: list[_Member] = []
    try:
        team.extend(_Member() for _ in range(size))
        yield team
    finally:
        for member in team:
            member.process.terminate()  # it gives back what it holds
        deadline = time.monotonic() + END_S
        for member in team:
            member.process.join(max(0.0, deadline - time.monotonic()))
            if member.process.is_alive():
                member.process.kill()
                member.process.join()
            member.pipe.close()
            _give_back(member, error="")  # what it could not give back itself


def _hand_out(line: _Line, team: list[_Member]) -> None:
    for member in team:
        if not member.ready or member.work is not None:
            continue
        analysis_id = line.next()
        if analysis_id is None:
            return
        try:
            member.pipe.send(analysis_id)
        except OSError:  # it has died meanwhile; the wait finds that out
            line.put_back(analysis_id, again_s=AFTER_DEATH_S)
        else:
            member.work = analysis_id


def _replace(member: _Member, team: list[_Member], line: _Line) -> None:
    """A process has died (killed, out of memory, or by its file): its work waits, and a new one takes its place."""
    member.pipe.close()
    member.process.join()
    failed_starts = 0 if member.ready else member.failed_starts + 1
    if member.work is not None:
        log.warning("extraction_process_died", analysis=member.work, pid=member.process.pid)
        _give_back(
            member, error=f"The process {member.process.pid} that worked on it died ({member.process.exitcode})."
        )
        line.put_back(member.work, again_s=AFTER_DEATH_S)
    if failed_starts >= START_TRIES:
        raise ExtractionError(
            f"A process for extraction cannot start: it died {failed_starts} times. What it said is above; when it is"
            f" put right, the same command goes on from here."
        )
    team[team.index(member)] = _Member(failed_starts)


def _give_back(member: _Member, *, error: str) -> None:
    """The row that a process which is dead still holds, if it does; with an `error` the attempt counts."""
    if member.work is None or member.process.pid is None:
        return
    try:
        analyses.release_of_dead(
            analysis_id=UUID(member.work), worker=attempt.worker_name(member.process.pid), error=error
        )
    except (DatabaseError, InterfaceError) as reason:
        log.warning("attempt_not_ended", analysis=member.work, error=str(reason))  # its lease runs out


@contextmanager
def _blocked_ctrl_c() -> Iterator[None]:
    """A process started now does not hear Ctrl-C, from its very first instruction; this one hears it afterwards."""
    resource_tracker.ensure_running()  # comes with the first process, and would unblock it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
