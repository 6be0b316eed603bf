"""One attempt at a job: claim, heartbeat, and for each way it can end the right transition."""

from __future__ import annotations

import os
import socket
import time
import traceback
from collections.abc import Callable
from typing import Any, Protocol, TypeVar
from uuid import UUID

import structlog
from celery.exceptions import SoftTimeLimitExceeded

from detection.errors import has_no_room
from detection.services.jobs import analyses
from detection.services.jobs.analyses import AnalysisClaim
from detection.services.jobs.leases import JobClaim, LeaseLost
from detection.services.stored_files import is_away
from ml.resource_limits import OverLimit
from worker.process import stop_signal
from worker.process.lease_heartbeat import ExtendsLease, LeaseHeartbeat
from worker.stages import watchdog

log = structlog.get_logger(__name__)
C = TypeVar("C", bound=JobClaim)


class BadInput(Exception):
    """The file is at fault: the analysis has failed, with this code and this sentence for the client."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class NotNow(Exception):
    """Something other than the file is at fault; the message is a sentence.  Try again later."""


class JobProtocol(ExtendsLease, Protocol):
    """What becomes of a claim: a module of `detection.services.jobs`."""

    def finish_failed(self, *, claim: Any, code: str, detail: str) -> None:
        """End for good: trying again would not help.  Raises LeaseLost."""

    def release(self, *, claim: Any, error: str, detail: str = "", counts: bool = True, wait_s: float = 0) -> None:
        """Give the work back, to be tried again while attempts are left.  Raises LeaseLost."""


def worker_name(pid: int) -> str:
    """What a process of this machine writes into the rows that it claims."""
    return f"{socket.gethostname()}:{pid}"


def run(analysis_id: str, stage: str, work: Callable[[AnalysisClaim, LeaseHeartbeat], None]) -> None:
    """Do `work` if the stage can be claimed.  `work` finishes the claim, or raises."""
    claim = analyses.claim(analysis_id=UUID(analysis_id), stage=stage, worker=worker_name(os.getpid()))
    if claim is None:
        log.info("nothing_to_do", analysis=analysis_id, stage=stage)
        return
    run_claimed(claim, work, analyses, analysis=analysis_id, stage=stage)


def run_claimed(
    claim: C,
    work: Callable[[C, LeaseHeartbeat], None],
    jobs: JobProtocol,
    *,
    limit_s: int | None = None,
    **context: str,
) -> None:
    """Do `work` while the claim is kept alive; what it raises settles the claim as `jobs` has it.

    `limit_s` is the task's time limit where it is not that of a file, `context` names the job in the log's lines.
    """
    started = time.monotonic()
    with structlog.contextvars.bound_contextvars(**context, attempt=claim.attempt):
        try:
            with LeaseHeartbeat(claim, jobs) as heartbeat, stop_signal.interruptible():
                work(claim, heartbeat)
            log.info("stage_finished", seconds=round(time.monotonic() - started, 2))
        except BaseException as error:
            _settle_exception(claim, error, jobs, limit_s)
            if not isinstance(error, Exception):
                raise


def abort_stuck(claim: JobClaim, jobs: JobProtocol, sentence: str) -> None:
    """End the attempt for a work that no longer hears anything.  Raises LeaseLost."""
    jobs.release(claim=claim, error=sentence, detail=sentence)


def _settle_exception(claim: JobClaim, error: BaseException, jobs: JobProtocol, limit_s: int | None) -> None:
    """What the exception means for the analysis, or for the evidence."""
    trace = "".join(traceback.format_exception(error))
    try:
        match error:
            case LeaseLost():
                log.warning("lease_lost")
            case BadInput():
                log.info("bad_input", code=error.code)
                jobs.finish_failed(claim=claim, code=error.code, detail=error.detail)
            case Exception() if is_away(error):  # as a full disk: or an outage would end all that waits for good
                log.error("storage_away", error=str(error))
                jobs.release(claim=claim, error=trace, counts=False, wait_s=analyses.STORAGE_WAIT_S)
            case NotNow():
                jobs.release(claim=claim, error=trace, detail=str(error))
            case SoftTimeLimitExceeded():
                limit = watchdog.too_long_sentence(limit_s)
                jobs.release(claim=claim, error=f"{limit}\n{trace}", detail=limit)
            case OverLimit():
                log.warning("over_limit", code=error.code)
                jobs.release(claim=claim, error=f"{error.code}: {error.detail}\n{trace}", detail=error.detail)
            case MemoryError():
                jobs.release(claim=claim, error=trace, detail="It needed more memory than there is.")
            case OSError() if has_no_room(error):  # not the file's fault, and all files' trouble: none may end by it
                log.error("disk_full", path=error.filename)
                jobs.release(claim=claim, error=trace, counts=False, wait_s=analyses.STORAGE_WAIT_S)
            case Exception():
                log.error("stage_broke", exc_info=error)
                jobs.release(claim=claim, error=trace, detail="An unexpected error occurred each time.")
            case _:  # SystemExit, KeyboardInterrupt: the worker is being stopped
                jobs.release(claim=claim, error="", counts=False)
    except LeaseLost:
        log.warning("lease_lost")
    except Exception as second:  # no database: the lease runs out, and the sweeper sees to it
        log.error("attempt_not_ended", exc_info=second)
