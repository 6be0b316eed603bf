"""DELETE of a task: who may, what is answered, and how often it may be asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from detection.models import Analysis, State, Video
from tests.api.conftest import Caller, Factory

pytestmark = pytest.mark.django_db


def path_of(video: Video) -> str:
    return f"/api/v1/tasks/{video.current_analysis_id}/"


def test_the_owner_cancels_a_task_and_reads_that_it_has_failed_as_cancelled(owner: Caller) -> None:
    task = owner.upload().json()["task"]
    for _ in range(2):
        answer = owner.request("delete", f"/api/v1/tasks/{task['id']}/")
        assert answer.status_code == 200
        body = answer.json()
        assert (body["id"], body["state"], body["verdict"]) == (task["id"], "failed", None)
        assert body["error"] == {"code": "cancelled", "detail": "Its owner cancelled this task."}
        assert body["finished_at"] is not None
    assert owner.get(f"/api/v1/tasks/{task['id']}/").json() == body
    video = owner.get(f"/api/v1/videos/{task['video']}/").json()
    assert (video["status"], video["task"]["error"]["code"]) == ("failed", "cancelled")
    assert owner.get("/api/v1/videos/?status=failed").json()["results"] == [video]


def test_after_it_the_video_can_be_analysed_again_and_the_same_upload_finds_it(owner: Caller) -> None:
    first = owner.upload(b"\x00\x00\x00\x20ftypisom" + b"again" * 40)
    owner.request("delete", f"/api/v1/tasks/{first.json()['task']['id']}/")
    same = owner.upload(b"\x00\x00\x00\x20ftypisom" + b"again" * 40)
    assert (same.status_code, same.json()["status"]) == (200, "failed")
    again = owner.post_json(f"/api/v1/videos/{first.json()['id']}/analyze/")
    assert (again.status_code, again.json()["state"]) == (202, "queued")


def test_what_has_ended_is_refused(owner: Caller, factory: Factory, problem: Callable[..., Any]) -> None:
    video = factory.judged(owner.user)
    problem(owner.request("delete", path_of(video)), 409, "already_ended")
    assert Analysis.objects.get(video=video).state == State.SUCCEEDED


def test_only_the_owner_may(
    owner: Caller,
    other: Caller,
    reviewer: Caller,
    admin: Caller,
    nobody: Caller,
    problem: Callable[..., Any],
) -> None:
    path = f"/api/v1/tasks/{owner.upload().json()['task']['id']}/"
    problem(nobody.request("delete", path), 401, "not_authenticated")
    problem(other.request("delete", path), 404, "not_found")
    problem(reviewer.request("delete", path), 403, "permission_denied")
    problem(admin.request("delete", path), 403, "permission_denied")
    problem(owner.request("delete", f"/api/v1/tasks/{uuid4()}/"), 404, "not_found")
    assert Analysis.objects.get().state == State.QUEUED
