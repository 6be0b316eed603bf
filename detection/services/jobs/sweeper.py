"""Requeue analyses whose lease expired and republish messages that the broker lost.

Runs every DFD_SWEEP_S seconds, in batches, and reads open rows only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from detection import dispatch
from detection.models import (
    Analysis,
    ChoreRun,
    DeliveryState,
    EvidenceJob,
    ModelVersion,
    ResumableUpload,
    ReviewClaim,
    ShadowTrial,
    Stage,
    State,
    TrainingRun,
    Webhook,
    WebhookDelivery,
)
from detection.services.jobs import analyses, webhook_deliveries
from detection.services.jobs.leases import job_lease, young
from detection.services.ops.chores import SWEEP
from detection.services.uploads import holds

log = structlog.get_logger(__name__)

BATCH = 500


@dataclass(frozen=True)
class SweepReport:
    """What one sweep did; `more` means that a batch was full and the next sweep should follow at once."""

    given_back: int
    given_up: int
    models_found: int
    published: int
    more: bool


def sweep() -> SweepReport:
    """Requeue expired analyses, wake those that waited for a model, and republish lost messages."""
    clamp_future_timestamps(everywhere=_last_sweep_lies_ahead())
    ended = analyses.give_back_expired()
    given_back, given_up = ended[State.QUEUED], ended[State.DEAD]
    models_found = wake_waiting()
    published, stopped_short = _publish()
    full = given_back + given_up == analyses.EXPIRED_AT_ONCE
    report = SweepReport(given_back, given_up, models_found, published, more=full or stopped_short)
    if given_back or given_up or models_found or published:
        log.info("swept", given_back=given_back, given_up=given_up, models_found=models_found, published=published)
    return report


def clamp_future_timestamps(*, everywhere: bool = True) -> int:
    """Reset timestamps that lie further ahead than any that is ever set (the clock was set back); return how many.

    They count from now on: a live worker renews its lease, a dead one loses it in time.  Without `everywhere` those of
    analyses only, which indexes find.
    """
    now = timezone.now()
    pause = timedelta(seconds=max(analyses.STORAGE_WAIT_S, analyses.backoff_s(settings.DFD_MAX_ATTEMPTS)))
    changed = _clamp_jobs(Analysis.objects.all(), now, pause)
    changed += _clamp_pauses(Analysis.objects.filter(state=State.QUEUED), now, pause)
    if everywhere:
        changed += _clamp_others(now, pause)
    if changed:
        log.warning("clock_was_put_back", rows=changed)
    return changed


def _last_sweep_lies_ahead() -> bool:
    return ChoreRun.objects.filter(name=SWEEP, ran_at__gt=timezone.now()).exists()


def _clamp_others(now: datetime, pause: timedelta) -> int:
    changed = sum(_clamp_jobs(kind.objects.all(), now, pause) for kind in (EvidenceJob, TrainingRun, ShadowTrial))
    changed += _clamp(Webhook.objects.all(), "lease_until", webhook_deliveries.LEASE, now)
    changed += Webhook.objects.filter(told_at__gt=now + pause).update(told_at=now)
    changed += _clamp(ReviewClaim.objects.all(), "until", timedelta(seconds=settings.DFD_REVIEW_LEASE_S), now)
    changed += _clamp(ResumableUpload.objects.all(), "held_until", holds.HELD, now)
    longest = timedelta(seconds=webhook_deliveries.LONGEST_PAUSE_S)
    waiting = WebhookDelivery.objects.filter(webhook__in=Webhook.objects.all(), state=DeliveryState.WAITING)
    return changed + _clamp_pauses(Webhook.objects.all(), now, longest) + _clamp_pauses(waiting, now, longest)


def _clamp_jobs(rows: QuerySet[Any], now: datetime, pause: timedelta) -> int:
    told = rows.filter(state=State.QUEUED, published_at__gt=now + pause).update(published_at=now)
    return told + _clamp(rows.filter(state=State.RUNNING), "lease_until", job_lease(), now)


def _clamp_pauses(rows: QuerySet[Any], now: datetime, longest: timedelta) -> int:
    return rows.filter(not_before__gt=now + 2 * longest).update(not_before=now)


def _clamp(held: QuerySet[Any], until: str, length: timedelta, now: datetime) -> int:
    """Let leases of this length end from now on, where they end later than any would; return how many."""
    return held.filter(**{f"{until}__gt": now + 2 * length}).update(**{until: now + length})


def wake_waiting() -> int:
    """Let analyses that waited for a model continue, if one is active; return how many.  The caller publishes."""
    if not ModelVersion.objects.filter(active=True).exists():
        return 0
    return Analysis.objects.filter(state=State.QUEUED, stage=Stage.AWAITING_MODEL).update(
        stage=Stage.CLASSIFY, not_before=timezone.now(), published_at=None
    )


def _publish() -> tuple[int, bool]:
    """Publish due rows that no worker was told of, or in vain; return (how many, whether there are more)."""
    published, more = 0, False
    for stage in (Stage.EXTRACT, Stage.CLASSIFY):
        now = timezone.now()
        due = Analysis.objects.filter(state=State.QUEUED, stage=stage, not_before__lte=now).order_by("not_before")
        untold = due.filter(published_at=None).exclude(young(now))
        stale = due.filter(published_at__lt=now - timedelta(seconds=settings.DFD_REPUBLISH_S))
        rows = list(untold.values_list("id", flat=True)[:BATCH])
        more |= len(rows) == BATCH
        if stale.exists():
            # Only what the broker no longer has.
            rows += list(stale.values_list("id", flat=True)[: min(dispatch.missing(stage=stage), BATCH)])
        for analysis_id in rows:
            if not dispatch.wake(analysis_id=analysis_id, stage=stage):
                return published, False  # the broker is away; the next sweep tries again
            published += 1
    return published, more
