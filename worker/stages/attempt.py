"""One attempt at one stage of one analysis: claim, heartbeat, and for each way it can end the right transition.

Evidence on demand is attempted in the same way, by the rules of `evidence_jobs`.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar
from uuid import UUID

import structlog
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import connection

from detection.errors import has_no_room
from detection.services.jobs import analyses
from detection.services.jobs.analyses import Claim
from detection.services.jobs.leases import LeaseLost
from ml.resource_limits import OverLimit
from worker.process import stop_signal
from worker.stages import watchdog

log = structlog.get_logger(__name__)
BEAT_S = 2.0
"""At most this long after its task was cancelled, work that says nothing of its progress has lost its lease."""
C = TypeVar("C")


class BadInput(Exception):
    """The file is at fault: the analysis has failed, with this code and this sentence for the client."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class NotNow(Exception):
    """Something other than the file is at fault; the message is a sentence.  Try again later."""


class Rules(Protocol):
    """What becomes of a claim: the functions of `jobs`, or of another module of services that has them."""

    def heartbeat(self, *, claim: Any, progress: int) -> None: ...

    def finish_failed(self, *, claim: Any, code: str, detail: str) -> None: ...

    def release(self, *, claim: Any, error: str, detail: str = "", counts: bool = True, wait_s: float = 0) -> None: ...


class Heart:
    """Keeps a claim's lease alive from a thread, however long one step of the work is silent.

    Call it with the progress (0 to 100).  It raises LeaseLost once the claim is another's, so that the work stops.
    """

    def __init__(self, claim: Any, rules: Rules = analyses) -> None:
        self.claim, self._rules = claim, rules
        self._progress = 0
        self._written_at = time.monotonic()
        self._lost_at: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat_for_ever, name="heartbeat", daemon=True)

    def __call__(self, progress: float) -> None:
        self._progress = int(progress)
        stop_signal.check()  # its exception may have been lost in a library's callback
        if self._lost_at is not None:
            raise LeaseLost(str(self.claim))
        if time.monotonic() - self._written_at >= 1.0:
            self._beat()

    def lost_for_s(self) -> float:
        """For how many seconds the claim has been known to be another's, or cancelled; 0 while it is held."""
        return 0.0 if self._lost_at is None else time.monotonic() - self._lost_at

    def give_up(self, sentence: str) -> None:
        """End this attempt for a work that no longer hears anything.  Raises LeaseLost."""
        self._rules.release(claim=self.claim, error=sentence, detail=sentence)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()

    def _beat(self) -> None:
        self._written_at = time.monotonic()
        self._rules.heartbeat(claim=self.claim, progress=self._progress)

    def _beat_for_ever(self) -> None:
        try:
            while not self._stop.wait(min(settings.DFD_LEASE_S / 3, BEAT_S)):
                try:
                    self._beat()
                except LeaseLost:
                    self._lost_at = time.monotonic()
                    return
                except Exception as error:  # the database may be back at the next beat; the lease decides
                    log.warning("heartbeat_failed", claim=str(self.claim), error=str(error))
        finally:
            connection.close()  # this thread's own


def worker_name(pid: int) -> str:
    """What a process of this machine writes into the rows that it claims."""
    return f"{socket.gethostname()}:{pid}"


def run(analysis_id: str, stage: str, work: Callable[[Claim, Heart], None]) -> None:
    """Do `work` if the stage can be claimed.  `work` finishes the claim, or raises."""
    claim = analyses.claim(analysis_id=UUID(analysis_id), stage=stage, worker=worker_name(os.getpid()))
    if claim is None:
        log.info("nothing_to_do", analysis=analysis_id, stage=stage)
        return
    structlog.contextvars.bind_contextvars(analysis=analysis_id, stage=stage, attempt=claim.attempt)
    attend(claim, work, analyses)


def attend(claim: C, work: Callable[[C, Heart], None], rules: Rules) -> None:
    """Do `work` while the claim is kept alive; what it raises ends the claim by the rules."""
    started = time.monotonic()
    try:
        with Heart(claim, rules) as heart, stop_signal.interruptible():
            work(claim, heart)
        log.info("stage_finished", seconds=round(time.monotonic() - started, 2))
    except BaseException as error:
        _end(claim, error, rules)
        if not isinstance(error, Exception):
            raise
    finally:
        structlog.contextvars.clear_contextvars()


def _end(claim: Any, error: BaseException, rules: Rules) -> None:
    """What the exception means for the analysis, or for the evidence."""
    trace = "".join(traceback.format_exception(error))
    try:
        match error:
            case LeaseLost():
                log.warning("lease_lost")
            case BadInput():
                log.info("bad_input", code=error.code)
                rules.finish_failed(claim=claim, code=error.code, detail=error.detail)
            case NotNow():
                rules.release(claim=claim, error=trace, detail=str(error))
            case SoftTimeLimitExceeded():
                limit = watchdog.too_long_sentence()
                rules.release(claim=claim, error=f"{limit}\n{trace}", detail=limit)
            case OverLimit():
                log.warning("over_limit", code=error.code)
                rules.release(claim=claim, error=f"{error.code}: {error.detail}\n{trace}", detail=error.detail)
            case MemoryError():
                rules.release(claim=claim, error=trace, detail="It needed more memory than there is.")
            case OSError() if has_no_room(error):  # not the file's fault, and all files' trouble: none may end by it
                log.error("disk_full", path=error.filename)
                rules.release(claim=claim, error=trace, counts=False, wait_s=analyses.DISK_FULL_WAIT_S)
            case Exception():
                log.error("stage_broke", exc_info=error)
                rules.release(claim=claim, error=trace, detail="An unexpected error occurred each time.")
            case _:  # SystemExit, KeyboardInterrupt: the worker is being stopped
                rules.release(claim=claim, error="", counts=False)
    except LeaseLost:
        log.warning("lease_lost")
    except Exception as second:  # no database: the lease runs out, and the sweeper sees to it
        log.error("attempt_not_ended", exc_info=second)
