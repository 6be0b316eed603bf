"""Webhooks: what is to be told when a task ends, to whom, and when it is tried again."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from detection.errors import Refused
from detection.models import (
    Analysis,
    DatasetVideo,
    DeliveryState,
    ModelVersion,
    Stage,
    State,
    Video,
    Webhook,
    WebhookDelivery,
)
from detection.services.jobs import analyses, webhook_deliveries
from detection.services.jobs.leases import LeaseLost
from detection.services.jobs.webhook_deliveries import Attempt, WebhookClaim
from tests.detection.conftest import Doorbell, MakeVideo, claimed, extraction, verdict

pytestmark = pytest.mark.django_db
Committed = Callable[..., AbstractContextManager[Any]]
SEND = "worker.tasks.send_webhooks"


@pytest.fixture
def hook(video: Video) -> Webhook:
    return webhook_deliveries.register(owner=video.owner, url="https://example.org/hook")


def finished(video: Video, *, code: str = "corrupt_video") -> Analysis:
    """A task of the video that has ended, the quickest way."""
    analysis = analyses.queue_analysis(video=video)
    analyses.finish_failed(claim=claimed(analysis), code=code, detail="It cannot be read.")
    return analysis


def waiting(hook: Webhook) -> WebhookDelivery:
    return WebhookDelivery.objects.get(webhook=hook, state=DeliveryState.WAITING)


def take(hook: Webhook) -> WebhookClaim:
    claim = webhook_deliveries.claim(webhook_id=hook.id)
    assert claim is not None
    return claim


def came(error: str = "") -> Attempt:
    return Attempt(at=timezone.now().isoformat(), seconds=0.1, status=500 if error else 204, error=error)


def make_due(hook: Webhook) -> None:
    """Its pauses are over."""
    past = timezone.now() - timedelta(seconds=1)
    Webhook.objects.filter(id=hook.id).update(not_before=past)
    WebhookDelivery.objects.filter(webhook=hook).update(not_before=past)


def try_once(hook: Webhook, error: str = "") -> bool:
    claim = take(hook)
    delivery = webhook_deliveries.next_due(claim=claim)
    assert delivery is not None
    go_on = webhook_deliveries.record(claim=claim, delivery=delivery, attempt=came(error))
    webhook_deliveries.release(claim=claim)
    return go_on


def told(doorbell: Doorbell) -> list[UUID]:
    """The webhooks of which workers were told."""
    return [UUID(args[0]) for task, args in doorbell.rung if task == SEND]


def rings(doorbell: Doorbell) -> list[UUID]:
    """What those messages carry."""
    return [UUID(args[1]) for task, args in doorbell.rung if task == SEND]


# --- who is told what ------------------------------------------------------------------------------------------------


def test_a_verdict_is_told_with_ids_label_and_probability(
    video: Video,
    hook: Webhook,
    model: ModelVersion,
    tmp_path: Path,
    doorbell: Doorbell,
    django_capture_on_commit_callbacks: Committed,
) -> None:
    Video.objects.filter(id=video.id).update(external_id="case 17")
    analysis = analyses.queue_analysis(video=video)
    analyses.finish_extraction(claim=claimed(analysis), result=extraction(tmp_path))
    assert not WebhookDelivery.objects.exists()  # that was no end
    with django_capture_on_commit_callbacks(execute=True):
        analyses.finish_classification(claim=claimed(analysis, Stage.CLASSIFY), result=verdict(model))
        assert told(doorbell) == []
    assert told(doorbell) == [hook.id]
    body = json.loads(waiting(hook).body)
    assert body.keys() == {"type", "timestamp", "data"}
    assert body["type"] == "task.finished"
    assert body["data"] == {
        "task": str(analysis.id),
        "video": str(video.id),
        "external_id": "case 17",
        "state": "succeeded",
        "error": None,
        "verdict": {"label": "fake", "fake_probability": 0.9, "threshold": 0.5, "assessment": "", "model_version": "m"},
        "needs_review": True,
    }


def test_no_face_a_failure_and_giving_up_are_ends_too(make_video: MakeVideo, tmp_path: Path, settings: Any) -> None:
    first, second, third = (make_video() for _ in range(3))
    webhook_deliveries.register(owner=first.owner, url="https://example.org/hook")
    analyses.finish_no_face(claim=claimed(analyses.queue_analysis(video=first)), result=extraction(tmp_path, tracks=0))
    finished(second)
    settings.DFD_MAX_ATTEMPTS = 1
    analyses.release(claim=claimed(analyses.queue_analysis(video=third)), error="it died")
    told = [
        json.loads(body)["data"]
        for body in WebhookDelivery.objects.order_by("created_at").values_list("body", flat=True)
    ]
    assert [(t["state"], t["needs_review"], t["error"] and t["error"]["code"]) for t in told] == [
        ("no_face", True, None),
        ("failed", False, "corrupt_video"),
        ("failed", False, "gave_up"),
    ]
    assert [t["video"] for t in told] == [str(v.id) for v in (first, second, third)]


def test_every_webhook_of_the_owner_is_told_and_of_nobody_else(video: Video, hook: Webhook) -> None:
    second = webhook_deliveries.register(owner=video.owner, url="https://example.org/second")
    removed = webhook_deliveries.register(owner=video.owner, url="https://example.org/removed")
    webhook_deliveries.remove(webhook=removed)
    disabled = webhook_deliveries.register(owner=video.owner, url="https://example.org/disabled")
    Webhook.objects.filter(id=disabled.id).update(disabled_at=timezone.now())
    webhook_deliveries.register(owner=User.objects.create_user("other"), url="https://example.org/")
    finished(video)
    assert set(WebhookDelivery.objects.values_list("webhook", flat=True)) == {hook.id, second.id}


def test_videos_of_data_sets_are_told_to_nobody(video: Video, hook: Webhook) -> None:
    DatasetVideo.objects.create(video=video, dataset="lab", path="a.mp4", label="real", identity="a")
    finished(video)
    assert not WebhookDelivery.objects.exists()


def test_an_end_that_is_undone_tells_nobody(video: Video, hook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("after the end, before the commit")

    analysis = analyses.queue_analysis(video=video)
    claim = claimed(analysis)
    monkeypatch.setattr(analyses, "on_commit", fail)
    with pytest.raises(RuntimeError):
        analyses.finish_failed(claim=claim, code="corrupt_video", detail="It cannot be read.")
    assert not WebhookDelivery.objects.exists()
    analysis.refresh_from_db()
    assert analysis.state == State.RUNNING


def test_trouble_with_webhooks_never_keeps_a_task_from_ending(
    video: Video, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        WebhookDelivery.objects.create(
            webhook_id=hook.id, video_id=uuid4(), task_id=uuid4(), event="x", state="nonsense"
        )

    monkeypatch.setattr(webhook_deliveries, "_deliver", broken)  # an error of the database itself
    analysis = finished(video)
    analysis.refresh_from_db()
    assert analysis.state == State.FAILED
    assert not WebhookDelivery.objects.exists()


# --- registering -----------------------------------------------------------------------------------------------------


def test_secrets_are_long_and_each_its_own(video: Video, hook: Webhook) -> None:
    second = webhook_deliveries.register(owner=video.owner, url="https://example.org/hook")
    assert hook.secret != second.secret
    assert len(base64.b64decode(hook.secret.removeprefix("whsec_"))) == 32


def test_a_user_has_only_so_many(video: Video, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_deliveries, "MAX_WEBHOOKS", 2)
    hooks = [webhook_deliveries.register(owner=video.owner, url="https://example.org/") for _ in range(2)]
    with pytest.raises(Refused) as caught:
        webhook_deliveries.register(owner=video.owner, url="https://example.org/")
    assert (caught.value.code, caught.value.status) == ("too_many_webhooks", 409)
    webhook_deliveries.remove(webhook=hooks[0])
    webhook_deliveries.register(owner=video.owner, url="https://example.org/")


def test_the_signature_is_that_of_the_specification() -> None:
    # The example of the Standard Webhooks specification's libraries.
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    delivery = UUID("11111111-2222-4333-8444-555555555555")
    signed = f"{delivery}.1614265330.".encode() + b'{"test": 2432232314}'
    wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    made = webhook_deliveries.sign(
        secret=secret, delivery_id=delivery, timestamp=1614265330, body='{"test": 2432232314}'
    )
    assert made == f"v1,{wanted}"


# --- sending ---------------------------------------------------------------------------------------------------------


def test_one_worker_at_a_time_until_its_lease_runs_out(video: Video, hook: Webhook) -> None:
    finished(video)
    first = take(hook)
    assert webhook_deliveries.claim(webhook_id=hook.id) is None
    Webhook.objects.filter(id=hook.id).update(lease_until=timezone.now() - timedelta(seconds=1))
    second = take(hook)
    with pytest.raises(LeaseLost):
        webhook_deliveries.next_due(claim=first)
    delivery = webhook_deliveries.next_due(claim=second)
    assert delivery is not None
    with pytest.raises(LeaseLost):
        webhook_deliveries.record(claim=first, delivery=delivery, attempt=came())
    assert waiting(hook).attempts == 0
    webhook_deliveries.release(claim=first)  # does not free what is another's
    assert webhook_deliveries.claim(webhook_id=hook.id) is None


def test_a_success_ends_the_delivery_and_the_count_of_failures(video: Video, hook: Webhook) -> None:
    finished(video)
    assert not try_once(hook, "The receiver answered 500.")
    hook.refresh_from_db()
    assert (hook.failures, hook.last_error) == (1, "The receiver answered 500.")
    make_due(hook)
    assert try_once(hook)
    hook.refresh_from_db()
    assert (hook.failures, hook.last_error) == (0, "")
    delivery = WebhookDelivery.objects.get()
    assert (delivery.state, delivery.attempts) == (DeliveryState.DELIVERED, 2)
    assert [entry["error"] for entry in delivery.log] == ["The receiver answered 500.", ""]


def test_after_a_failure_the_whole_webhook_pauses(make_video: MakeVideo) -> None:
    hook = webhook_deliveries.register(owner=make_video().owner, url="https://example.org/")
    for _ in range(3):
        finished(make_video())
    try_once(hook, "No answer within 10 s.")
    assert webhook_deliveries.claim(webhook_id=hook.id) is None
    assert WebhookDelivery.objects.filter(attempts=0).count() == 2


def test_pauses_double_up_to_an_hour_and_thirty_attempts_take_about_a_day() -> None:
    seconds = [webhook_deliveries.pause(n).total_seconds() for n in range(1, webhook_deliveries.MAX_FAILURES)]
    for n, pause in enumerate(seconds):
        assert 0.9 * min(3600, 30 * 2**n) <= pause <= 1.1 * min(3600, 30 * 2**n)
    assert 20 * 3600 < sum(seconds) < 26 * 3600
    assert webhook_deliveries.pause(10_000).total_seconds() <= 1.1 * 3600


def test_a_webhook_that_only_fails_is_disabled_and_what_waits_for_it_given_up(
    make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_deliveries, "MAX_FAILURES", 3)
    video = make_video()
    hook = webhook_deliveries.register(owner=video.owner, url="https://example.org/")
    finished(video)
    finished(make_video())
    for _ in range(3):
        make_due(hook)
        try_once(hook, "The receiver answered 503.")
    hook.refresh_from_db()
    assert hook.disabled_at is not None
    assert set(WebhookDelivery.objects.values_list("state", flat=True)) == {DeliveryState.FAILED}
    make_due(hook)
    assert webhook_deliveries.claim(webhook_id=hook.id) is None


def test_one_delivery_that_never_succeeds_keeps_no_other_back(
    make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_deliveries, "MAX_FAILURES", 3)
    video = make_video()
    hook = webhook_deliveries.register(owner=video.owner, url="https://example.org/")
    poison = finished(video)
    for _ in range(3):
        finished(make_video())
    assert not try_once(hook, "The receiver answered 500.")  # the oldest comes first
    Webhook.objects.update(not_before=timezone.now())  # the webhook's pause is over, that of the delivery longer
    WebhookDelivery.objects.filter(task_id=poison.id).update(not_before=timezone.now() + timedelta(seconds=30))
    assert [try_once(hook) for _ in range(3)] == [True] * 3
    for _ in range(2):
        make_due(hook)
        try_once(hook, "The receiver answered 500.")
    states = dict(WebhookDelivery.objects.values_list("task_id", "state"))
    assert states.pop(poison.id) == DeliveryState.FAILED
    assert list(states.values()) == [DeliveryState.DELIVERED] * 3
    hook.refresh_from_db()
    assert hook.disabled_at is None


def test_a_removed_webhook_is_sent_nothing_and_its_row_goes_later(video: Video, hook: Webhook) -> None:
    finished(video)
    claim = take(hook)
    webhook_deliveries.remove(webhook=hook)
    with pytest.raises(LeaseLost):
        webhook_deliveries.next_due(claim=claim)
    assert WebhookDelivery.objects.get().state == DeliveryState.FAILED
    webhook_deliveries.sweep()
    assert Webhook.objects.count() == 1
    Webhook.objects.update(removed_at=timezone.now() - timedelta(hours=2))
    webhook_deliveries.sweep()
    assert not Webhook.objects.exists()
    assert not WebhookDelivery.objects.exists()


def test_what_comes_in_while_a_worker_sends_is_told_when_it_is_done(make_video: MakeVideo, doorbell: Doorbell) -> None:
    video = make_video()
    hook = webhook_deliveries.register(owner=video.owner, url="https://example.org/")
    claim = take(hook)
    finished(video)
    doorbell.rung.clear()
    webhook_deliveries.release(claim=claim)
    assert told(doorbell) == [hook.id]
    try_once(hook)
    doorbell.rung.clear()
    webhook_deliveries.release(claim=claim)
    assert told(doorbell) == []


# --- the sweeper and the operator ------------------------------------------------------------------------------------


def test_the_sweeper_tells_workers_of_what_is_due(video: Video, hook: Webhook, doorbell: Doorbell) -> None:
    finished(video)
    doorbell.rung.clear()
    assert webhook_deliveries.sweep() == 1
    assert told(doorbell) == [hook.id]
    take(hook)
    assert webhook_deliveries.sweep() == 0  # a worker is at it
    Webhook.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert webhook_deliveries.sweep() == 1  # it died
    try_once(hook, "The receiver answered 500.")
    assert webhook_deliveries.sweep() == 0  # it pauses
    make_due(hook)
    doorbell.down = True
    assert webhook_deliveries.sweep() == 0
    doorbell.down = False
    assert webhook_deliveries.sweep() == 1


def test_a_webhook_has_one_message_on_its_way_however_much_waits(
    make_video: MakeVideo, doorbell: Doorbell, django_capture_on_commit_callbacks: Committed, settings: Any
) -> None:
    video = make_video()
    hook = webhook_deliveries.register(owner=video.owner, url="https://example.org/")
    for _ in range(3):
        with django_capture_on_commit_callbacks(execute=True):
            finished(make_video())
    assert WebhookDelivery.objects.count() == 3
    assert [webhook_deliveries.sweep() for _ in range(3)] == [0, 0, 0]  # no worker there
    (first,) = rings(doorbell)
    Webhook.objects.update(told_at=timezone.now() - timedelta(seconds=settings.DFD_REPUBLISH_S + 1))
    assert [webhook_deliveries.sweep() for _ in range(3)] == [1, 0, 0]
    assert rings(doorbell) == [first, first]
    doorbell.rung.clear()
    claim = webhook_deliveries.claim(webhook_id=hook.id, doorbell=first)
    assert claim is not None
    with django_capture_on_commit_callbacks(execute=True):
        finished(make_video())
    assert rings(doorbell) == []  # who is at it looks again
    webhook_deliveries.release(claim=claim)
    (second,) = rings(doorbell)
    assert webhook_deliveries.claim(webhook_id=hook.id, doorbell=first) is None  # its copy has no turn of its own
    assert webhook_deliveries.claim(webhook_id=hook.id, doorbell=second) is not None


def test_a_message_that_was_not_sent_or_came_in_vain_keeps_no_other_back(
    video: Video, hook: Webhook, doorbell: Doorbell, django_capture_on_commit_callbacks: Committed
) -> None:
    doorbell.down = True
    with django_capture_on_commit_callbacks(execute=True):
        finished(video)
    doorbell.down = False
    assert webhook_deliveries.sweep() == 1
    (first,) = rings(doorbell)
    claim = take(hook)  # by a message of an earlier release, which has no doorbell
    Webhook.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert webhook_deliveries.sweep() == 1  # the worker was silent for so long
    second = rings(doorbell)[-1]
    assert webhook_deliveries.next_due(claim=claim) is not None  # and goes on
    assert webhook_deliveries.claim(webhook_id=hook.id, doorbell=first) is None
    assert webhook_deliveries.claim(webhook_id=hook.id, doorbell=second) is None
    webhook_deliveries.release(claim=claim)
    third = rings(doorbell)[2:]
    assert len(third) == 1
    assert webhook_deliveries.claim(webhook_id=hook.id, doorbell=third[0]) is not None


def test_a_webhook_that_pauses_is_told_of_when_the_pause_is_over(
    make_video: MakeVideo, doorbell: Doorbell, django_capture_on_commit_callbacks: Committed
) -> None:
    video = make_video()
    hook = webhook_deliveries.register(owner=video.owner, url="https://example.org/")
    finished(video)
    try_once(hook, "No answer within 10 s.")
    with django_capture_on_commit_callbacks(execute=True):
        finished(make_video())
    assert webhook_deliveries.sweep() == 0
    assert told(doorbell) == []
    make_due(hook)
    assert webhook_deliveries.sweep() == 1
    assert told(doorbell) == [hook.id]


def test_what_has_ended_is_forgotten_after_a_week(video: Video, hook: Webhook) -> None:
    finished(video)
    try_once(hook)
    webhook_deliveries.sweep()
    assert WebhookDelivery.objects.count() == 1
    WebhookDelivery.objects.update(ended_at=timezone.now() - timedelta(days=8))
    webhook_deliveries.sweep()
    assert not WebhookDelivery.objects.exists()


def test_sent_again_it_starts_anew_and_enables_its_webhook(
    video: Video, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_deliveries, "MAX_FAILURES", 1)
    finished(video)
    try_once(hook, "The receiver answered 500.")
    delivery = WebhookDelivery.objects.get()
    assert (delivery.state, Webhook.objects.get().disabled_at is None) == (DeliveryState.FAILED, False)
    webhook_deliveries.send_again(delivery=delivery)
    assert try_once(hook)
    delivery.refresh_from_db()
    assert (delivery.state, len(delivery.log)) == (DeliveryState.DELIVERED, 2)
    webhook_deliveries.remove(webhook=hook)
    with pytest.raises(Refused) as caught:
        webhook_deliveries.send_again(delivery=delivery)
    assert caught.value.code == "webhook_removed"


def test_the_log_of_attempts_stays_bounded(video: Video, hook: Webhook) -> None:
    finished(video)
    entry = {"at": "", "seconds": 1.0, "status": 500, "error": "x"}
    WebhookDelivery.objects.update(log=[entry] * webhook_deliveries.LOG_ENTRIES)
    try_once(hook, "the newest")
    log = WebhookDelivery.objects.get().log
    assert len(log) == webhook_deliveries.LOG_ENTRIES
    assert log[-1]["error"] == "the newest"


# --- an owner who was deactivated ---


def test_nothing_is_sent_for_an_owner_who_was_deactivated(hook: Webhook, video: Video) -> None:
    finished(video)
    claim = take(hook)
    User.objects.filter(pk=video.owner_id).update(is_active=False)
    with pytest.raises(LeaseLost):
        webhook_deliveries.next_due(claim=claim)  # also not by the worker that is at it
    Webhook.objects.filter(pk=hook.pk).update(lease_until=None, token=None)
    assert webhook_deliveries.claim(webhook_id=hook.id) is None
    Analysis.objects.all().delete()
    finished(video)
    assert WebhookDelivery.objects.filter(webhook=hook).count() == 1  # of before
    with pytest.raises(Refused, match="deactivated"):
        webhook_deliveries.send_again(delivery=waiting(hook))
    assert webhook_deliveries.sweep() == 0
    assert not WebhookDelivery.objects.filter(state=DeliveryState.WAITING).exists()
    User.objects.filter(pk=video.owner_id).update(is_active=True)
    Analysis.objects.all().delete()
    finished(video)
    assert webhook_deliveries.claim(webhook_id=hook.id) is not None
