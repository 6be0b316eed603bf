"""The contact sheet by keyboard in a real browser; and a workspace whose reviewer is logged out in mid-work."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from pytest_django.live_server_helper import LiveServer

from detection.models import Review, ReviewBatch, ReviewClaim
from tests.admin.browser.driving import MARKS, log_in, press, shown
from tests.admin.conftest import Rows

pytestmark = MARKS


@pytest.fixture
def rows(rows: Rows) -> Rows:
    model = rows.model()
    for k in range(6):
        rows.with_verdict(f"clip {k}", model=model, score=0.6 + k / 100)
    return rows


def test_many_are_labelled_by_keyboard_with_a_counted_confirmation_and_reverted(
    live_server: LiveServer, page: Any, rows: Rows
) -> None:
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    # Not by way of the workspace: what it had asked for while it was being left would be missing on the sheet.
    log_in(page, live_server, "maria", "/admin/review/sheet/?queue=uncertain")
    page.get_by_role("button", name="clip 5").wait_for()
    page.keyboard.press("a")
    page.get_by_role("button", name="Fake: 6 videos").wait_for()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")  # the first one is not meant
    page.keyboard.press("f")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Label 5 videos as fake?").wait_for()
    yes = dialog.get_by_role("button", name="Label 5 videos")
    page.keyboard.type("6")
    assert yes.is_disabled()
    page.keyboard.press("Enter")
    assert not Review.objects.exists()
    page.keyboard.press("Backspace")
    page.keyboard.type("5")
    assert yes.is_enabled()
    page.keyboard.press("Enter")
    page.get_by_text("Recorded: 5 videos labelled fake.").wait_for()
    assert sorted(row.video.original_name for row in Review.objects.all()) == [f"clip {k}" for k in range(1, 6)]
    page.get_by_role("button", name="clip 5").wait_for(state="detached")
    assert page.locator(".dfd-sheet__card").count() == 1
    page.get_by_role("button", name="Revert").click()
    page.get_by_text("Reverted: the labels of 5 videos are taken back.").wait_for()
    page.get_by_role("button", name="clip 5").wait_for()
    assert not Review.objects.not_undone().exists()
    assert ReviewBatch.objects.count() == 2
    assert not faults


@pytest.mark.parametrize("arrives", [True, False])
def test_a_decision_whose_answer_is_lost_is_sent_again_as_the_same_one(
    live_server: LiveServer, page: Any, rows: Rows, arrives: bool
) -> None:
    """The network is gone before the answer comes, or before anything arrives: only the server knows which."""
    sent: list[dict[str, Any]] = []
    gone = [True]

    def cut(route: Any) -> None:
        sent.append(route.request.post_data_json)
        if gone[0]:
            if arrives:
                assert route.fetch().status == 200
            route.abort()
        else:
            route.continue_()

    page.route("**/admin/review/sheet-label/", cut)
    log_in(page, live_server, "maria", "/admin/review/sheet/?queue=uncertain")
    page.get_by_role("button", name="clip 5").wait_for()
    page.keyboard.press("a")
    page.get_by_role("button", name="Fake: 6 videos").wait_for()
    page.keyboard.press("f")
    page.keyboard.type("6")
    page.keyboard.press("Enter")
    alert = page.get_by_role("alert")
    alert.get_by_text("Not known yet whether it was stored (6 videos labelled fake).").wait_for()
    assert Review.objects.count() == (6 if arrives else 0)
    assert page.get_by_role("button", name="Fake: 6 videos").is_disabled()
    page.keyboard.press("r")  # another decision has to wait
    assert page.get_by_role("dialog").count() == 0
    gone[0] = False
    page.get_by_text("Recorded: 6 videos labelled fake.").wait_for()
    assert not page.get_by_text("Not known yet").is_visible()
    assert len(sent) > 1
    assert all(one == sent[0] for one in sent)
    assert (ReviewBatch.objects.count(), Review.objects.count()) == (1, 6)


def test_a_decision_that_is_refused_is_not_stored_and_not_sent_again(
    live_server: LiveServer, page: Any, rows: Rows
) -> None:
    sent: list[str] = []
    page.on("request", lambda one: sent.append(one.url) if "sheet-label" in one.url else None)
    log_in(page, live_server, "maria", "/admin/review/sheet/?queue=uncertain")
    page.get_by_role("button", name="clip 5").wait_for()
    ReviewClaim.objects.all().delete()
    page.keyboard.press("a")
    page.get_by_role("button", name="Fake: 6 videos").wait_for()
    page.keyboard.press("f")
    page.keyboard.type("6")
    page.keyboard.press("Enter")
    page.get_by_role("alert").get_by_text("Not stored: 6 of them went to somebody else").wait_for()
    assert page.get_by_role("button", name="Fake: 6 videos").is_enabled()
    assert len(sent) == 1
    assert not Review.objects.exists()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_fault_on_sheets_figures_and_bulk_decisions(
    live_server: LiveServer, page: Any, rows: Rows, theme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    log_in(page, live_server, "maria")
    press(page, "f")
    faults = []
    for path in ("review/sheet/", "review/figures/", "detection/reviewbatch/", "detection/review/"):
        page.goto(f"{live_server.url}/admin/{path}")
        page.wait_for_load_state("networkidle")
        page.evaluate("dark => document.documentElement.classList.toggle('dark', dark)", theme == "dark")
        if path == "review/sheet/":
            page.keyboard.press("a")
        found = axe.run(page).response
        assert len(found["passes"]) > 10
        faults += [(path, fault["id"], fault["nodes"][0]["html"]) for fault in found["violations"]
                   if fault["impact"] in ("serious", "critical")]  # fmt: skip
    assert faults == []


def test_an_answer_given_while_logged_out_is_stored_after_logging_in_again(
    live_server: LiveServer, page: Any, rows: Rows
) -> None:
    log_in(page, live_server, "maria")
    name = shown(page)
    page.wait_for_load_state("networkidle")
    Session.objects.all().delete()
    page.keyboard.press("f")
    page.get_by_role("alert").get_by_text("You are logged out").wait_for()
    assert not Review.objects.exists()
    client = Client()
    client.force_login(User.objects.get(username="maria"))
    cookie = client.cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": cookie, "url": live_server.url}])
    page.get_by_text(f"{name} is fake").wait_for()
    assert Review.objects.get().video.original_name == name
