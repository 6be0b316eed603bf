"""Shadow: a registered version scores new uploads silently, so that it can be compared before it is promoted.

    queued ──claim──> running ──> queued (after each turn) ... ──> ended (by a person, or after repeated failures)
      ^                 │
      └─ lease expired ─┘

It follows the clients' work and never stands in its way: what is scored are analyses that have ended, their verdict
stored and told, and a worker puts it down as soon as an analysis waits.  What it says is in a table of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from detection import dispatch
from detection.errors import Refused
from detection.models import (
    Analysis,
    AuditAction,
    FaceFrame,
    ModelKind,
    ModelVersion,
    ShadowScore,
    ShadowState,
    ShadowTrial,
    Stage,
    State,
)
from detection.services.jobs.leases import JobClaim, JobLeases, LeaseLost, lock_models, lock_video, on_commit
from detection.services.jobs.left_out import models_own
from detection.services.learning import local_figures
from detection.services.ops import audit

log = structlog.get_logger(__name__)

LATE = timedelta(minutes=10)
"""An analysis may be committed this long after the time that it ended at."""
MOST_FAILURES = 5
"""Failures in a row after which a trial is switched off."""


@dataclass(frozen=True)
class ShadowClaim(JobClaim):
    """The right to a turn at a trial."""

    model_version_id: UUID
    measured_at: datetime | None


@dataclass(frozen=True)
class Scored:
    """What came of one video; `fake_probability` is None where scoring failed."""

    analysis: Analysis
    fake_probability: float | None = None
    label: str = ""
    segments: Sequence[float] | None = None
    seconds: float | None = None


_leases = JobLeases(ShadowTrial)


# --- in and out ------------------------------------------------------------------------------------------------------


def start(*, model: ModelVersion, by: Any = None) -> ShadowTrial:
    """Put the version into shadow: it scores what is analysed from now on.

    Raises Refused `is_active`, `shadow_open` while another version (or this one) is in shadow.
    """
    with transaction.atomic():
        lock_models()  # neither two trials at once, nor one of a model that becomes active
        if ModelVersion.objects.filter(id=model.id, active=True).exists():
            raise Refused(
                "is_active", "It is the active model: its verdicts are what shadows are compared with.", status=409
            )
        other = ShadowTrial.objects.filter(open=True).select_related("model_version").first()
        if other is not None:
            raise Refused("shadow_open", f"{other.model_version} is in shadow; one version is at a time.", status=409)
        trial = ShadowTrial.objects.create(model_version=model, started_by=by)
        audit.record(AuditAction.SHADOW_STARTED, subject=f"model:{model.id}", by=by)
    return trial


def stop(*, model: ModelVersion, by: Any = None) -> ShadowTrial:
    """End the version's trial; what it said is kept.  Raises Refused `not_in_shadow`."""
    who = f" by {by}" if by else ""
    with transaction.atomic():
        lock_models()
        trial = ShadowTrial.objects.filter(model_version=model, open=True).first()
        if trial is None or not _end(ShadowTrial.objects.filter(id=trial.id, open=True), f"Switched off{who}."):
            raise Refused("not_in_shadow", f"{model} is not in shadow.", status=409)
        audit.record(AuditAction.SHADOW_ENDED, subject=f"model:{model.id}", by=by, facts={"scores_removed": 0})
    trial.refresh_from_db()
    return trial


def forget(*, model: ModelVersion, by: Any = None) -> int:
    """Remove everything that the version said in shadow, and its trials, open or not; return how many scores."""
    with transaction.atomic():
        lock_models()
        removed, _ = ShadowScore.objects.filter(model_version=model).delete()
        ShadowTrial.objects.filter(model_version=model).delete()
        facts = {"scores_removed": removed}
        audit.record(AuditAction.SHADOW_ENDED, subject=f"model:{model.id}", by=by, facts=facts)
    return removed


# --- a worker's side -------------------------------------------------------------------------------------------------


def claim(*, trial_id: UUID) -> ShadowClaim | None:
    """Claim a turn, or return None: it has ended, or a worker is at it."""
    taken = _leases.claim(trial_id, ShadowTrial.objects.filter(open=True))
    if taken is None:
        return None
    trial, token = taken
    return ShadowClaim(trial.id, token, trial.attempts, trial.model_version_id, trial.measured_at)


def heartbeat(*, claim: ShadowClaim, progress: int = 0) -> None:
    """Extend the lease; progress is not recorded.  Raises LeaseLost."""
    _leases.extend(claim)


def clients_wait() -> bool:
    """Return whether any analysis waits for a worker: then a shadow does not take one."""
    now = timezone.now()
    return Analysis.objects.filter(state=State.QUEUED, not_before__lte=now).exclude(stage=Stage.AWAITING_MODEL).exists()


def pending(*, trial_id: UUID, limit: int) -> list[Analysis]:
    """Return the next analyses with a verdict that the version can score and has not, the earliest first."""
    trial = ShadowTrial.objects.select_related("model_version").filter(id=trial_id).first()
    return list(_pending(trial)[:limit]) if trial else []


def store(*, claim: ShadowClaim, scored: Sequence[Scored]) -> None:
    """Keep what was scored, of videos that are still there.  Raises LeaseLost.

    After `MOST_FAILURES` in a row, over turns, the trial is switched off.
    """
    for each in scored:
        with transaction.atomic():
            known = lock_video(each.analysis.video_id)
            trial = _leases.held(claim).select_for_update(no_key=True).first()
            if trial is None:
                raise LeaseLost(str(claim.id))
            failures = trial.failures_in_row + 1 if each.fake_probability is None else 0
            seen = max(trial.seen_until, each.analysis.finished_at or trial.seen_until)
            _leases.update(claim, failures_in_row=failures, seen_until=seen)
            if known:
                _keep(claim, each)
            if failures >= MOST_FAILURES:
                _end_by_itself(claim, f"Switched off after {failures} failures in a row; the worker's log says why.")
                break


def keep_figures(*, claim: ShadowClaim, figures: Mapping[str, Any]) -> None:
    """Store how the version compares with the active model on the random audit.  Raises LeaseLost."""
    _leases.update(claim, figures=dict(figures), measured_at=timezone.now())


def finish_turn(*, claim: ShadowClaim, more: bool) -> None:
    """Put the trial back, for the next sweep or, if there is more to do now, for the next worker.  Raises LeaseLost."""
    _leases.settle(claim, state=ShadowState.QUEUED, attempts=0, published_at=None, last_error="")
    if more:
        on_commit(partial(dispatch.wake_shadow, trial_id=claim.id))


def finish_failed(*, claim: ShadowClaim, code: str, detail: str) -> None:
    """Switch the trial off: another turn would end the same way.  Raises LeaseLost."""
    with transaction.atomic():
        _leases.update(claim, last_error=code)
        _end_by_itself(claim, detail)


def release(*, claim: ShadowClaim, error: str, detail: str = "", counts: bool = True, wait_s: float = 0) -> None:
    """Put the trial back after a turn that broke, or switch it off when the attempts are used up.  Raises LeaseLost."""
    with transaction.atomic():
        if not counts:
            _leases.give_back_unused(claim, published_at=timezone.now() if wait_s else None)
            return
        _give_back(_leases.held(claim), attempt=claim.attempt, error=error, detail=detail)


def sweep() -> int:
    """Give back what a dead worker held, end the trial of a model that is active, and ring where there is work."""
    moved = _leases.sweep(_expired, ShadowTrial.objects.filter(open=True), limit=1)
    for trial in ShadowTrial.objects.filter(open=True).select_related("model_version"):
        if trial.model_version.active:
            moved += _end(ShadowTrial.objects.filter(id=trial.id, open=True), "It has become the active model.")
        elif _leases.unheard().filter(id=trial.id).exists() and _has_work(trial) and not clients_wait():
            moved += dispatch.wake_shadow(trial_id=trial.id)
    return moved


# --- inside ----------------------------------------------------------------------------------------------------------


def _pending(trial: ShadowTrial) -> QuerySet[Analysis]:
    known = ShadowScore.objects.filter(
        video=OuterRef("video"), model_version=trial.model_version_id, scored_at__gte=OuterRef("finished_at")
    )
    since = max(trial.created_at, trial.seen_until - LATE)
    rows = Analysis.objects.filter(state=State.SUCCEEDED, finished_at__gte=since, verdict__isnull=False)
    rows = rows.filter(~Exists(known), video__dataset_video=None).order_by("finished_at")
    if trial.model_version.kind == ModelKind.ONNX_FRAMES:
        rows = rows.filter(video__original_removed_at=None)
    else:
        rows = rows.filter(Exists(FaceFrame.objects.filter(video=OuterRef("video"))))
    return rows.select_related("verdict").defer("verdict__people", "last_error")


def _has_work(trial: ShadowTrial) -> bool:
    due = trial.measured_at is None or trial.measured_at < timezone.now() - local_figures.EVERY
    return _pending(trial).exists() or (
        due and ShadowScore.objects.filter(model_version=trial.model_version_id).exists()
    )


def _keep(claim: ShadowClaim, scored: Scored) -> None:
    verdict = scored.analysis.verdict
    if verdict is None or not ModelVersion.objects.filter(id=claim.model_version_id).exists():
        return
    own = models_own(verdict)  # as the version's score: of everybody, also where reviewers left somebody out since
    seconds = scored.analysis.timings.get("classify") if isinstance(scored.analysis.timings, Mapping) else None
    ShadowScore.objects.update_or_create(
        video_id=scored.analysis.video_id,
        model_version_id=claim.model_version_id,
        defaults={
            "fake_probability": scored.fake_probability,
            "label": scored.label,
            "segments": list(scored.segments) if scored.segments is not None else None,
            "seconds": scored.seconds,
            "champion_id": verdict.model_version_id,
            "champion_probability": own["fake_probability"],
            "champion_label": own["label"],
            "champion_seconds": seconds if isinstance(seconds, int | float) else None,
            "scored_at": timezone.now(),
        },
    )


def _end(rows: QuerySet[ShadowTrial], sentence: str, **changes: Any) -> int:
    return rows.update(
        state=ShadowState.ENDED, open=False, ended_because=sentence[:500], finished_at=timezone.now(),
        token=None, lease_until=None, **changes,
    )  # fmt: skip


def _end_by_itself(claim: ShadowClaim, sentence: str) -> None:
    if not _end(_leases.held(claim), sentence):
        raise LeaseLost(str(claim.id))
    _record_end(claim.model_version_id)
    log.warning("shadow_switched_off", model=str(claim.model_version_id), reason=sentence)


def _record_end(model_id: UUID) -> None:
    audit.record(AuditAction.SHADOW_ENDED, subject=f"model:{model_id}", facts={"scores_removed": 0})


def _give_back(job: QuerySet[ShadowTrial], *, attempt: int, error: str, detail: str) -> None:
    model_id = job.values_list("model_version_id", flat=True).first()
    sentence = f"Switched off after {attempt} turns that broke. {detail}".strip()
    ended = {"state": ShadowState.ENDED, "open": False, "ended_because": sentence[:500]}
    if not _leases.give_back(job, attempt=attempt, error=error, queued={}, ended=ended) and model_id:
        _record_end(model_id)


def _expired(row: ShadowTrial, token: UUID, same: QuerySet[ShadowTrial]) -> None:
    _give_back(
        same, attempt=row.attempts, error=f"The lease ran out at {row.lease_until}.",
        detail="Each time the process that scored ended without a word.",
    )  # fmt: skip
