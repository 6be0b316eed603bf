"""Errors outside of a view's own: no route, a wrong method, a malfunction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from rest_framework.exceptions import Throttled
from rest_framework.test import APIRequestFactory

from detection.api.errors import problem_handler
from detection.selectors import videos
from tests.api.conftest import Caller

pytestmark = pytest.mark.django_db
Problem = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    "path", ["/api/v1/nothing/", "/api/v1/videos/17/", "/api/v1/videos/not-a-uuid/faces/", "/api/", "/api/v2/videos/"]
)
def test_an_address_that_does_not_exist_is_a_404_problem(nobody: Caller, problem: Problem, path: str) -> None:
    assert problem(nobody.get(path), 404, "not_found")["instance"] == path


def test_an_address_without_its_slash_leads_to_the_right_one_with_method_and_body_kept(owner: Caller) -> None:
    response = owner.request("post", "/api/v1/videos?a=b")
    assert (response.status_code, response["Location"]) == (308, "/api/v1/videos/?a=b")


def test_outside_of_the_api_errors_are_pages(nobody: Caller) -> None:
    response = nobody.get("/nothing")
    assert (response.status_code, response["Content-Type"]) == (404, "text/html; charset=utf-8")


def test_a_wrong_method_says_which_are_right(owner: Caller, problem: Problem) -> None:
    response = owner.request("put", "/api/v1/videos/")
    problem(response, 405, "method_not_allowed")
    assert response["Allow"] == "GET, POST, HEAD, OPTIONS"


def test_a_malfunction_is_a_500_problem_that_gives_nothing_away(
    owner: Caller, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**kwargs: Any) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(videos, "videos_with_answers", broken)
    owner.client.raise_request_exception = False
    response = owner.get("/api/v1/videos/")
    problem(response, 500, "server_error")
    assert b"hunter2" not in response.content


def test_a_host_that_is_not_ours_is_a_400_problem(problem: Problem, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["example.org"]
    problem(Client().get("/api/v1/videos/", headers={"Host": "evil.example"}), 400, "bad_request")


def test_a_throttled_caller_is_told_when_to_come_back() -> None:
    response = problem_handler(Throttled(wait=12.5), {"request": APIRequestFactory().get("/api/v1/videos/")})
    assert response is not None
    assert (response.status_code, response.data["code"], response["Retry-After"]) == (429, "too_many_requests", "13")


def test_the_answer_is_json_whatever_is_accepted(owner: Caller) -> None:
    for accept in ("text/html", "image/png", "nonsense", "*/*"):
        response = owner.get("/api/v1/videos/", headers={"Accept": accept})
        assert (response.status_code, response["Content-Type"]) == (200, "application/json")
