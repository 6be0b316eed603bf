"""The lease protocol of all work that outlives a request: claim, extend, settle, give back, sweep.

A claim is one conditional UPDATE that sets a new fencing token and a lease.  Whoever holds the token may extend the
lease and settle the row; whoever has lost it (the lease ran out and another attempt has begun, or the row is gone) gets
`LeaseLost`, and has changed nothing.  The sweeper gives back what no one holds any more, so that work whose process
dies each time ends after `DFD_MAX_ATTEMPTS`.

A transaction that changes a video and what belongs to it (analyses, evidence, verdicts) locks the video's row first.
Owners come before their videos, several videos in the order of their ids, models (`lock_models`) before videos.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar, cast
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from detection.models import State, Video
from detection.models.leasing import Leased, LeasedJob

MODELS_LOCK = 0x6D6F6465  # any number, the same in all processes
GRACE = timedelta(seconds=3)
"""A job this young is about to be published by whoever made it."""
SKEW = timedelta(seconds=3)
"""So far may the clocks of machines lie apart: work that one of them made due just now is due for all."""
FREED: dict[str, Any] = {"token": None, "lease_until": None}
LONGEST_ERROR = 8000

R = TypeVar("R", bound=Leased)
J = TypeVar("J", bound=LeasedJob)


class LeaseLost(Exception):
    """The claim's token is no longer the row's: stop, and leave no trace."""


@dataclass(frozen=True)
class Claim:
    """The right to work on the row `id`, for as long as `token` is the row's."""

    id: UUID
    token: UUID


@dataclass(frozen=True)
class JobClaim(Claim):
    """The right to one attempt at a job."""

    attempt: int


def job_lease() -> timedelta:
    """How long a job stays its holder's without a sign of life."""
    return timedelta(seconds=settings.DFD_LEASE_S)


class Leases(Generic[R]):
    """The rows of one model, each held by at most one worker.

    `holdable` are those that can be held at all: what falls out of it is lost to its holder.
    """

    def __init__(self, holdable: Callable[[], QuerySet[R]], *, length: Callable[[], timedelta] = job_lease) -> None:
        self._holdable, self._length = holdable, length

    def take(self, row_id: UUID, free: QuerySet[R], **changes: Any) -> tuple[R, UUID] | None:
        """Give the row a new token and a lease, if it is among `free`: the row and its token, else None."""
        token = uuid4()
        with transaction.atomic(savepoint=False):
            until = timezone.now() + self._length()
            if not free.filter(pk=row_id).update(token=token, lease_until=until, **changes):
                return None
            return self._holdable().defer("last_error").get(pk=row_id), token

    def held(self, claim: Claim) -> QuerySet[R]:
        """The row, if the claim still holds."""
        return self._holdable().filter(pk=claim.id, token=claim.token)

    def update(self, claim: Claim, **changes: Any) -> None:
        """Change the row.  Raises LeaseLost."""
        if not self.held(claim).update(**changes):
            raise LeaseLost(str(claim.id))

    def extend(self, claim: Claim, **changes: Any) -> None:
        """Hold the row for another lease.  Raises LeaseLost."""
        self.update(claim, lease_until=timezone.now() + self._length(), **changes)


class JobLeases(Leases[J]):
    """The jobs of one model: queued -> running under a lease -> ended, or queued again."""

    def __init__(self, model: type[J]) -> None:
        self._jobs: QuerySet[J] = model._default_manager.all()
        super().__init__(lambda: self._jobs.filter(state=State.RUNNING))

    def claim(
        self, job_id: UUID, jobs: QuerySet[J], *, due: Q | None = None, finite: bool = True, **changes: Any
    ) -> tuple[J, UUID] | None:
        """Take the job if it is among `jobs`, and queued and `due` or its lease has run out; else None.

        With `finite` a job whose lease has run out needs attempts left: the sweeper ends the others.
        """
        lost = Q(state=State.RUNNING, lease_until__lt=timezone.now())
        if finite:
            lost &= Q(attempts__lt=settings.DFD_MAX_ATTEMPTS)
        free = jobs.filter(Q(state=State.QUEUED) & (due or Q()) | lost)
        return self.take(job_id, free, state=State.RUNNING, attempts=F("attempts") + 1, **changes)

    def settle(self, claim: Claim, **changes: Any) -> None:
        """Leave `running`; `changes` say for which state.  Raises LeaseLost."""
        self.update(claim, **(FREED | changes))

    def give_back_unused(self, claim: Claim, **changes: Any) -> None:
        """Queue again as if it had not been tried: the worker is at fault.  Raises LeaseLost."""
        self.settle(claim, **({"state": State.QUEUED, "attempts": F("attempts") - 1, "published_at": None} | changes))

    def give_back(
        self, job: QuerySet[J], *, attempt: int, error: str, queued: Mapping[str, Any], ended: Mapping[str, Any]
    ) -> bool:
        """Queue again while attempts are left, else end; returns whether it is queued.

        `job` is the one row, with the conditions under which it may be taken.  Raises LeaseLost when they fail by now.
        """
        again = attempt < settings.DFD_MAX_ATTEMPTS
        changes: dict[str, Any] = {"state": State.QUEUED, "published_at": None} | dict(queued)
        if not again:
            changes = {"finished_at": timezone.now()} | dict(ended)
        if not job.update(**FREED, last_error=error[-LONGEST_ERROR:], **changes):
            raise LeaseLost
        return again

    def sweep(self, give_back: Callable[[J, UUID, QuerySet[J]], object], jobs: QuerySet[J], *, limit: int) -> int:
        """Give back the first `limit` of `jobs` whose lease has run out, each in a transaction; returns how many.

        `give_back` gets the job as it was read, its token, and the very lease that was read: a worker that came back in
        between, or another sweeper, has the better right.
        """
        moved = 0
        for job in jobs.filter(state=State.RUNNING, lease_until__lt=timezone.now())[:limit]:
            if job.token is None:
                continue
            same = self._jobs.filter(pk=job.pk, state=State.RUNNING, token=job.token, lease_until__lt=timezone.now())
            try:
                with transaction.atomic():
                    give_back(job, job.token, same)
            except LeaseLost:
                continue
            moved += 1
        return moved

    def unheard(self) -> QuerySet[J]:
        """Queued jobs that no worker was told of, or was told of in vain; oldest first."""
        now = timezone.now()
        untold = Q(published_at=None) & ~young(now)
        stale = Q(published_at__lt=now - timedelta(seconds=settings.DFD_REPUBLISH_S))
        return self._jobs.filter(untold | stale, state=State.QUEUED).order_by("created_at")


def young(now: datetime) -> Q:
    """Jobs that whoever made them is about to publish; not those of a time before the clock was put back."""
    return Q(created_at__range=(now - GRACE, now + GRACE))


def on_commit(call: Callable[[], object]) -> None:
    """Call it once the transaction has been committed; what it raises is logged, what it returns nobody reads."""
    transaction.on_commit(cast(Callable[[], None], call), robust=True)


def lock_video(video_id: UUID) -> bool:
    """Lock the video's row until the transaction ends; false where it is gone."""
    return bool(Video.objects.select_for_update(no_key=True).filter(pk=video_id).values_list("pk"))


def lock_models() -> None:
    """Lock which model is active and which run is open, until the transaction ends.

    No row will do: there may be no model and no run yet.  SQLite's transactions exclude each other anyway.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [MODELS_LOCK])
