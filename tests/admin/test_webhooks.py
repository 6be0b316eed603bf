"""The log of what was sent to clients."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from detection import dispatch
from detection.models import DeliveryState, Webhook, WebhookDelivery
from tests.admin.conftest import Rows

LIST = "/admin/detection/webhookdelivery/"
FAILED = {"at": "2026-01-01T00:00:00+00:00", "seconds": 0.2, "status": 500, "error": "The receiver answered 500."}
Login = Callable[[User], Client]


@pytest.fixture
def bell(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    rung: list[str] = []
    monkeypatch.setattr(dispatch, "wake_webhook", lambda *, webhook_id, doorbell: rung.append(str(webhook_id)))
    return rung


@pytest.fixture
def failed(rows: Rows) -> WebhookDelivery:
    hook = Webhook.objects.create(
        owner=rows.owner,
        url="https://hooks.example.org/x?key=hidden",
        secret="whsec_hidden",
        disabled_at=timezone.now(),
    )
    return WebhookDelivery.objects.create(
        webhook=hook, event="task.finished", video_id=uuid4(), task_id=uuid4(), body=json.dumps({"type": "x"}),
        state=DeliveryState.FAILED, ended_at=timezone.now(), attempts=1, log=[FAILED],
    )  # fmt: skip


@pytest.fixture
def operator_client(rows: Rows, as_user: Login) -> Client:
    return as_user(rows.user("otto", "operator", staff=True))


def test_an_operator_sees_each_attempt_and_no_secret(operator_client: Client, failed: WebhookDelivery) -> None:
    listed = operator_client.get(LIST).content.decode()
    page = operator_client.get(f"{LIST}{failed.pk}/change/").content.decode()
    for text in (listed, page):
        assert "hooks.example.org" in text
        assert "The receiver answered 500." in text
        assert "whsec_" not in text
        assert "key=hidden" not in text
    assert "Given up" in listed
    assert "Disabled after" in page
    assert 'href="/admin/detection/webhookdelivery/"' in operator_client.get("/admin/").content.decode()


def test_an_operator_sends_it_again(
    operator_client: Client, failed: WebhookDelivery, bell: list[str], django_capture_on_commit_callbacks: Any
) -> None:
    assert f"{LIST}{failed.pk}/send-again/" in operator_client.get(LIST).content.decode()
    with django_capture_on_commit_callbacks(execute=True):
        response = operator_client.post(f"{LIST}{failed.pk}/send-again/", {"next": LIST})
    assert (response.status_code, response["Location"]) == (302, LIST)
    failed.refresh_from_db()
    assert (failed.state, failed.attempts, failed.log) == (DeliveryState.WAITING, 0, [FAILED])
    assert failed.webhook.disabled_at is None
    assert bell == [str(failed.webhook_id)]
    assert "Sent again." in operator_client.get(f"{LIST}{failed.pk}/history/").content.decode()


def test_what_its_owner_has_removed_is_not_sent_again(operator_client: Client, failed: WebhookDelivery) -> None:
    Webhook.objects.update(removed_at=timezone.now())
    assert "send-again" not in operator_client.get(LIST).content.decode()
    response = operator_client.post(f"{LIST}{failed.pk}/send-again/", follow=True)
    assert "has removed this webhook" in response.content.decode()
    failed.refresh_from_db()
    assert failed.state == DeliveryState.FAILED


def test_others_see_none_of_it(rows: Rows, as_user: Login, failed: WebhookDelivery) -> None:
    for role in ("reviewer", "senior_reviewer", "model_owner"):
        client = as_user(rows.user(role, role, staff=True))
        assert client.get(LIST).status_code == 403
        assert client.get(f"{LIST}{failed.pk}/change/").status_code == 403
        assert client.post(f"{LIST}{failed.pk}/send-again/").status_code == 403
        assert LIST not in client.get("/admin/").content.decode()


def test_who_may_look_but_not_act_has_no_button(rows: Rows, as_user: Login, failed: WebhookDelivery) -> None:
    clerk = rows.user("clerk", staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_webhookdelivery"))
    client = as_user(clerk)
    assert "send-again" not in client.get(LIST).content.decode()
    assert client.post(f"{LIST}{failed.pk}/send-again/").status_code == 403


def test_nobody_edits_or_deletes_it(root_client: Client, failed: WebhookDelivery) -> None:
    assert root_client.get(f"{LIST}add/").status_code == 403
    assert root_client.post(f"{LIST}{failed.pk}/delete/", {"post": "yes"}).status_code == 403
    assert root_client.post(f"{LIST}{failed.pk}/change/", {"body": "{}"}).status_code in (302, 403, 405)
    failed.refresh_from_db()
    assert failed.body == '{"type": "x"}'
