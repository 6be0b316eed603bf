"""What lists hold, what strangers learn, and what a token is.  Who may call what is in `test_matrix`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from knox.models import AuthToken

from detection.models import Video
from tests.api.calls import addresses, call, full_video, operations
from tests.api.conftest import Caller, Factory, mp4

pytestmark = pytest.mark.django_db


@pytest.fixture
def video(owner: Caller, other: Caller, factory: Factory) -> Video:
    """A video with one of everything, and one of the other user's."""
    factory.judged(other.user)
    return full_video(owner, factory)


def test_another_users_video_answers_exactly_as_one_that_does_not_exist(other: Caller, video: Video) -> None:
    paths = addresses(video)
    below = [(name, method) for name, method in operations() if "/videos/" in paths[name] and name != "videos"]
    assert len(below) > 5
    for name, method in below:
        path = paths[name]
        foreign = call(other, method, name, path)
        missing = call(other, method, name, path.replace(str(video.pk), str(uuid4())))
        assert foreign.status_code == missing.status_code == 404
        assert foreign.json() | {"instance": ""} == missing.json() | {"instance": ""}


def test_lists_hold_only_what_the_caller_may_see(
    owner: Caller, other: Caller, reviewer: Caller, admin: Caller, video: Video
) -> None:
    counts = {c.user.username: len(c.get("/api/v1/videos/").json()["results"]) for c in (owner, other, reviewer, admin)}
    assert counts == {"owner": 1, "other": 1, "reviewer": 2, "root": 2}
    assert owner.get("/api/v1/videos/").json()["results"][0]["id"] == str(video.pk)


def test_a_refusal_of_anonymous_callers_says_how_to_log_in(nobody: Caller, problem: Callable[..., Any]) -> None:
    response = nobody.get("/api/v1/videos/")
    problem(response, 401, "not_authenticated")
    assert response["WWW-Authenticate"] == "Token"


@pytest.mark.parametrize(
    "header",
    ["Token", "Token a b", "Token x", "Token " + "0" * 64, "Token é", "Token \x00", "Token " + "f" * 5000, "token  "],
)
def test_a_token_that_is_none_is_a_401(nobody: Caller, problem: Callable[..., Any], header: str) -> None:
    problem(nobody.get("/api/v1/videos/", headers={"Authorization": header}), 401, "authentication_failed")


def test_a_token_ends_with_its_user_and_with_its_removal(owner: Caller, problem: Callable[..., Any]) -> None:
    assert owner.get("/api/v1/videos/").status_code == 200
    owner.user.is_active = False
    owner.user.save()
    problem(owner.get("/api/v1/videos/"), 401, "authentication_failed")
    owner.user.is_active = True
    owner.user.save()
    AuthToken.objects.all().delete()
    problem(owner.get("/api/v1/videos/"), 401, "authentication_failed")


def test_a_token_is_stored_as_a_hash(owner: Caller) -> None:
    row = AuthToken.objects.get()
    assert owner.token not in (row.digest, row.token_key)
    assert owner.token[:8] == row.token_key[:8]  # the part by which it is found


def test_a_session_without_its_csrf_token_reads_but_does_not_write(owner: Caller, video: Video) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(owner.user)
    path = f"/api/v1/videos/{video.pk}/"
    assert browser.get(path).status_code == 200
    assert browser.delete(path).status_code == 403
    assert browser.post(path + "reviews/", {"label": "fake"}, content_type="application/json").status_code == 403
    assert browser.post("/api/v1/videos/", {"file": mp4()}).status_code == 403
