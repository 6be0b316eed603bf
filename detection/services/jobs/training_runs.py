"""Training runs: begun, kept alive, ended.  As with analyses the database owns the truth; a lease says who is at it.

    queued ──claim──> running ──> succeeded (a candidate and a report; the gate says whether it was promoted)
      ^                 │ │ └──> refused   (too little to learn from: a sentence)
      └─ lease expired ─┘ └────> failed    (the attempts are used up, or the program is at fault)

A run that is taken up again goes on from its checkpoints.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from detection import dispatch
from detection.errors import Refused
from detection.models import ModelVersion, RunState, Snapshot, TrainingRun
from detection.services.jobs.leases import LeaseLost, lock_models

OPEN_RUNS = (RunState.QUEUED, RunState.RUNNING)


@dataclass(frozen=True)
class RunClaim:
    """The right to work on a run, for as long as `token` is the row's."""

    run_id: UUID
    token: UUID
    attempt: int


def request_run(*, options: Mapping[str, Any], by: Any = None, publish: bool = True) -> TrainingRun:
    """A new run; a worker of the queue `train` is told, unless the caller does the work itself.

    Raises Refused `training_open` while another is queued or running: two at once would only slow each other down.
    """
    with transaction.atomic():
        lock_models()  # two requests at once must not both find nothing open
        busy = TrainingRun.objects.filter(state__in=OPEN_RUNS).first()
        if busy is not None:
            raise Refused(
                "training_open",
                f"The training run of {busy.created_at:%Y-%m-%d %H:%M} has not ended yet; wait for it, or go on with it"
                " (manage.py retrain --resume) if its worker is gone.",
                status=409,
            )
        run = TrainingRun.objects.create(options=dict(options), requested_by=by)
        if publish:
            transaction.on_commit(partial(_publish, run.id), robust=True)
    return run


def claim_run(*, run_id: UUID, worker: str) -> RunClaim | None:
    """Take the run, or None: it has ended, or somebody is at it."""
    now, token = timezone.now(), uuid4()
    taken = TrainingRun.objects.filter(
        Q(state=RunState.QUEUED) | Q(state=RunState.RUNNING, lease_until__lt=now), id=run_id
    ).update(
        state=RunState.RUNNING,
        token=token,
        lease_until=_lease(),
        attempts=F("attempts") + 1,
        worker=worker[:120],
        started_at=Coalesce(F("started_at"), now),
    )
    if not taken:
        return None
    return RunClaim(
        run_id=run_id, token=token, attempt=TrainingRun.objects.values_list("attempts", flat=True).get(id=run_id)
    )


def beat(*, claim: RunClaim, phase: str = "", progress: int | None = None) -> None:
    """Extend the lease; what is being done, and how far it is (0 to 100).  Raises LeaseLost."""
    changes: dict[str, Any] = {"lease_until": _lease()}
    if phase:
        changes["phase"] = phase[:80]
    if progress is not None:
        changes["progress"] = max(0, min(100, progress))
    _update(claim, **changes)


def hold(*, claim: RunClaim) -> None:
    """In the transaction that changes something for the run: nobody takes it away until the end of that.

    Raises LeaseLost when somebody has.
    """
    rows = TrainingRun.objects.select_for_update(no_key=True)
    if not rows.filter(id=claim.run_id, token=claim.token, state=RunState.RUNNING).values_list("pk"):
        raise LeaseLost(str(claim.run_id))


def note_epoch(*, claim: RunClaim, entry: Mapping[str, Any]) -> None:
    """Append one epoch to the history; an epoch that is reported again after a resume replaces what followed."""
    with transaction.atomic():
        run = TrainingRun.objects.select_for_update().filter(id=claim.run_id, token=claim.token).first()
        if run is None:
            raise LeaseLost(str(claim.run_id))
        key = (entry.get("stage"), entry.get("epoch"))
        history = list(run.history)
        places = [k for k, old in enumerate(history) if (old.get("stage"), old.get("epoch")) == key]
        run.history = [*(history[: places[0]] if places else history), dict(entry)]
        run.save(update_fields=["history"])


def note_snapshot(*, claim: RunClaim, snapshot: Snapshot, parent: ModelVersion | None) -> None:
    """What the run learns from, and which model it starts at.  Raises LeaseLost."""
    _update(claim, snapshot=snapshot, parent=parent)


def end_run(
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
    """Succeeded, refused or failed, with a sentence.  Raises LeaseLost."""
    _update(
        claim,
        state=state,
        message=message[:1000],
        candidate=candidate,
        metrics=dict(metrics or {}),
        gate=dict(gate or {}),
        report=report,
        last_error=error[-8000:],
        progress=100,
        phase="",
        token=None,
        lease_until=None,
        finished_at=timezone.now(),
    )


def release_run(*, claim: RunClaim, error: str = "", counts: bool = True) -> None:
    """Give the run back, to be taken up again; or end it when its attempts are used up.  Raises LeaseLost.

    With `counts` false (the worker is being stopped) the attempt does not count.
    """
    if counts and claim.attempt >= settings.DFD_MAX_ATTEMPTS:
        sentence = f"Given up after {claim.attempt} attempts; the operator finds the last error in the run."
        end_run(claim=claim, state=RunState.FAILED, message=sentence, error=error)
        return
    changes: dict[str, Any] = {} if counts else {"attempts": F("attempts") - 1}
    _update(
        claim,
        state=RunState.QUEUED,
        token=None,
        lease_until=None,
        published_at=None,
        last_error=error[-8000:],
        **changes,
    )


def unfinished_run() -> TrainingRun | None:
    """The newest run that has not ended."""
    return TrainingRun.objects.filter(state__in=OPEN_RUNS).first()


def wait_for_lease(*, run_id: UUID) -> None:
    """Returns once nobody holds the run any more.

    Raises Refused `training_open` when the lease is being extended: a living process is at it.
    """
    before = TrainingRun.objects.values_list("lease_until", flat=True).get(id=run_id)
    while True:
        lease = TrainingRun.objects.values_list("lease_until", flat=True).get(id=run_id)
        if lease is None or lease < timezone.now():
            return
        if before is not None and lease > before:
            raise Refused("training_open", "Another process is at this run; the admin shows how it goes.", status=409)
        time.sleep(1.0)


def sweep_runs() -> int:
    """Runs whose worker is gone go back to the queue, or end; queued ones are published again.  Returns how many."""
    now = timezone.now()
    moved = 0
    for run in TrainingRun.objects.filter(state=RunState.RUNNING, lease_until__lt=now):
        gone = TrainingRun.objects.filter(id=run.id, token=run.token, lease_until__lt=now)
        error = f"Attempt {run.attempts}: worker {run.worker or '?'} was killed, lost its database, or hung."
        if run.options.get("foreground"):
            continue  # a terminal's; `retrain --resume` takes it up
        if run.attempts >= settings.DFD_MAX_ATTEMPTS:
            sentence = f"Given up after {run.attempts} attempts: each time its process ended without a word."
            moved += gone.update(
                state=RunState.FAILED, message=sentence, last_error=error, finished_at=now, token=None, lease_until=None
            )
        else:
            moved += gone.update(
                state=RunState.QUEUED, last_error=error, token=None, lease_until=None, published_at=None
            )
    stale = Q(published_at=None) | Q(published_at__lt=now - timedelta(seconds=settings.DFD_REPUBLISH_S))
    for run in TrainingRun.objects.filter(stale, state=RunState.QUEUED).exclude(options__foreground=True):
        moved += _publish(run.id)
    return moved


def _publish(run_id: UUID) -> bool:
    told = dispatch.wake_trainer(run_id=run_id)
    if told:
        TrainingRun.objects.filter(id=run_id).update(published_at=timezone.now())
    return told


def _lease() -> Any:
    return timezone.now() + timedelta(seconds=settings.DFD_LEASE_S)


def _update(claim: RunClaim, **changes: Any) -> None:
    mine = TrainingRun.objects.filter(id=claim.run_id, token=claim.token, state=RunState.RUNNING)
    if not mine.update(**changes):
        raise LeaseLost(str(claim.run_id))
