"""Webhooks: who wants to be told, what is to be told, and when it is tried again.

    waiting ──an attempt succeeds──> delivered
       │ └──it fails: later, at doubled intervals up to an hour──┐
       └─<───────────────────────────────────────────────────────┘
       └──MAX_FAILURES attempts, about a day──> failed ("send again" in the admin starts anew)

The unit of work is the webhook, not the delivery: one worker at a time sends to it, and after a failure the whole of
it pauses.  So a receiver that is dead or slow costs one attempt a pause, however much waits for it.  After
MAX_FAILURES failures in a row it is disabled.

Rows are the truth; a message is a doorbell, and a webhook has one at a time.  With one a delivery, whoever has many
slow ones would fill the queue, and everybody else's would wait behind them.  The row knows the doorbell that is on its
way (`_ring`); only the message that carries it gets a turn, so the copies that are sent where none has come for long
count as one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from detection import dispatch, outbound_urls
from detection.errors import Refused
from detection.models import Analysis, DatasetVideo, DeliveryState, Verdict, Video, Webhook, WebhookDelivery
from detection.services.jobs.leases import FREED, SKEW, Claim, LeaseLost, Leases
from detection.services.jobs.left_out import models_own

log = structlog.get_logger(__name__)

TASK_FINISHED = "task.finished"
VERDICT_OVERRULED = "verdict.overruled"
VERDICT_REINSTATED = "verdict.reinstated"
MAX_WEBHOOKS = 10
"""Most webhooks of one user."""
MAX_FAILURES = 30
FIRST_PAUSE_S = 30
LONGEST_PAUSE_S = 3600
"""30 s, 1 min, 2 min, ..., then hourly: thirty attempts take 23 hours."""
LEASE = timedelta(seconds=60)
KEPT = timedelta(days=7)
SETTLED = timedelta(hours=1)
"""No transaction takes this long: a webhook that was removed before can be deleted."""
LOG_ENTRIES = 2 * MAX_FAILURES
BATCH = 1000
UNTOLD: dict[str, Any] = {"doorbell": None, "told_at": None}
PREFIX = "whsec_"
DISABLED = f"Disabled after {MAX_FAILURES} failed attempts in a row. Delete it, and create it anew when it answers."


@dataclass(frozen=True)
class Attempt:
    """One attempt.  `at` is ISO 8601; `status` HTTP's, or None; `error` a sentence, empty on success."""

    at: str
    seconds: float
    status: int | None
    error: str


@dataclass(frozen=True)
class WebhookClaim(Claim):
    """The right to send to a webhook."""

    url: str
    secret: str = field(repr=False)


# --- the owner's side ------------------------------------------------------------------------------------------------


def register(*, owner: AbstractBaseUser, url: str) -> Webhook:
    """Create a webhook with a new secret, to be shown once.

    Raises Refused `invalid_url`, `forbidden_address` or `too_many_webhooks`.
    """
    outbound_urls.parse(url)
    with transaction.atomic():
        list(get_user_model().objects.select_for_update(no_key=True).filter(pk=owner.pk).values_list("pk"))
        if webhooks_of(user=owner).count() >= MAX_WEBHOOKS:
            raise Refused("too_many_webhooks", f"You have {MAX_WEBHOOKS} webhooks already; delete one.", status=409)
        secret = PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
        return Webhook.objects.create(owner_id=owner.pk, url=url, secret=secret)


def webhooks_of(*, user: Any) -> QuerySet[Webhook]:
    """Return the user's own webhooks, newest first; nobody manages another's."""
    rows = (
        Webhook.objects.filter(owner_id=user.pk, removed_at=None) if user.is_authenticated else Webhook.objects.none()
    )
    return rows.order_by("-created_at", "-id")


def remove(*, webhook: Webhook) -> None:
    """Send nothing more.  The row stays a while: an analysis that ends at this moment may be adding a delivery."""
    now = timezone.now()
    with transaction.atomic():
        Webhook.objects.filter(pk=webhook.pk).update(removed_at=now, **FREED)
        _give_up(WebhookDelivery.objects.filter(webhook=webhook), now)


def sign(*, secret: str, delivery_id: UUID, timestamp: int, body: str) -> str:
    """Return the header `webhook-signature`, as the Standard Webhooks specification has it.

    That is `v1,` and the base64 of HMAC-SHA256 over `<id>.<timestamp>.<body>`, the key being what follows `whsec_`.
    """
    key = base64.b64decode(secret.removeprefix(PREFIX))
    digest = hmac.new(key, f"{delivery_id}.{timestamp}.{body}".encode(), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


# --- a task has ended ------------------------------------------------------------------------------------------------


def announce(*, analysis_id: UUID) -> None:
    """Add a delivery for each webhook of the video's owner, in the transaction that ends the analysis.

    Never raises and waits for no lock: the end of the analysis counts for more.
    """
    try:
        with transaction.atomic():
            ids = list(_webhooks_of(analysis_id).values_list("id", flat=True))
            if not ids:
                return
            rows = Analysis.objects.select_related("video", "verdict__model_version").defer("last_error")
            analysis = rows.get(id=analysis_id)
            _deliver(ids, TASK_FINISHED, analysis, analysis.finished_at or timezone.now(), _outcome(analysis))
    except Exception as error:
        log.error("webhooks_not_told", analysis=str(analysis_id), error=str(error))


def announce_people_say(*, video_id: UUID, before: str, after: str) -> None:
    """Tell webhooks where people now contradict the verdict that was told to them, or do so no more.

    `before` and `after` are what people said and say of the video: what they have settled, or empty.  In the
    transaction that changes it; never raises, as `announce`.  The verdict that was told is the model's on everybody.
    """
    if before == after:
        return
    try:
        with transaction.atomic():
            rows = Analysis.objects.filter(video_id=video_id, verdict__isnull=False).defer("last_error")
            analysis = rows.select_related("video", "verdict__model_version").order_by("-finished_at", "-id").first()
            if analysis is None or analysis.verdict is None:
                return
            verdict = _verdict(analysis.verdict, everybody=True)
            overruled = after not in ("", verdict["label"])
            if not overruled and before in ("", verdict["label"]):
                return
            event = VERDICT_OVERRULED if overruled else VERDICT_REINSTATED
            told = _webhooks_of(analysis.id).filter(created_at__lte=analysis.finished_at)
            data = _ids(analysis) | {"verdict": verdict, "label": after or None}
            _deliver(list(told.values_list("id", flat=True)), event, analysis, timezone.now(), data)
    except Exception as error:
        log.error("webhooks_not_told", video=str(video_id), error=str(error))


def _webhooks_of(analysis_id: UUID) -> QuerySet[Webhook]:
    """Return the active webhooks of the video's owner; none for a data set's video."""
    rows = Webhook.objects.filter(removed_at=None, disabled_at=None, owner__is_active=True)
    of_dataset = DatasetVideo.objects.filter(video__analyses=analysis_id)
    return rows.filter(~Exists(of_dataset), owner__videos__analyses=analysis_id)


def _deliver(
    webhook_ids: Sequence[UUID], event: str, analysis: Analysis, at: datetime, data: Mapping[str, Any]
) -> None:
    """Add a delivery for each webhook, and tell a worker after the commit."""
    body = json.dumps({"type": event, "timestamp": at.isoformat(), "data": data}, separators=(",", ":"))
    WebhookDelivery.objects.bulk_create(
        WebhookDelivery(webhook_id=key, event=event, video_id=analysis.video_id, task_id=analysis.id, body=body)
        for key in webhook_ids
    )
    for webhook_id in webhook_ids:
        transaction.on_commit(partial(_ring, webhook_id), robust=True)


def _ids(analysis: Analysis) -> dict[str, Any]:
    return {
        "task": str(analysis.id),
        "video": str(analysis.video_id),
        "external_id": analysis.video.external_id,
    }


def _verdict(verdict: Verdict, *, everybody: bool = False) -> dict[str, Any]:
    """The verdict as it stands, or what the model says of everybody."""
    names = ("label", "fake_probability", "assessment")
    said = models_own(verdict) if everybody else {name: getattr(verdict, name) for name in names}
    return {
        "label": said["label"],
        "fake_probability": said["fake_probability"],
        "threshold": verdict.threshold,
        "assessment": said["assessment"],
        "model_version": verdict.model_version.name,
    }


def _outcome(analysis: Analysis) -> dict[str, Any]:
    return _ids(analysis) | {
        "state": analysis.public_state,
        "error": {"code": analysis.error_code, "detail": analysis.error_detail} if analysis.error_code else None,
        "verdict": analysis.verdict and _verdict(analysis.verdict),
        "needs_review": Video.objects.values_list("needs_review", flat=True).get(id=analysis.video_id),
    }


def _ring(webhook_id: UUID) -> bool:
    """Tell a worker of the webhook, unless one is at it or knows already; false where the broker is known to be away.

    Nothing is lost.  A delivery is committed before this is called, so
    - where a doorbell is on its way, the worker to whom it comes looks for deliveries later than this;
    - where a worker is at the webhook, it ends its turn later than this, and then looks for deliveries (`release`);
    - where the webhook pauses, the worker or the message died, or both of the above met in one moment, the sweeper
      finds what is due, within its period or, if the row says that a doorbell is on its way, DFD_REPUBLISH_S.
    """
    now, doorbell = timezone.now(), uuid4()
    free = _free(now).filter(id=webhook_id)
    if not free.filter(doorbell=None).update(doorbell=doorbell, told_at=now):
        # The same again, not a new one: the first that comes is to count, and it stands further ahead in the queue.
        silent = free.filter(told_at__lt=now - _patience())
        known = silent.values_list("doorbell", flat=True).first()
        if known is None or not silent.filter(doorbell=known).update(told_at=now):
            return True
        doorbell = known
    return dispatch.wake_webhook(webhook_id=webhook_id, doorbell=doorbell)


def _patience() -> timedelta:
    return timedelta(seconds=settings.DFD_REPUBLISH_S)


# --- a worker's side -------------------------------------------------------------------------------------------------


def claim(*, webhook_id: UUID, doorbell: UUID | None = None) -> WebhookClaim | None:
    """Claim the webhook, or return None: claimed, paused after a failure, disabled or deleted.

    Also None where another message had the same `doorbell`, and came before.  Messages of earlier releases have none.
    """
    free = _free(timezone.now())
    if doorbell is not None:
        free = free.filter(doorbell=doorbell)
    taken = _leases.take(webhook_id, free, **UNTOLD)
    if taken is None:
        if doorbell is not None:  # it has come, and was of no use
            Webhook.objects.filter(id=webhook_id, doorbell=doorbell).update(**UNTOLD)
        return None
    row, token = taken
    return WebhookClaim(row.id, token, row.url, row.secret)


def next_due(*, claim: WebhookClaim) -> WebhookDelivery | None:
    """Return the delivery that has waited longest, and extend the lease.  Raises LeaseLost."""
    _leases.extend(claim)
    return _due(timezone.now()).filter(webhook_id=claim.id).order_by("not_before").first()


def record(*, claim: WebhookClaim, delivery: WebhookDelivery, attempt: Attempt) -> bool:
    """Store the outcome of an attempt; return whether more may be sent at once.  Raises LeaseLost."""
    now, sent = timezone.now(), not attempt.error
    row = WebhookDelivery.objects.filter(id=delivery.id)
    with transaction.atomic():
        webhook = _leases.held(claim).select_for_update(no_key=True).first()
        if webhook is None:
            raise LeaseLost(str(claim.id))
        attempts = delivery.attempts + 1
        row.update(attempts=attempts, log=[*delivery.log, asdict(attempt)][-LOG_ENTRIES:])
        if sent:
            row.update(state=DeliveryState.DELIVERED, ended_at=now)
            _leases.update(claim, failures=0, last_error="")
            return True
        if attempts >= MAX_FAILURES:
            row.update(state=DeliveryState.FAILED, ended_at=now)
        else:
            row.update(not_before=now + pause(attempts))
        failures = webhook.failures + 1
        _leases.update(claim, failures=failures, last_error=attempt.error[:300], not_before=now + pause(failures))
        if failures >= MAX_FAILURES:
            _leases.update(claim, disabled_at=now)
            _give_up(WebhookDelivery.objects.filter(webhook_id=claim.id), now)
            log.warning("webhook_disabled", webhook=str(claim.id), error=attempt.error)
    return False


def release(*, claim: WebhookClaim) -> None:
    """Release the webhook, and tell a worker of what came in meanwhile: `_ring` relies on this order."""
    _leases.held(claim).update(**FREED)
    if _due(timezone.now()).filter(webhook_id=claim.id).exists():
        _ring(claim.id)


def pause(failures: int) -> timedelta:
    """Return the pause after so many failures in a row, with some jitter."""
    seconds = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures - 1, 20))
    return timedelta(seconds=seconds * random.uniform(0.9, 1.1))  # nosec B311


# --- the operator and the sweeper ------------------------------------------------------------------------------------


def send_again(*, delivery: WebhookDelivery) -> None:
    """Send this delivery again from the beginning; enables a disabled webhook.  Raises Refused."""
    now = timezone.now()
    with transaction.atomic():
        standing = Webhook.objects.filter(id=delivery.webhook_id, removed_at=None, owner__is_active=True)
        if not standing.update(not_before=now, disabled_at=None, failures=0, **UNTOLD):
            raise Refused("webhook_removed", "Its owner has removed this webhook, or is deactivated.", status=409)
        WebhookDelivery.objects.filter(id=delivery.id).update(
            state=DeliveryState.WAITING, ended_at=None, attempts=0, not_before=now
        )
        transaction.on_commit(partial(_ring, delivery.webhook_id), robust=True)


def sweep() -> int:
    """Tell workers of what is due and delete old deliveries; return how many webhooks were told of."""
    now = timezone.now()
    due = _free(now).filter(Exists(_due(now).filter(webhook=OuterRef("pk"))))
    untold = due.filter(Q(doorbell=None) | Q(told_at__lt=now - _patience()))
    _give_up(WebhookDelivery.objects.filter(webhook__disabled_at__isnull=False), now)  # came in as it was disabled
    _give_up(WebhookDelivery.objects.filter(webhook__owner__is_active=False), now)
    told = 0
    for webhook_id in untold.order_by("not_before").values_list("id", flat=True)[:BATCH]:
        if not _ring(webhook_id):
            break  # the broker is away; the next sweep tries again
        told += 1
    old = WebhookDelivery.objects.filter(ended_at__lt=now - KEPT).order_by("ended_at").values_list("id", flat=True)
    WebhookDelivery.objects.filter(id__in=list(old[:BATCH])).delete()
    Webhook.objects.filter(removed_at__lt=now - SETTLED).delete()
    return told


# --- inside ----------------------------------------------------------------------------------------------------------


def _standing() -> QuerySet[Webhook]:
    """Return the webhooks that their owner wants, and may have.

    The owner is no join: an UPDATE would find its rows by a subquery, and Postgres does not look again at what is
    within one when it has waited for a row, so two workers could claim the same.
    """
    active = get_user_model().objects.filter(pk=OuterRef("owner"), is_active=True)
    return Webhook.objects.filter(Exists(active), removed_at=None)


def _free(now: datetime) -> QuerySet[Webhook]:
    """Return the webhooks that may be claimed."""
    unclaimed = Q(lease_until=None) | Q(lease_until__lt=now)
    return _standing().filter(unclaimed, disabled_at=None, not_before__lte=now)


def _due(now: datetime) -> QuerySet[WebhookDelivery]:
    return WebhookDelivery.objects.filter(state=DeliveryState.WAITING, not_before__lte=now + SKEW)


_leases = Leases(_standing, length=lambda: LEASE)


def _give_up(rows: QuerySet[WebhookDelivery], now: datetime) -> None:
    rows.filter(state=DeliveryState.WAITING).update(state=DeliveryState.FAILED, ended_at=now)
