"""Webhooks over REST: a user's own, with a secret that is shown once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from detection.models import Webhook
from detection.services.jobs import webhook_deliveries
from tests.api.conftest import Caller

pytestmark = pytest.mark.django_db
URL = "https://example.org/hook"
PATH = "/api/v1/webhooks/"
Check = Callable[..., dict[str, Any]]


def make(caller: Caller, url: str = URL) -> dict[str, Any]:
    response = caller.post_json(PATH, {"url": url})
    assert response.status_code == 201, response.content
    return dict(response.json())


def test_its_secret_is_shown_once(owner: Caller) -> None:
    response = owner.post_json(PATH, {"url": URL})
    made = response.json()
    assert (response.status_code, made["url"], made["disabled"], made["failures"]) == (201, URL, "", 0)
    assert made["secret"] == Webhook.objects.get().secret
    assert response["Location"] == f"http://testserver{PATH}{made['id']}/"
    for path in (PATH, f"{PATH}{made['id']}/"):
        assert made["secret"] not in owner.get(path).content.decode()


def test_a_list_holds_ones_own(owner: Caller, other: Caller, admin: Caller) -> None:
    mine = [make(owner)["id"], make(owner, URL + "2")["id"]]
    make(other)
    assert [row["id"] for row in owner.get(PATH).json()["results"]] == mine[::-1]
    assert admin.get(PATH).json()["results"] == []


def test_a_deleted_one_is_gone(owner: Caller, problem: Check) -> None:
    path = f"{PATH}{make(owner)['id']}/"
    assert owner.request("delete", path).status_code == 204
    problem(owner.get(path), 404, "not_found")
    problem(owner.request("delete", path), 404, "not_found")
    assert owner.get(PATH).json()["results"] == []


def test_anothers_does_not_exist_whoever_asks(owner: Caller, other: Caller, admin: Caller, problem: Check) -> None:
    path = f"{PATH}{make(owner)['id']}/"
    for caller in (other, admin):
        problem(caller.get(path), 404, "not_found")
        problem(caller.request("delete", path), 404, "not_found")
    assert owner.get(path).status_code == 200


def test_a_disabled_one_says_why(owner: Caller) -> None:
    path = f"{PATH}{make(owner)['id']}/"
    Webhook.objects.update(disabled_at=timezone.now(), failures=30, last_error="The receiver answered 500.")
    told = owner.get(path).json()
    assert told["disabled"] == webhook_deliveries.DISABLED
    assert (told["failures"], told["last_error"]) == (30, "The receiver answered 500.")


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://example.org/", "invalid_url"),
        ("https://example.org:22/", "invalid_url"),
        ("https://127.0.0.1/", "forbidden_address"),
        ("https://[::1]/", "forbidden_address"),
        ("https://169.254.169.254/latest/meta-data/", "forbidden_address"),
        ("https://example.org/\x00", "validation_error"),
        ("", "validation_error"),
        ("https://example.org/" + "a" * 600, "validation_error"),
        (None, "validation_error"),
    ],
)
def test_where_nothing_is_sent(owner: Caller, problem: Check, url: Any, code: str) -> None:
    problem(owner.post_json(PATH, {"url": url}), 400, code)
    assert not Webhook.objects.exists()


def test_only_so_many(owner: Caller, problem: Check) -> None:
    for _ in range(webhook_deliveries.MAX_WEBHOOKS):
        make(owner)
    problem(owner.post_json(PATH, {"url": URL}), 409, "too_many_webhooks")
