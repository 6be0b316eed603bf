"""Reading: videos, tasks, faces, models; lists, filters and pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.utils import timezone
from knox.models import AuthToken

from detection.api.filters import VideoFilters
from detection.api.pagination import NewestFirst
from detection.models import Analysis, Stage, State, Video
from tests.api.conftest import Caller, Factory

pytestmark = pytest.mark.django_db
Problem = Callable[..., dict[str, Any]]


def ids(response: Any) -> list[str]:
    assert response.status_code == 200, response.content
    return [row["id"] for row in response.json()["results"]]


# --- tasks -------------------------------------------------------------------------------------------------------


def test_a_queued_task_tells_where_it_stands(owner: Caller, factory: Factory) -> None:
    video = factory.video(owner.user)
    body = owner.get(f"/api/v1/tasks/{video.current_analysis_id}/").json()
    assert body.keys() == {
        "id", "url", "video", "state", "stage", "progress", "attempts", "error", "created_at", "started_at",
        "finished_at", "verdict", "segments", "coverage",
    }  # fmt: skip
    assert (body["state"], body["stage"], body["progress"], body["attempts"]) == ("queued", "extract", 0, 0)
    assert (body["video"], body["verdict"], body["error"], body["finished_at"]) == (str(video.pk), None, None, None)
    assert (body["segments"], body["coverage"]) == ([], None)


def test_a_finished_task_has_a_verdict_with_its_evidence(owner: Caller, factory: Factory) -> None:
    model = factory.model(experimental=True)
    video = factory.judged(owner.user, model=model, score=0.83, people=2)
    body = owner.get(f"/api/v1/tasks/{video.current_analysis_id}/").json()
    assert (body["state"], body["stage"], body["progress"]) == ("succeeded", "done", 100)
    verdict = body["verdict"]
    assert (verdict["label"], verdict["fake_probability"], verdict["threshold"]) == ("fake", 0.83, 0.5)
    assert (verdict["needs_review"], verdict["review_reasons"]) == (True, ["experimental_model"])
    assert verdict["assessment"] == "likely_fake"
    assert verdict["model_version"] == {
        "id": str(model.pk), "name": model.name, "sha256": model.sha256, "experimental": True,
    }  # fmt: skip
    assert [person["track"] for person in verdict["faces"]] == [0, 1]
    assert verdict["track"] == 0
    frame = verdict["faces"][1]["frames"][3]
    assert (frame["frame_number"], frame["timestamp"], frame["fake_probability"]) == (45, 1.5, 0.83)
    assert owner.get(frame["image"]).status_code == 200


def test_a_failed_task_says_why_and_keeps_the_operators_details_to_itself(owner: Caller, factory: Factory) -> None:
    video = factory.failed(owner.user)
    response = owner.get(f"/api/v1/tasks/{video.current_analysis_id}/")
    assert response.json()["state"] == "failed"
    assert response.json()["error"] == {"code": "corrupt_video", "detail": "It cannot be read."}
    assert b"secret" not in response.content


def test_a_task_that_was_given_up_is_told_as_failed(owner: Caller, factory: Factory) -> None:
    video = factory.failed(owner.user, state=State.DEAD, code="gave_up")
    task = owner.get(f"/api/v1/tasks/{video.current_analysis_id}/").json()
    assert (task["state"], task["error"]["code"]) == ("failed", "gave_up")
    assert owner.get(f"/api/v1/videos/{video.pk}/").json()["status"] == "failed"


def test_a_task_without_a_face_ends_as_no_face(owner: Caller, factory: Factory) -> None:
    video = factory.without_face(owner.user)
    task = owner.get(f"/api/v1/tasks/{video.current_analysis_id}/").json()
    assert (task["state"], task["error"], task["verdict"]) == ("no_face", None, None)


def test_a_task_that_waits_for_a_model_is_queued(owner: Caller, factory: Factory) -> None:
    video = factory.video(owner.user)
    Analysis.objects.update(stage=Stage.AWAITING_MODEL, progress=80, started_at=timezone.now())
    task = owner.get(f"/api/v1/tasks/{video.current_analysis_id}/").json()
    assert (task["state"], task["stage"]) == ("queued", "awaiting_model")


# --- one video ---------------------------------------------------------------------------------------------------


def test_a_video_tells_its_facts_task_verdict_label_and_media(owner: Caller, factory: Factory) -> None:
    video = factory.judged(owner.user, external_id="case 7", label="fake", codec="h264")
    body = owner.get(f"/api/v1/videos/{video.pk}/").json()
    assert body.items() >= {
        "external_id": "case 7", "codec": "h264", "width": 640, "height": 360, "tracks": 1, "status": "succeeded",
        "needs_review": True, "label": "fake", "owner": "owner", "sha256": video.sha256, "size_bytes": 200,
    }.items()  # fmt: skip
    assert body["task"]["state"] == "succeeded"
    assert body["verdict"]["label"] == "fake"
    assert {kind: owner.get(url).status_code for kind, url in body["media"].items()} == {
        "original": 200, "clip": 200, "thumbnail": 200,
    }  # fmt: skip
    assert owner.get(body["url"]).json() == body


def test_a_video_tells_what_was_not_judged_of_it(owner: Caller, factory: Factory) -> None:
    whole = factory.judged(owner.user)
    facts: dict[str, Any] = {"frames_decoded": 40, "frames_claimed": 150, "truncated": True, "people_left_out": 2}
    part = factory.judged(owner.user, **facts)
    assert owner.get(f"/api/v1/videos/{part.pk}/").json().items() >= facts.items()
    told = owner.get(f"/api/v1/videos/{whole.pk}/").json()
    assert (told["frames_claimed"], told["truncated"], told["people_left_out"]) == (None, None, None)


def test_a_video_without_a_clip_has_no_address_for_one(owner: Caller, factory: Factory) -> None:
    media = owner.get(f"/api/v1/videos/{factory.video(owner.user).pk}/").json()["media"]
    assert (media["clip"], media["thumbnail"]) == (None, None)
    assert media["original"]


# --- faces -------------------------------------------------------------------------------------------------------


def test_faces_are_listed_by_person_with_box_scores_and_picture(owner: Caller, factory: Factory) -> None:
    video = factory.judged(owner.user, score=0.7, people=2)
    body = owner.get(f"/api/v1/videos/{video.pk}/faces/").json()
    assert body.keys() == {"results", "next", "previous"}
    assert [(face["track"], face["frame_number"]) for face in body["results"]] == [
        (track, position * 15) for track in (0, 1) for position in range(10)
    ]
    face = body["results"][12]
    assert face["box"] == {"x1": 10.0, "y1": 20.0, "x2": 110.0, "y2": 140.0}
    assert (face["timestamp"], face["probability"], face["fake_probability"]) == (1.0, 0.99, 0.7)
    assert owner.get(face["image"])["Content-Type"] == "image/png"


def test_faces_that_no_model_has_scored_yet_have_no_score(owner: Caller, factory: Factory) -> None:
    video = factory.judged(owner.user)
    Video.objects.update(current_verdict=None)
    faces = owner.get(f"/api/v1/videos/{video.pk}/faces/").json()["results"]
    assert {face["fake_probability"] for face in faces} == {None}


def test_pages_of_faces_show_each_face_once(owner: Caller, factory: Factory) -> None:
    video = factory.judged(owner.user, people=3)
    url, seen = f"/api/v1/videos/{video.pk}/faces/?page_size=7", []
    while url:
        page = owner.get(url).json()
        assert len(page["results"]) <= 7
        seen += [face["id"] for face in page["results"]]
        url = page["next"]
    assert len(seen) == len(set(seen)) == 30


# --- lists -------------------------------------------------------------------------------------------------------


def test_pages_are_newest_first_and_show_each_video_once_in_both_directions(owner: Caller, factory: Factory) -> None:
    made = [str(factory.video(owner.user).pk) for _ in range(7)]
    same_moment = timezone.now()
    Video.objects.filter(pk__in=made[2:5]).update(created_at=same_moment)
    Video.objects.filter(pk__in=made[5:]).update(created_at=same_moment + timedelta(seconds=1))
    forth, url = [], "/api/v1/videos/?page_size=2"
    while url:
        page = owner.get(url).json()
        forth.append([row["id"] for row in page["results"]])
        url, last = page["next"], page
    assert [len(page) for page in forth] == [2, 2, 2, 1]
    flat = [row for page in forth for row in page]
    assert sorted(flat) == sorted(made)
    assert flat[-2:] == [made[1], made[0]]
    back, url = [], last["previous"]
    while url:
        page = owner.get(url).json()
        back.append([row["id"] for row in page["results"]])
        url = page["previous"]
    assert back[::-1] == forth[:3]


def test_a_page_is_bounded_whatever_is_asked(owner: Caller, factory: Factory) -> None:
    for _ in range(3):
        factory.video(owner.user)
    assert len(ids(owner.get("/api/v1/videos/?page_size=100000"))) == 3
    assert NewestFirst.max_page_size == 100


@pytest.mark.parametrize("size", ["0", "-1", "x", "1.5", "", "٣", "9" * 400])
def test_a_page_size_that_is_no_number_is_refused(owner: Caller, problem: Problem, size: str) -> None:
    body = problem(owner.get("/api/v1/videos/?" + urlencode({"page_size": size})), 400, "validation_error")
    assert body["errors"][0]["field"] == "page_size"


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "%%%", "é", "n-1", "n1.", "n" + 17 * "9", "n1.10000", "n٣", "n1\n", " n1", "n1.2.3", "cD0x", "' OR 1=1"],
)
@pytest.mark.parametrize("path", ["/api/v1/videos/", "/api/v1/models/"])
def test_a_forged_cursor_is_refused(owner: Caller, problem: Problem, path: str, cursor: str) -> None:
    problem(owner.get(f"{path}?" + urlencode({"cursor": cursor})), 400, "validation_error")


def test_a_forged_cursor_of_faces_is_refused(owner: Caller, factory: Factory, problem: Problem) -> None:
    path = f"/api/v1/videos/{factory.judged(owner.user).pk}/faces/?"
    for cursor in ("x", "n-1", "n" + 6 * "9", "n2026-01-01"):
        problem(owner.get(path + urlencode({"cursor": cursor})), 400, "validation_error")


@pytest.mark.parametrize("cursor", ["n", "r", "n0", "r0", "n" + 16 * "9", "r.9999", "n12345.9999"])
def test_whatever_the_description_calls_a_cursor_is_one(owner: Caller, factory: Factory, cursor: str) -> None:
    video = factory.judged(owner.user)
    paths = ["/api/v1/videos/", "/api/v1/models/", f"/api/v1/videos/{video.pk}/reviews/"]
    if len(cursor) < 8:
        paths.append(f"/api/v1/videos/{video.pk}/faces/")
    for path in paths:
        assert owner.get(path, data={"cursor": cursor}).status_code == 200


@pytest.mark.parametrize("rows", [3, 30])
def test_a_list_costs_the_same_queries_however_long_it_is(
    owner: Caller, factory: Factory, rows: int, django_assert_num_queries: Any
) -> None:
    for _ in range(rows):
        factory.judged(owner.user)
    with django_assert_num_queries(4):  # the token, two of permissions, the videos
        assert len(ids(owner.get("/api/v1/videos/"))) == rows


def test_a_poll_costs_two_queries_however_many_tokens_its_user_has(
    owner: Caller, factory: Factory, django_assert_num_queries: Any
) -> None:
    video = factory.judged(owner.user)
    for _ in range(20):
        AuthToken.objects.create(user=owner.user)
    with django_assert_num_queries(2):  # the token, the task
        task = owner.get(f"/api/v1/tasks/{video.current_analysis_id}/").json()
    assert task["state"] == "succeeded"
    assert task["verdict"]["faces"]


@pytest.mark.parametrize("people", [1, 5])
def test_faces_cost_the_same_queries_however_many_there_are(
    owner: Caller, factory: Factory, people: int, django_assert_max_num_queries: Any
) -> None:
    video = factory.judged(owner.user, people=people)
    with django_assert_max_num_queries(6):
        assert len(ids(owner.get(f"/api/v1/videos/{video.pk}/faces/"))) == people * 10


@pytest.mark.parametrize("rows", [3, 30])
def test_reviews_cost_the_same_queries_however_many_there_are(
    owner: Caller, factory: Factory, rows: int, django_assert_max_num_queries: Any
) -> None:
    path = f"/api/v1/videos/{factory.video(owner.user).pk}/reviews/"
    for _ in range(rows):
        owner.post_json(path, {"label": "real"})
    with django_assert_max_num_queries(6):
        assert len(ids(owner.get(path))) == rows


def test_filters_choose_videos(owner: Caller, factory: Factory) -> None:
    queued = str(factory.video(owner.user, external_id="a b/ü").pk)
    fake = str(factory.judged(owner.user, score=0.9).pk)
    real = str(factory.judged(owner.user, score=0.1, label="real").pk)
    no_face = str(factory.without_face(owner.user).pk)
    failed = str(factory.failed(owner.user).pk)
    dead = str(factory.failed(owner.user, state=State.DEAD, code="gave_up").pk)
    old = timezone.now() - timedelta(days=30)
    Video.objects.filter(pk=queued).update(created_at=old)

    def found(**query: str) -> set[str]:
        return set(ids(owner.get("/api/v1/videos/?" + urlencode(query))))

    assert found(status="queued") == {queued}
    assert found(status="succeeded") == {fake, real}
    assert found(status="no_face") == {no_face}
    assert found(status="failed") == {failed, dead}
    assert found(verdict="fake") == {fake}
    assert found(verdict="real") == {real}
    assert found(label="real") == {real}
    assert found(label="fake") == set()
    assert found(needs_review="true") == {fake, real}
    assert found(needs_review="False") == {queued, no_face, failed, dead}
    assert found(external_id="a b/ü") == {queued}
    assert found(external_id="A B/ü") == set()
    assert found(created_before=old.isoformat()) == set()
    assert found(created_after=old.isoformat(), created_before=(old + timedelta(days=1)).isoformat()) == {queued}
    assert found(created_after="2020-01-01", needs_review="true", verdict="real") == {real}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "dead"),
        ("status", "done"),
        ("verdict", "maybe"),
        ("label", "FAKE"),
        ("needs_review", "perhaps"),
        ("created_after", "yesterday"),
        ("created_before", "2026-13-01"),
        ("created_after", "0001-01-01T00:00:00+14:00"),
        ("created_before", "9999-12-31T23:59:59-14:00"),
        ("external_id", "a\x00b"),
        ("external_id", "x" * 201),
        *((name, "") for name in VideoFilters.base_filters),
        ("created_before", " "),
    ],
)
def test_a_filter_that_cannot_be_is_an_error(owner: Caller, problem: Problem, name: str, value: str) -> None:
    body = problem(owner.get("/api/v1/videos/?" + urlencode({name: value})), 400, "validation_error")
    assert [error["field"] for error in body["errors"]] == [name]


# --- models ------------------------------------------------------------------------------------------------------


def test_models_are_listed_with_their_metrics_and_the_active_one_is_named(owner: Caller, factory: Factory) -> None:
    old, new = factory.model(active=False), factory.model(metrics={"auc": 0.7})
    assert ids(owner.get("/api/v1/models/")) == [str(new.pk), str(old.pk)]
    active = owner.get("/api/v1/models/active/").json()
    assert (active["kind"], active["source"]) == ("network", "")
    assert (active["id"], active["metrics"], active["active"]) == (str(new.pk), {"auc": 0.7}, True)
    assert "file" not in active


def test_without_an_active_model_there_is_none_to_read(owner: Caller, factory: Factory, problem: Problem) -> None:
    factory.model(active=False)
    problem(owner.get("/api/v1/models/active/"), 404, "no_active_model")
