"""One heartbeat for everything that is held under a lease."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any, Protocol, Self

import structlog
from django.conf import settings
from django.db import connection

from detection.services.jobs.leases import Claim, LeaseLost
from worker.process import stop_signal

log = structlog.get_logger(__name__)

WRITE_EVERY_S = 1.0
BEAT_S = 2.0
"""At most this long after its job was cancelled, work that says nothing of its progress has lost its lease."""


class ExtendsLease(Protocol):
    """A module of `detection.services.jobs`."""

    def heartbeat(self, *, claim: Any, progress: int) -> None:
        """Extend the lease.  Raises LeaseLost."""


class LeaseHeartbeat:
    """Keeps a claim's lease alive from a thread, however long one step of the work is silent.

    Call it with the progress (0 to 100) and what else the job's `heartbeat` takes; that is written at most once a
    second.  It raises LeaseLost once the claim is another's, so that the work stops.
    """

    def __init__(self, claim: Claim, jobs: ExtendsLease) -> None:
        self.claim, self._jobs = claim, jobs
        self._progress, self._details = 0, dict[str, Any]()
        self._written_at = time.monotonic()
        self._lost_at: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._extend_for_ever, name="heartbeat", daemon=True)

    def __call__(self, progress: float, **details: Any) -> None:
        """Note how far the work is.  Raises LeaseLost."""
        self._progress, self._details = int(progress), details
        stop_signal.check()  # its exception may have been lost in a library's callback
        if self._lost_at is not None:
            raise LeaseLost(str(self.claim.id))
        if time.monotonic() - self._written_at >= WRITE_EVERY_S:
            self._extend()

    def lost_for_s(self) -> float:
        """For how many seconds the claim has been known to be another's, or cancelled; 0 while it is held."""
        return 0.0 if self._lost_at is None else time.monotonic() - self._lost_at

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()

    def _extend(self) -> None:
        self._written_at = time.monotonic()
        self._jobs.heartbeat(claim=self.claim, progress=self._progress, **self._details)

    def _extend_for_ever(self) -> None:
        try:
            while not self._stop.wait(min(settings.DFD_LEASE_S / 3, BEAT_S)):
                try:
                    self._extend()
                except LeaseLost:
                    self._lost_at = time.monotonic()
                    return
                except Exception as error:  # the database may be back at the next beat; the lease decides
                    log.warning("heartbeat_failed", claim=str(self.claim.id), error=str(error))
        finally:
            connection.close()  # this thread's own
