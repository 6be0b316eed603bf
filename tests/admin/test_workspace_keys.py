"""Which key does what for a reviewer: chosen, refused, reset, and nobody else's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from detection.models import ReviewerKeys
from detection.services.reviews import workspace_keys
from detection.services.reviews.workspace_keys import DEFAULTS, keys_of
from tests.admin.conftest import Rows

pytestmark = pytest.mark.django_db


def store(client: Client, **keys: Any) -> Any:
    return client.post("/admin/review/keys/", json.dumps({"keys": keys}), content_type="application/json")


def test_the_defaults_contradict_nothing() -> None:
    assert len(set(DEFAULTS.values())) == len(DEFAULTS)
    assert not set(DEFAULTS.values()) & workspace_keys.FIXED


def test_keys_are_each_reviewers_own(rows: Rows, reviewer: User, review_client: Client) -> None:
    other = rows.reader("ben")
    answer = store(review_client, real="F", fake="r", skip="ö", help="0")
    wanted = DEFAULTS | {"real": "f", "fake": "r", "skip": "ö", "help": "0"}
    assert (answer.status_code, answer.json()) == (200, {"keys": wanted})
    assert keys_of(reviewer) == wanted
    assert keys_of(other) == DEFAULTS
    page = review_client.get("/admin/review/").context["workspace"]
    assert (page["keys"], page["labels"][0]["key"]) == (wanted, wanted[page["labels"][0]["value"]])
    sheet = review_client.get("/admin/review/sheet/").context["sheet"]
    assert {label["value"]: label["key"] for label in sheet["labels"]}["fake"] == "r"
    assert store(review_client, **DEFAULTS).json() == {"keys": DEFAULTS}
    assert not ReviewerKeys.objects.exists()


@pytest.mark.parametrize(
    ("keys", "code", "status"),
    [
        ({"real": "f"}, "key_taken", 409),
        ({"real": "q", "fake": "Q"}, "key_taken", 409),
        ({"real": "1"}, "key_not_allowed", 400),
        ({"real": "A"}, "key_not_allowed", 400),
        ({"real": " "}, "key_not_allowed", 400),
        ({"real": "ab"}, "key_not_allowed", 400),
        ({"real": "\u0130"}, "key_not_allowed", 400),  # two characters in lower case
        ({"real": "\u200b"}, "key_not_allowed", 400),
        ({"real": "\U0001f600"}, "key_not_allowed", 400),
        ({"real": None}, "invalid_keys", 400),
        ({"delete": "q"}, "invalid_keys", 400),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_changes(
    reviewer: User, review_client: Client, keys: dict[str, Any], code: str, status: int
) -> None:
    store(review_client, undo="y")
    answer = store(review_client, **keys)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert keys_of(reviewer) == DEFAULTS | {"undo": "y"}


def test_an_action_that_is_new_does_not_take_a_key_that_was_chosen(
    reviewer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace_keys.set_keys(user=reviewer, keys={"real": "q"})
    monkeypatch.setattr(workspace_keys, "DEFAULTS", DEFAULTS | {"new": "q"})
    assert keys_of(reviewer) == DEFAULTS | {"real": "q", "new": ""}
    assert workspace_keys.set_keys(user=reviewer, keys=keys_of(reviewer) | {"undo": "y"})["undo"] == "y"
    assert keys_of(reviewer) == DEFAULTS | {"real": "q", "undo": "y", "new": ""}
