"""Who may do what: every address, for everyone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from knox.models import AuthToken

from detection.api.urls import urlpatterns
from detection.models import SampledFrame, Video, Webhook
from detection.services.webhooks import register
from tests.api.conftest import Caller, Factory, mp4

pytestmark = pytest.mark.django_db

# (route's name, method): status for anonymous, another user, the owner, a reviewer, an administrator
EVERYONE = (200, 200, 200, 200, 200)
SEEN = (401, 404, 200, 200, 200)
ACCESS: dict[tuple[str, str], tuple[int, int, int, int, int]] = {
    ("videos", "get"): (401, 200, 200, 200, 200),
    ("videos", "post"): (401, 202, 202, 202, 202),
    ("video", "get"): SEEN,
    ("video", "delete"): (401, 404, 204, 403, 204),
    ("faces", "get"): SEEN,
    ("analyze", "post"): (401, 404, 202, 403, 202),
    ("reviews", "get"): SEEN,
    ("reviews", "post"): (401, 404, 201, 201, 201),
    ("video-media", "get"): SEEN,
    ("face-image", "get"): SEEN,
    ("face-heatmap", "get"): SEEN,
    ("sampled-frame-image", "get"): SEEN,
    ("task", "get"): SEEN,
    ("models", "get"): (401, 200, 200, 200, 200),
    ("active-model", "get"): (401, 200, 200, 200, 200),
    ("webhooks", "get"): (401, 200, 200, 200, 200),
    ("webhooks", "post"): (401, 201, 201, 201, 201),
    ("webhook", "get"): (401, 404, 200, 404, 404),
    ("webhook", "delete"): (401, 404, 204, 404, 404),
    ("schema", "get"): EVERYONE,
    ("docs", "get"): EVERYONE,
    ("healthz", "get"): EVERYONE,
    ("readyz", "get"): EVERYONE,
    ("metrics", "get"): (401, 403, 403, 403, 200),
}
CALLERS = ("nobody", "other", "owner", "reviewer", "admin")
METHODS = ("get", "post", "put", "patch", "delete", "options")


def addresses(video: Video) -> dict[str, str]:
    face, frame = video.faces.first(), SampledFrame.objects.get(video=video)
    webhook = Webhook.objects.filter(owner=video.owner).first() or register(
        owner=video.owner, url="https://example.org"
    )
    assert face is not None
    known = {
        "video_id": video.pk, "kind": "clip", "face_id": face.pk, "frame_id": frame.pk,
        "task_id": video.current_analysis_id, "webhook_id": webhook.pk,
    }  # fmt: skip
    return {
        str(pattern.name): reverse(
            f"api:{pattern.name}", kwargs={key: known[key] for key in pattern.pattern.converters}
        )
        for pattern in urlpatterns
    }


@pytest.fixture
def video(owner: Caller, other: Caller, factory: Factory) -> Video:
    """A video with one of everything, and one of the other user's."""
    factory.judged(other.user)
    video = factory.judged(owner.user)
    SampledFrame.objects.create(video=video, position=0, frame_number=0, timestamp_s=0, image=video.thumbnail.name)
    factory.heatmaps(video)
    return video


def call(caller: Caller, method: str, name: str, path: str) -> Any:
    if (name, method) == ("videos", "post"):
        return caller.upload()
    if (name, method) == ("webhooks", "post"):
        return caller.post_json(path, {"url": "https://example.org/"})
    if (name, method) == ("reviews", "post"):
        return caller.post_json(path, {"label": "fake"})
    return (
        caller.request(method, path, content_type="application/json")
        if method == "post"
        else caller.request(method, path)
    )


@pytest.mark.parametrize("who", CALLERS)
def test_every_address_answers_each_caller_as_it_may(who: str, video: Video, request: pytest.FixtureRequest) -> None:
    caller: Caller = request.getfixturevalue(who)
    column = CALLERS.index(who)
    paths = addresses(video)
    wanted = {key: statuses[column] for key, statuses in ACCESS.items()}
    # What ends the video comes last.
    order = sorted(ACCESS, key=lambda key: key[1] == "delete")
    got = {(name, method): call(caller, method, name, paths[name]).status_code for name, method in order}
    assert got == wanted


def test_the_table_knows_every_address_and_no_other_method_is_allowed(admin: Caller, video: Video) -> None:
    paths = addresses(video)
    assert {name for name, _ in ACCESS} == paths.keys()
    for name, path in paths.items():
        for method in METHODS:
            if (name, method) not in ACCESS:
                response = admin.request(method, path)
                assert response.status_code == 405, (name, method)
                assert response["Content-Type"] == "application/problem+json", (name, method)


def test_another_users_video_answers_exactly_as_one_that_does_not_exist(other: Caller, video: Video) -> None:
    for name, method in ACCESS:
        path = addresses(video)[name]
        if "/videos/" not in path or name == "videos":
            continue
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
