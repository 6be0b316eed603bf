"""Analysing again, reviewing and deleting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from detection.api.views.videos import VideoPart
from detection.errors import Refused
from detection.models import Analysis, EvidenceJob, EvidenceKind, FaceFrame, Review, Stage, Verdict, Video
from detection.selectors import videos
from detection.services.jobs import evidence
from detection.services.jobs.leases import LeaseLost
from detection.services.uploads.uploads import delete_video
from tests.api.conftest import Caller, Factory

pytestmark = pytest.mark.django_db
Problem = Callable[..., dict[str, Any]]


def test_analysing_again_is_a_new_task_under_the_active_model(owner: Caller, factory: Factory) -> None:
    video = factory.judged(owner.user)
    response = owner.post_json(f"/api/v1/videos/{video.pk}/analyze/")
    assert response.status_code == 202
    task = response.json()
    assert task["id"] != str(video.current_analysis_id)
    assert (task["state"], task["stage"], task["video"]) == ("queued", "classify", str(video.pk))
    assert owner.get(response["Location"]).json() == task
    shown = owner.get(f"/api/v1/videos/{video.pk}/").json()
    assert shown["task"]["id"] == task["id"]
    assert shown["verdict"] is not None  # the old one stands until there is a new one


def test_analysing_again_needs_no_body_and_may_ask_for_new_faces(owner: Caller, factory: Factory) -> None:
    video = factory.judged(owner.user)
    assert (
        owner.request("post", f"/api/v1/videos/{video.pk}/analyze/", content_type="application/json").status_code == 202
    )
    Analysis.objects.filter(state="queued").delete()
    task = owner.post_json(f"/api/v1/videos/{video.pk}/analyze/", {"reuse_faces": False}).json()
    assert task["stage"] == Stage.EXTRACT


@pytest.mark.parametrize("value", [0, 1, "true", "off", None, []])
def test_whether_faces_are_used_again_is_true_or_false(
    owner: Caller, factory: Factory, problem: Problem, value: Any
) -> None:
    path = f"/api/v1/videos/{factory.judged(owner.user).pk}/analyze/"
    problem(owner.post_json(path, {"reuse_faces": value}), 400, "validation_error")


def test_an_open_task_is_answered_and_no_second_one_begun(owner: Caller, factory: Factory, settings: Any) -> None:
    video = factory.video(owner.user)
    settings.DFD_MAX_VIDEOS_IN_FLIGHT = 1
    task = owner.post_json(f"/api/v1/videos/{video.pk}/analyze/")
    assert (task.status_code, task.json()["id"]) == (202, str(video.current_analysis_id))
    assert Analysis.objects.count() == 1


def test_analysing_again_counts_against_the_quota(
    owner: Caller, factory: Factory, problem: Problem, settings: Any
) -> None:
    factory.video(owner.user)
    video = factory.judged(owner.user)
    settings.DFD_MAX_VIDEOS_IN_FLIGHT = 1
    problem(owner.post_json(f"/api/v1/videos/{video.pk}/analyze/"), 429, "quota_exceeded")


def test_a_review_is_appended_and_what_it_counts_for_is_told(owner: Caller, reviewer: Caller, factory: Factory) -> None:
    video = factory.judged(owner.user)
    path = f"/api/v1/videos/{video.pk}/reviews/"
    first = reviewer.post_json(path, {"label": "fake", "comment": "the mouth"})
    assert first.status_code == 201
    assert first.json().items() >= {
        "label": "fake", "comment": "the mouth", "reviewer": "reviewer", "video": str(video.pk),
        "verdict": str(video.current_verdict_id),
    }.items()  # fmt: skip
    assert first.json()["counts_as"] == "review"
    opinion = owner.post_json(path, {"label": "real"})
    assert (opinion.status_code, opinion.json()["counts_as"]) == (201, "opinion")
    told = [(row["label"], row["counts_as"]) for row in owner.get(path).json()["results"]]
    assert told == [("real", "opinion"), ("fake", "review")]
    shown = owner.get(f"/api/v1/videos/{video.pk}/").json()
    assert shown["label"] == "fake"
    assert shown["verdict"]["needs_review"] is True  # what the verdict said stays


@pytest.mark.parametrize("label", ["real", "fake", "no_face", "unsure"])
def test_every_label_can_be_given(owner: Caller, factory: Factory, label: str) -> None:
    path = f"/api/v1/videos/{factory.without_face(owner.user).pk}/reviews/"
    assert owner.post_json(path, {"label": label}).json()["label"] == label


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"label": "FAKE"},
        {"label": ""},
        {"label": None},
        {"label": []},
        {"label": "real", "comment": "x" * 2001},
        {"label": "real", "comment": "a\x00b"},
        {"label": "real", "comment": {}},
        {"label": "real", "comment": None},
        {"label": "real", "comment": 0},
        {"label": "real", "people_version": "1"},
        {"label": "real", "people_version": True},
        {"people": [{"track": "0", "label": "real"}]},
        [],
    ],
)
def test_a_review_that_cannot_be_is_refused(owner: Caller, factory: Factory, problem: Problem, body: Any) -> None:
    path = f"/api/v1/videos/{factory.video(owner.user).pk}/reviews/"
    problem(owner.post_json(path, body), 400, "validation_error")
    assert Review.objects.count() == 0


@pytest.mark.parametrize(
    "body",
    [
        b'{"label": "\\ud800"}', b'{"label": {"\\ud800": 1}}', b'{"people": [{"track": 0, "label": "\\ud800"}]}',
        b'{"label": "real", "comment": "\\ud800"}', b'{"label": "real", "people": {"\\ud800": 1}}',
    ],
)  # fmt: skip
def test_half_a_character_is_refused_in_an_answer_that_can_be_read(
    owner: Caller, factory: Factory, problem: Problem, body: bytes
) -> None:
    path = f"/api/v1/videos/{factory.video(owner.user).pk}/reviews/"
    answer = owner.request("post", path, data=body, content_type="application/json")
    assert problem(answer, 400, "validation_error")["errors"]
    assert Review.objects.count() == 0


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 400, "parse_error"), (b"\xff", 400, "parse_error"), (b"[" * 20_000, 400, "parse_error"),
        (b'{"label": NaN}', 400, "parse_error"), (b" " * 70_000, 413, "request_too_large"),
        (b'{"label": "real", "comment": "\\ud800"}', 400, "validation_error"),
    ],
    ids=["cut", "no utf-8", "deep", "nan", "long", "half a pair"],
)  # fmt: skip
def test_a_body_that_cannot_be_read_is_refused(
    owner: Caller, factory: Factory, problem: Problem, content: bytes, status: int, code: str
) -> None:
    path = f"/api/v1/videos/{factory.video(owner.user).pk}/reviews/"
    problem(owner.request("post", path, data=content, content_type="application/json"), status, code)


def test_a_deleted_video_leaves_no_row_and_no_file(
    owner: Caller,
    factory: Factory,
    stored_files: Callable[[], list[str]],
    problem: Problem,
    django_capture_on_commit_callbacks: Any,
) -> None:
    kept = factory.judged(owner.user)
    video = factory.judged(owner.user)
    owner.post_json(f"/api/v1/videos/{video.pk}/reviews/", {"label": "fake"})
    with django_capture_on_commit_callbacks(execute=True):
        response = owner.request("delete", f"/api/v1/videos/{video.pk}/")
    assert (response.status_code, response.content) == (204, b"")
    for table in (Analysis, FaceFrame, Verdict, Review):
        assert not table.objects.filter(video_id=video.pk).exists()
    assert stored_files()
    assert all(str(kept.pk) in path for path in stored_files())
    assert list(Video.objects.all()) == [kept]
    problem(owner.get(f"/api/v1/videos/{video.pk}/"), 404, "not_found")
    problem(owner.get(f"/api/v1/tasks/{video.current_analysis_id}/"), 404, "not_found")
    problem(owner.request("delete", f"/api/v1/videos/{video.pk}/"), 404, "not_found")


def test_a_worker_whose_video_is_deleted_finds_its_claim_gone(owner: Caller, factory: Factory) -> None:
    from detection.services.jobs import analyses

    video = factory.video(owner.user)
    assert video.current_analysis_id is not None
    claim = analyses.claim(analysis_id=video.current_analysis_id, stage=Stage.EXTRACT, worker="w")
    assert claim is not None
    assert owner.request("delete", f"/api/v1/videos/{video.pk}/").status_code == 204
    with pytest.raises(LeaseLost):
        analyses.heartbeat(claim=claim, progress=10)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("path", "body"),
    [("analyze/", {}), ("analyze/", {"reuse_faces": False}), ("reviews/", {"label": "fake"})],
)
def test_a_video_that_is_deleted_between_the_look_and_the_write_is_not_found(
    owner: Caller, factory: Factory, problem: Problem, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any]
) -> None:
    video = factory.judged(owner.user)
    look = VideoPart.get_video

    def look_and_lose(view: VideoPart) -> Video:
        found: Video = look(view)
        delete_video(video=Video.objects.get(pk=found.pk))  # another request, which has come in between
        return found

    monkeypatch.setattr(VideoPart, "get_video", look_and_lose)
    problem(owner.post_json(f"/api/v1/videos/{video.pk}/{path}", body), 404, "not_found")
    assert not Analysis.objects.exists()
    assert not Review.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", EvidenceKind.values)
def test_evidence_of_a_video_that_is_deleted_meanwhile_is_not_found(
    owner: Caller, factory: Factory, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    video = factory.judged(owner.user)

    def lose(*_: Video, **__: Any) -> None:
        delete_video(video=Video.objects.get(pk=video.pk))

    checks = ("_check_has_something_to_show", "check_may_have_report")
    for owner_of, check in (*((evidence, name) for name in checks), (videos, "check_original")):
        monkeypatch.setattr(owner_of, check, lose)
    with pytest.raises(Refused) as refusal:
        evidence.request(video=video, kind=kind, by=owner.user)
    assert (refusal.value.code, refusal.value.status) == ("not_found", 404)
    assert not EvidenceJob.objects.exists()
