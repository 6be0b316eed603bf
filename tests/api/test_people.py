"""Answers for people over REST: what is taken, what is refused, and what is shown to whom."""

from __future__ import annotations

from typing import Any

import pytest

from detection.models import ReviewNext, Video
from tests.api.conftest import Caller, Factory
from tests.api.test_write import Problem

POSTER = [{"track": 0, "label": "not_a_person"}, {"track": 1, "label": "real"}]


def two_people(factory: Factory, owner: Caller) -> Video:
    """The first one scores 0.9, the second 0.2."""
    video = factory.judged(owner.user, people=2)
    assert video.current_verdict is not None
    video.current_verdict.people[1]["fake_probability"] = 0.2
    video.current_verdict.save()
    Video.objects.update(audit_rank=0)
    return video


def test_who_is_no_person_is_said_and_both_verdicts_are_shown(
    owner: Caller, reviewer: Caller, factory: Factory
) -> None:
    video = two_people(factory, owner)
    path = f"/api/v1/videos/{video.pk}/"
    before = owner.get(path).json()
    assert (before["people"], before["people_version"]) == ([], 0)
    assert (before["verdict"]["left_out"], before["verdict"]["with_everybody"]) == ([], None)
    answer = reviewer.post_json(f"{path}reviews/", {"people": POSTER, "people_version": 0})
    assert answer.status_code == 201
    told = answer.json()
    assert (told["label"], told["people"], told["people_version"]) == ("real", POSTER, 0)
    after = owner.get(path).json()
    assert (after["label"], after["people"]) == ("real", POSTER)
    verdict = after["verdict"]
    assert (verdict["label"], verdict["fake_probability"], verdict["track"]) == ("real", 0.2, 1)
    assert (verdict["left_out"], verdict["review_reasons"]) == ([0], ["experimental_model"])
    assert verdict["with_everybody"] == {
        "label": "fake", "fake_probability": 0.9, "track": 0, "needs_review": True,
        "review_reasons": ["experimental_model"], "assessment": "likely_fake",
    }  # fmt: skip
    assert after["segments"][0]["fake_probability"] == 0.2
    (listed,) = owner.get(f"{path}reviews/").json()["results"]
    assert listed["people"] == POSTER
    assert [row["id"] for row in owner.get("/api/v1/videos/?verdict=real").json()["results"]] == [str(video.pk)]
    assert reviewer.post_json(f"{path}reviews/", {"label": "real", "people": []}).json()["people"] == []
    assert owner.get(path).json()["verdict"]["label"] == "fake"


def test_a_second_reader_is_told_nothing_of_people(
    owner: Caller, reviewer: Caller, admin: Caller, factory: Factory
) -> None:
    video = two_people(factory, owner)
    path = f"/api/v1/videos/{video.pk}/"
    admin.post_json(f"{path}reviews/", {"people": POSTER})
    Video.objects.update(review_next=ReviewNext.SECOND)
    shown = reviewer.get(path).json()
    assert shown["withheld"]
    assert (shown["people"], shown["label"], shown["verdict"]) == ([], None, None)


@pytest.mark.parametrize(
    "body",
    [
        {"people": []},
        {"people": [{"track": 0}]},
        {"people": [{"track": -1, "label": "fake"}]},
        {"people": [{"track": 10**9, "label": "fake"}]},
        {"people": [{"track": 0, "label": "no_face"}]},
        {"people": [{"track": 0, "label": "fake"}, {"track": 0, "label": "real"}]},
        {"people": [{"track": track, "label": "fake"} for track in range(300)]},
        {"people": {"0": "fake"}},
        {"people": "fake"},
        {"label": "fake", "people": None},
        {"label": "fake", "people": [{"track": 0, "label": "fake"}], "people_version": -1},
    ],
)
def test_what_is_no_answer_is_refused(
    reviewer: Caller, owner: Caller, factory: Factory, problem: Problem, body: Any
) -> None:
    video = two_people(factory, owner)
    problem(reviewer.post_json(f"/api/v1/videos/{video.pk}/reviews/", body), 400, "validation_error")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"people": POSTER[:1]}, 409, "incomplete_people"),
        ({"people": [{"track": 2, "label": "fake"}]}, 409, "unknown_person"),
        ({"label": "fake", "people": POSTER}, 409, "label_contradicts_people"),
        ({"people": POSTER, "people_version": 3}, 409, "people_changed"),
    ],
)
def test_what_cannot_be_said_of_this_video_is_refused(
    reviewer: Caller, owner: Caller, factory: Factory, problem: Problem, body: Any, status: int, code: str
) -> None:
    video = two_people(factory, owner)
    problem(reviewer.post_json(f"/api/v1/videos/{video.pk}/reviews/", body), status, code)
    assert not video.reviews.exists()
