"""Fifty videos by keyboard, ten of them with two people answered for by themselves."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django.live_server_helper import LiveServer

from detection.admin.review import workspace
from detection.models import AuditEntry, Review, Verdict, Video
from tests.admin.browser.driving import MARKS, log_in, press, shown
from tests.admin.conftest import PASSWORD, Rows

pytestmark = MARKS

ITEMS, APART = 50, 10
WORDS = {"f": "fake", "r": "real", "n": "not_a_person", "u": "unsure"}
PAIRS = ("fr", "rf", "nr", "rn", "rr", "nn", "fu", "ru", "un", "fn")
"""What is said of the two people of each, by key."""
FOLLOWS = ("fake", "fake", "real", "real", "real", "no_face", "fake", "unsure", "unsure", "fake")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setattr(workspace, "ANSWER_DELAY_MS", 0)  # nobody reads this fast
    settings.DFD_REVIEW_AUDIT_SHARE = settings.DFD_REVIEW_SECOND_SHARE = 0.0


@pytest.mark.timeout(1500)  # two hundred keys, also on a machine that has much else to do
@pytest.mark.usefixtures("at_once")
def test_ten_of_fifty_are_answered_for_person_by_person(live_server: LiveServer, page: Any) -> None:
    rows = Rows(owner=User.objects.create_user("client", password=PASSWORD))
    maria = rows.reader("maria")
    model = rows.model()
    for k in range(ITEMS):
        rows.with_verdict(f"clip {k:02}", model=model, score=0.6 + k / 1000, people=2 if k % 5 == 0 else 1)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.route("**/api/v1/**", lambda route: route.abort())  # six hundred pictures that nobody looks at here
    log_in(page, live_server, "maria")

    wanted: dict[str, tuple[str, dict[str, str] | None]] = {}
    for k in range(ITEMS):
        name = shown(page)
        assert name == f"clip {k:02}"
        if k % 5:
            wanted[name] = ("real" if k % 2 else "fake", None)
            press(page, "r" if k % 2 else "f")
            continue
        one, two = list(PAIRS[k // 5])
        page.keyboard.press("1")
        if k == 0:  # the other one first, and what is not sent yet is taken back
            page.get_by_text("The keys answer for person 1 of 2.").wait_for()
            assert page.locator("#dfd-ws-buttons").get_by_text("Not a person").is_visible()
            page.keyboard.press("2")
            page.keyboard.press("u")
            page.get_by_text("The keys answer for person 1 of 2.").wait_for()
            page.keyboard.press("z")
            page.get_by_text("The keys answer for person 2 of 2.").wait_for()
            page.keyboard.press("1")
        page.keyboard.press(one)
        if k == 0:
            page.get_by_text("The keys answer for person 2 of 2.").wait_for()
            assert page.locator("[data-person='1'] [data-mark]").is_visible()
        press(page, two)
        wanted[name] = (FOLLOWS[k // 5], {"0": WORDS[one], "1": WORDS[two]})
    page.get_by_text("Nothing waits in this queue").wait_for()
    page.get_by_text("clip 49 is real").wait_for()
    assert faults == []

    # the rows, to the last field
    kept = list(Review.objects.order_by("created_at", "id"))
    assert [(row.video.original_name, (row.label, row.people)) for row in kept] == list(wanted.items())
    for row in kept:
        verdict = Verdict.objects.get(video=row.video)
        assert (row.reviewer, row.queue, row.role, row.score_shown, row.comment) == (
            maria,
            "uncertain",
            "first",
            False,
            "",
        )
        assert (row.verdict, row.model_version, row.undoes, row.batch) == (verdict, model, None, None)
        assert row.people_version is None
        own = verdict.with_everybody["fake_probability"] if verdict.with_everybody else verdict.fake_probability
        assert row.model_probability == own
        assert row.seconds is not None
        assert 0 <= row.seconds < 600
        assert row.video.label == row.label
        assert row.video.person_labels == row.people
        gone = [int(track) for track, label in (row.people or {}).items() if label == "not_a_person"]
        assert (verdict.left_out or []) == gone
        if gone == [0]:  # the first person's score was the verdict
            assert (verdict.track, verdict.label) == (1, "real")
            assert verdict.with_everybody is not None
            assert verdict.with_everybody["label"] == "fake"
            assert verdict.fake_probability == pytest.approx(own / 2)
        else:
            assert (verdict.track, verdict.label) == (0, "fake")
    left_out = AuditEntry.objects.filter(action="person_left_out").order_by("number")
    assert [entry.facts["tracks"] for entry in left_out] == [[0], [1], [0, 1], [1], [1]]
    assert {entry.actor for entry in left_out} == {"maria"}


@pytest.mark.usefixtures("at_once")
def test_what_is_left_out_is_said_and_undo_brings_it_back(live_server: LiveServer, page: Any) -> None:
    rows = Rows(owner=User.objects.create_user("client", password=PASSWORD))
    rows.reader("maria")
    model = rows.model()
    video = rows.with_verdict("one", model=model, score=0.8, people=2)
    rows.with_verdict("two", model=model, score=0.9, people=3)
    log_in(page, live_server, "maria")
    page.keyboard.press("1")
    page.keyboard.press("f")
    page.keyboard.press("Escape")  # after all for the whole video: nothing of it is kept
    page.locator("#dfd-ws-whom").wait_for(state="hidden")
    assert page.locator("[data-mark]:visible").count() == 0
    page.keyboard.press("1")
    page.keyboard.press("n")
    press(page, "r")
    assert shown(page) == "two"
    told = page.locator("#dfd-ws-said")
    told.get_by_text("Without person 1 it is real, 0.40.").wait_for()
    assert "one is real (person 1 not a person, person 2 real)" in told.inner_text()
    assert "The model says fake, 0.80 (threshold 0.50)." in told.inner_text()
    video.refresh_from_db()
    assert (video.verdict_label, video.review_next) == ("real", "second")  # against the model: somebody else looks
    page.locator("[data-choose='3']").click()
    page.get_by_text("The keys answer for person 3 of 3.").wait_for()
    page.keyboard.press("Escape")
    press(page, "z")
    assert shown(page) == "one"
    video.refresh_from_db()
    assert (video.verdict_label, video.label, video.person_labels) == ("fake", "", None)
    press(page, "f")
    page.get_by_text("one is fake").wait_for()
    assert Review.objects.not_undone().get().people is None


@pytest.mark.usefixtures("at_once")
def test_faces_that_are_others_by_now_are_not_answered_for(live_server: LiveServer, page: Any) -> None:
    rows = Rows(owner=User.objects.create_user("client", password=PASSWORD))
    rows.reader("maria")
    rows.with_verdict("one", model=rows.model(), people=2)
    log_in(page, live_server, "maria")
    Video.objects.update(people_version=1)
    page.keyboard.press("1")
    page.keyboard.press("f")
    page.keyboard.press("r")
    page.get_by_role("alert").get_by_text("The faces were looked for anew meanwhile").wait_for()
    assert not Review.objects.exists()
