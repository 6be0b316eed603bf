"""What is said of people by themselves, on the pages and in the calls of the workspace."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from detection.models import Review, ReviewNext, Video
from detection.services.reviews.people import PeopleAnswer
from detection.services.reviews.reviews import Reading, record_review, undo_review
from tests.admin.conftest import Rows

POSTER = {0: "not_a_person", 1: "real"}


def call(client: Client, name: str, **body: Any) -> Any:
    return client.post(reverse(f"review-{name}"), json.dumps(body), content_type="application/json")


@pytest.fixture
def judged(rows: Rows) -> Video:
    return rows.with_verdict("one", model=rows.model(), score=0.8, people=2, audit_rank=0)


@pytest.mark.parametrize("people", ["x", [1], [{"track": 0}], [{"track": "a", "label": "fake"}], {"0": "fake"}, 7])
def test_what_is_no_answer_for_people_is_refused(judged: Video, review_client: Client, people: Any) -> None:
    claim = call(review_client, "next").json()["item"]["claim"]
    answer = call(review_client, "answer", claim=claim, label="fake", people=people)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_people")
    assert not Review.objects.exists()


def test_an_answer_for_people_reveals_both_verdicts(judged: Video, review_client: Client) -> None:
    item = call(review_client, "next").json()["item"]
    assert [(person["track"], person["number"]) for person in item["people"]] == [(0, 1), (1, 2)]
    people = [{"track": track, "label": label} for track, label in POSTER.items()]
    told = call(
        review_client, "answer", claim=item["claim"], people=people, people_version=item["people_version"]
    ).json()
    assert told["mine"] == "real"
    assert told["people"] == [{"number": 1, "text": "not a person"}, {"number": 2, "text": "real"}]
    model = told["model"]
    assert (model["label"], model["score"], model["agrees"]) == ("fake", "0.80", True)
    assert model["without"] == {"people": [1], "label": "real", "score": "0.40"}


def test_who_settles_a_difference_is_told_what_was_said_of_whom(judged: Video, rows: Rows, as_user: Any) -> None:
    for name, said in (("ada", POSTER), ("bo", {0: "real", 1: "real"})):
        reader = rows.user(name, "reviewer", staff=True)
        record_review(video=judged, reviewer=reader, people=PeopleAnswer(said), reading=Reading(role="first"))
    judged.refresh_from_db()
    assert judged.review_next == ReviewNext.ADJUDICATE
    senior = as_user(rows.user("senior", "senior_reviewer", staff=True))
    item = call(senior, "next", queue="disagreement").json()["item"]
    told = {answer["who"]: [person["text"] for person in answer["people"]] for answer in item["answers"]}
    assert told == {"ada": ["not a person", "real"], "bo": ["real", "real"]}


def test_the_pages_show_people_and_both_verdicts_but_not_to_a_second_reader(
    judged: Video, rows: Rows, reviewer: User, review_client: Client, as_user: Any
) -> None:
    record_review(video=judged, reviewer=reviewer, people=PeopleAnswer(POSTER), reading=Reading(role="first"))
    page = reverse("admin:detection_video_change", args=(judged.pk,))
    text = " ".join(review_client.get(page).content.decode().split())
    assert "This is without person 1, called not a person by reviewers." in text
    assert "With everybody the model says <strong>fake</strong>, <strong>0.80</strong>." in text
    assert text.count("Not a person</span>") == 1
    decisions = review_client.get(reverse("admin:detection_review_changelist")).content.decode()
    assert "Real (1 not a person, 2 real)" in decisions
    assert "Fake (0.80" in decisions
    judged.refresh_from_db()
    assert judged.review_next == ReviewNext.SECOND
    second = as_user(rows.user("second", "reviewer", staff=True))
    for path in (page, reverse("admin:detection_review_changelist")):
        blind = second.get(path).content.decode().lower()
        assert "not a person" not in blind
        assert "with everybody" not in blind
    item = call(second, "next", queue="disagreement").json()["item"]
    assert item["role"] == "second"
    assert "not_a_person" not in json.dumps(item)
    assert "not a person" not in json.dumps(item).lower()


@pytest.mark.parametrize(
    ("language", "texts"),
    [
        ("en", ("Real (1 not a person, 2 real)", "Uncertain", "Fake (0.80, not shown)", "Took back: Real", "Chosen")),
        (
            "de",
            (
                "Echt (1 keine Person, 2 echt)",
                "Unsicher",
                "Gefälscht (0,80, nicht gezeigt)",
                "Zurückgenommen: Echt",
                "In einer Liste gewählt",
            ),
        ),
    ],
)
def test_the_page_of_a_decision_says_in_words_what_was_said_and_why_it_was_shown(
    judged: Video, reviewer: User, review_client: Client, language: str, texts: tuple[str, ...]
) -> None:
    reading = Reading(role="first", queue="uncertain", score_shown=False, seconds=3.25)
    one = record_review(video=judged, reviewer=reviewer, people=PeopleAnswer(POSTER), reading=reading)
    two = undo_review(review=one, by=reviewer)
    three = record_review(video=judged, reviewer=reviewer, label="fake", reading=Reading(role="sheet", queue="chosen"))
    addresses = [reverse("admin:detection_review_change", args=(review.pk,)) for review in (one, two, three)]
    pages = [review_client.get(address, HTTP_ACCEPT_LANGUAGE=language).content.decode() for address in addresses]
    assert not any(f"real: {reviewer.pk}" in page for page in pages)  # as its name, above
    bodies = [page.split('id="content"')[1] for page in pages]
    first, second, third, fourth, fifth = texts
    assert all(text in bodies[0] for text in (first, second, third)), bodies[0]
    assert fourth in bodies[1]
    assert fifth in bodies[2]
    assert not any(raw in body for body in bodies for raw in ("not_a_person", "uncertain<", "fake 0."))
