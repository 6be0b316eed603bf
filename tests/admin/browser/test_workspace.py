"""Fifty videos by keyboard alone in a real browser, with an undo, a conflict over a claim, and a second reader."""

from __future__ import annotations

import statistics
from collections import Counter
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from pytest_django.live_server_helper import LiveServer

from detection.admin.review import workspace
from detection.models import Review, ReviewClaim, ReviewNext, Video
from tests.admin.browser.driving import MARKS, log_in, press, shown
from tests.admin.conftest import PASSWORD, Rows

pytestmark = MARKS

ITEMS = 50
TRIP = """async () => {
    const began = performance.now();
    await fetch("/healthz");
    return performance.now() - began;
}"""
"""Milliseconds that a request takes which does nothing."""


def test_fifty_videos_by_keyboard(
    live_server: LiveServer, page: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace, "ANSWER_DELAY_MS", 0)  # nobody reads this fast
    settings.DFD_REVIEW_AUDIT_SHARE = settings.DFD_REVIEW_SECOND_SHARE = 0.0
    rows = Rows(owner=User.objects.create_user("client", password=PASSWORD))
    maria, ben = (rows.reader(name) for name in ("maria", "ben"))
    model = rows.model()
    for k in range(ITEMS + 6):
        rows.with_verdict(f"clip {k:02}", model=model, score=0.6 + k / 1000)  # all of them called fake
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))

    log_in(page, live_server, "maria")
    assert shown(page) == "clip 00"
    page.wait_for_function("() => !document.querySelector('#dfd-ws-error:not([hidden])')")
    other = page.context.browser.new_page()
    log_in(other, live_server, "ben")
    assert shown(other) not in ("clip 00", "clip 01")  # maria has the first, and the second fetched ahead

    took = []
    answered: list[tuple[str, str]] = []
    keys = {"f": "fake", "r": "real", "u": "unsure", "n": "no_face"}
    for k in range(ITEMS):
        key = "frun"[k % 4] if k < 8 else "f"
        answered.append((shown(page), keys[key]))
        took.append(press(page, key))
        if k == 3:  # the last answer is taken back, and given anew
            name, _ = answered[-1]
            press(page, "z")
            assert shown(page) == name
            press(page, "f")
            answered[-1] = (name, "fake")
        if k == 5:  # the video that stands there goes to ben
            lost = shown(page)
            ReviewClaim.objects.filter(video__original_name=lost).update(reviewer=ben, token=uuid4())
            press(page, "r")
            page.get_by_role("alert").get_by_text(f"Your answer to {lost} was not stored").wait_for()
            ReviewClaim.objects.filter(video__original_name=lost).delete()
    page.get_by_text(f"{answered[-1][0]} is fake").wait_for()
    page.keyboard.press("?")
    page.get_by_role("dialog").get_by_text("Take the last answer back").wait_for()
    page.keyboard.press("Escape")
    assert not faults
    trips = [float(page.evaluate(TRIP)) for _ in range(10)]
    assert statistics.median(took) < max(300, 30 * statistics.median(trips))  # a busy machine is slow at both

    # the rows, to the last field
    kept = Review.objects.not_undone().filter(reviewer=maria).order_by("created_at")
    assert sorted((row.video.original_name, row.label) for row in kept) == sorted(answered)
    assert Counter(Review.objects.values_list("role", flat=True)) == {"first": len(answered) + 1, "undo": 1}
    undone = Review.objects.get(role="undo").undoes
    assert undone is not None
    again = kept.get(video=undone.video)
    assert (undone.label, undone.score_shown, again.label, again.score_shown) == ("no_face", False, "fake", True)
    for row in kept:
        assert (row.queue, row.role, row.model_version, row.verdict) == (
            "uncertain", "first", model, row.video.current_verdict,
        )  # fmt: skip
        assert row.model_probability == row.video.fake_probability
        assert row.score_shown == (row == again)
        assert row.seconds is not None
        assert 0 <= row.seconds < 60
        assert row.video.label == row.label

    # ben reads those in which maria and the model disagree, without being told what she said
    wanted = set(Video.objects.filter(review_next=ReviewNext.SECOND).values_list("original_name", flat=True))
    assert wanted == {name for name, label in answered if label == "real"}
    other.locator("#dfd-ws-queue").select_option("disagreement")
    for _ in wanted:
        other.get_by_text("A second reading").wait_for()
        assert "maria" not in other.locator("[data-claim]").inner_text()
        press(other, "r")
    other.get_by_text("Nothing waits in this queue").wait_for()
    second = Review.objects.filter(reviewer=ben)
    assert {row.video.original_name for row in second if row.role == "second"} == wanted
    assert not Video.objects.exclude(review_next=ReviewNext.NOBODY).exists()


def test_a_video_whose_clip_is_gone_is_judged_by_its_pictures(live_server: LiveServer, page: Any) -> None:
    rows = Rows(owner=User.objects.create_user("client", password=PASSWORD))
    rows.reader("maria")
    model = rows.model()
    rows.with_verdict("gone", model=model, score=0.51)
    rows.with_verdict("there", model=model, score=0.6)
    gone = Video.objects.filter(original_name="gone")
    gone.update(file="", clip="", original_removed_at=datetime(2026, 11, 3, 12, tzinfo=UTC))
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    log_in(page, live_server, "maria")
    assert shown(page) == "gone"
    said = page.locator("[data-gone]").inner_text()
    assert said.startswith("The original was removed by the retention policy on 3 November 2026.")
    assert page.locator("[data-film]").count() == 0
    assert page.locator("[data-face]").count() == 10
    for key in (" ", "ArrowRight", "l", "[", "1"):  # the player's keys have nothing to do; a person's still has
        page.keyboard.press(key)
    page.locator("[data-face]").first.click()
    press(page, "u")
    assert shown(page) == "there"
    page.locator("[data-film]").wait_for(state="attached")
    page.get_by_text("Recorded:").wait_for()  # the next video stands there before the server has answered
    assert gone.get().label == "unsure"
    assert faults == []
    assert not [url for url in asked if str(gone.get().pk) in url and url.endswith(("/clip", "/original"))]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_fault(live_server: LiveServer, page: Any, theme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    rows = Rows(owner=User.objects.create_user("client", password=PASSWORD))
    rows.reader("maria")
    model = rows.model()
    for name in ("one", "two"):
        rows.with_verdict(name, model=model, people=2)
    rows.no_face("empty")
    log_in(page, live_server, "maria")
    faults = []
    for path in (
        "review/",
        "review/?queue=no_face",
        "",
        "detection/video/",
        "detection/prediction/",
        "detection/nofacevideo/",
    ):
        page.goto(f"{live_server.url}/admin/{path}")
        page.wait_for_load_state("networkidle")
        page.evaluate("dark => document.documentElement.classList.toggle('dark', dark)", theme == "dark")
        found = axe.run(page).response
        assert len(found["passes"]) > 10
        faults += [(path, fault["id"], fault["nodes"][0]["html"]) for fault in found["violations"]
                   if fault["impact"] in ("serious", "critical")]  # fmt: skip
    assert faults == []
