"""Training runs: begun, kept alive, ended.  As with analyses the database owns the truth; a lease says who is at it.

    queued ──claim──> running ──> succeeded (a candidate and a report; the gate says whether it was promoted)
      ^                 │ │ └──> refused   (too little to learn from: a sentence)
      └─ lease expired ─┘ └────> failed    (the attempts are used up, or the program is at fault)

A run that is taken up again goes on from its checkpoints.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone

from detection import dispatch
from detection.errors import Refused
from detection.models import ModelVersion, RunState, Snapshot, TrainingRun
from detection.services.jobs.leases import LONGEST_ERROR, JobClaim, JobLeases, LeaseLost, lock_models, on_commit

OPEN_RUNS = (RunState.QUEUED, RunState.RUNNING)


BATCH = 100
BUSY = "Another process is at this run; the admin shows how it goes."
RunClaim = JobClaim
_leases = JobLeases(TrainingRun)


def request_run(*, options: Mapping[str, Any], by: Any = None, publish: bool = True) -> TrainingRun:
    """Queue a run and tell a worker of the queue `train`, unless the caller does the work.

    Raises Refused `training_open` while another run is open: two at once would only slow each other down.
    """
    with transaction.atomic():
        lock_models()  # two requests at once must not both find nothing open
        busy = TrainingRun.objects.filter(state__in=OPEN_RUNS).first()
        if busy is not None:
            raise Refused(
                "training_open",
                f"The training run of {busy.created_at:%Y-%m-%d %H:%M} has not ended yet; wait for it, or go on with it"
                " (manage.py retrain --resume) or give it up (--give-up) if its worker is gone.",
                status=409,
            )
        run = TrainingRun.objects.create(options=dict(options), requested_by=by)
        if publish:
            on_commit(partial(dispatch.wake_trainer, run_id=run.id))
    return run


def claim(*, run_id: UUID, worker: str) -> RunClaim | None:
    """Claim the run, or return None: it has ended or is claimed."""
    taken = _leases.claim(
        run_id,
        TrainingRun.objects.all(),
        finite=False,  # a terminal's may be taken up as often as somebody likes
        worker=worker[:120],
        started_at=Coalesce(F("started_at"), timezone.now()),
    )
    return RunClaim(run_id, taken[1], taken[0].attempts) if taken else None


def heartbeat(*, claim: RunClaim, progress: int, phase: str = "") -> None:
    """Extend the lease; store phase and progress (0 to 100).  Raises LeaseLost."""
    phases = {"phase": phase[:80]} if phase else {}
    _leases.extend(claim, progress=max(0, min(100, progress)), **phases)


def hold(*, claim: RunClaim) -> None:
    """Lock the run until this transaction ends, so that nobody takes it.  Raises LeaseLost."""
    if not _leases.held(claim).select_for_update(no_key=True).values_list("pk"):
        raise LeaseLost(str(claim.id))


def note_epoch(*, claim: RunClaim, entry: Mapping[str, Any]) -> None:
    """Append an epoch to the history; one reported again after a resume replaces what followed."""
    with transaction.atomic():
        run = _leases.held(claim).select_for_update(no_key=True).first()
        if run is None:
            raise LeaseLost(str(claim.id))
        key = (entry.get("stage"), entry.get("epoch"))
        history = list(run.history)
        places = [k for k, old in enumerate(history) if (old.get("stage"), old.get("epoch")) == key]
        run.history = [*(history[: places[0]] if places else history), dict(entry)]
        run.save(update_fields=["history"])


def note_snapshot(*, claim: RunClaim, snapshot: Snapshot | None, parent: ModelVersion | None) -> None:
    """Store the run's snapshot and the model it starts from.  Raises LeaseLost."""
    _leases.update(claim, snapshot=snapshot, parent=parent)


def finish(
    *,
    claim: RunClaim,
    state: RunState,
    message: str,
    candidate: ModelVersion | None = None,
    metrics: Mapping[str, Any] | None = None,
    gate: Mapping[str, Any] | None = None,
    report: str = "",
    error: str = "",
) -> None:
    """End as succeeded, refused or failed, with a sentence.  Raises LeaseLost."""
    _leases.settle(
        claim,
        state=state,
        message=message[:1000],
        candidate=candidate,
        metrics=dict(metrics or {}),
        gate=dict(gate or {}),
        report=report,
        last_error=error[-LONGEST_ERROR:],
        progress=100,
        phase="",
        finished_at=timezone.now(),
    )


def finish_failed(*, claim: RunClaim, code: str, detail: str) -> None:
    """End as failed: a retry would not help.  Raises LeaseLost."""
    finish(claim=claim, state=RunState.FAILED, message=detail, error=code)


def release(*, claim: RunClaim, error: str, detail: str = "", counts: bool = True, wait_s: float = 0) -> None:
    """Requeue the run, or end it as failed when its attempts are used up.  Raises LeaseLost.

    `error` is for the operator; the run's message says only that it was given up.  With `counts` false (the worker is
    stopping, storage is away) the attempt does not count, and with `wait_s` no worker is told at once.
    """
    if not counts:
        told = timezone.now() if wait_s else None
        _leases.give_back_unused(claim, published_at=told, last_error=error[-LONGEST_ERROR:])
        return
    sentence = f"Given up after {claim.attempt} attempts; the operator finds the last error in the run."
    ended = {"state": RunState.FAILED, "message": sentence, "progress": 100, "phase": ""}
    _leases.give_back(_leases.held(claim), attempt=claim.attempt, error=error, queued={}, ended=ended)


def give_up(*, run_id: UUID) -> None:
    """End an open run that nobody works at, so that another can be started.  Raises Refused `training_open`."""
    taken = claim(run_id=run_id, worker="")
    if taken is None:
        raise Refused("training_open", BUSY, status=409)
    finish(claim=taken, state=RunState.FAILED, message="Given up at the terminal.")


def unfinished_run() -> TrainingRun | None:
    """Return the newest open run, or None."""
    return TrainingRun.objects.filter(state__in=OPEN_RUNS).first()


def wait_for_lease(*, run_id: UUID) -> None:
    """Return once nobody holds the run.

    Raises Refused `training_open` when the lease is being extended: a live process has it.
    """
    before = TrainingRun.objects.values_list("lease_until", flat=True).get(id=run_id)
    while True:
        lease = TrainingRun.objects.values_list("lease_until", flat=True).get(id=run_id)
        if lease is None or lease < timezone.now():
            return
        if before is not None and lease > before:
            raise Refused("training_open", BUSY, status=409)
        time.sleep(1.0)


def sweep() -> int:
    """Requeue or end runs whose lease expired, and republish queued ones; return how many.

    Runs of a terminal are left to `retrain --resume`.
    """
    of_workers = Q(options__foreground=False) | Q(options__foreground__isnull=True)
    moved = _leases.sweep(_give_back_expired, TrainingRun.objects.filter(of_workers), limit=BATCH)
    for run_id in _leases.unheard().filter(of_workers).values_list("id", flat=True)[:BATCH]:
        if not dispatch.wake_trainer(run_id=run_id):
            break  # the broker is away; the next sweep tries again
        moved += 1
    return moved


def _give_back_expired(run: TrainingRun, token: UUID, same: QuerySet[TrainingRun]) -> None:
    error = f"Attempt {run.attempts}: worker {run.worker or '?'} was killed, lost its database, or hung."
    sentence = f"Given up after {run.attempts} attempts: each time its process ended without a word."
    ended = {"state": RunState.FAILED, "message": sentence}
    _leases.give_back(same, attempt=run.attempts, error=error, queued={}, ended=ended)
