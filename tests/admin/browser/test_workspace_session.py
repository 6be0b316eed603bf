"""The workspace when the network, the login or another tab changes under it, in a real browser."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django.live_server_helper import LiveServer

from detection.models import Review, ReviewClaim, Video
from detection.services.reviews import workspace
from tests.admin.browser.driving import MARKS, log_in, shown
from tests.admin.browser.test_workspace_keys import answers, wait_for
from tests.admin.conftest import Rows

pytestmark = [*MARKS, pytest.mark.usefixtures("six_clips")]


def session(page: Any, server: LiveServer, user: User) -> None:
    """Somebody logs in in another tab: the browser has their cookies from now on."""
    client = Client()
    client.force_login(user)
    client.get("/admin/review/")
    page.context.add_cookies(
        [
            {"name": name, "value": cookie.value, "url": server.url}
            for name, cookie in client.cookies.items()
            if name in ("sessionid", "csrftoken")
        ]
    )


def wait_until_given_up(page: Any, name: str) -> None:
    """The page that was left says so behind the next one's back; until then that one shows nothing that could sway."""
    page.get_by_role("link", name="Back to the list").wait_for()
    deadline = time.monotonic() + 20
    while ReviewClaim.objects.filter(video__original_name=name).exists() and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    page.reload()


def test_without_a_network_nothing_is_said_to_be_done(live_server: LiveServer, page: Any, rows: Rows) -> None:
    log_in(page, live_server, "maria")
    wait_for(page, "clip 0")
    page.wait_for_function(
        "() => performance.getEntriesByType('resource').filter(e => e.name.endsWith('/next/')).length > 1"
    )
    page.wait_for_timeout(300)
    page.context.set_offline(True)
    page.keyboard.press("s")
    page.get_by_role("alert").get_by_text("The server cannot be reached.").wait_for()
    assert "Skipped" not in page.locator("#dfd-ws-said").inner_text()
    assert "Failed to fetch" not in page.locator("body").inner_text()
    assert shown(page) == "clip 0"
    page.keyboard.press("f")  # kept, and sent later; the next one was fetched ahead
    wait_for(page, "clip 1")
    page.keyboard.press("r")
    page.locator("[data-waiting]").wait_for()  # clip 1 does not stand there as if it waited for an answer
    assert page.locator("[data-claim]").count() == 0
    assert answers() == []
    page.context.set_offline(False)
    wait_for(page, "clip 2")
    page.get_by_text("clip 1 is real").wait_for()
    assert answers() == [("clip 0", "fake"), ("clip 1", "real")]


def test_an_undo_whose_reply_is_lost_is_asked_again_for_the_same_answer(
    live_server: LiveServer, page: Any, rows: Rows
) -> None:
    log_in(page, live_server, "maria")
    wait_for(page, "clip 0")
    page.keyboard.press("f")
    wait_for(page, "clip 1")
    page.keyboard.press("r")
    page.get_by_text("clip 1 is real").wait_for()

    def lost(route: Any) -> None:
        route.fetch()  # the server hears of it
        route.abort()

    page.route("**/undo/", lost, times=1)
    page.keyboard.press("z")
    page.get_by_role("alert").get_by_text("The server cannot be reached.").wait_for()
    assert answers() == [("clip 0", "fake")]
    page.keyboard.press("z")
    wait_for(page, "clip 1")
    assert answers() == [("clip 0", "fake")]
    page.keyboard.press("z")
    wait_for(page, "clip 0")
    assert answers() == []


@pytest.mark.parametrize("path", ["", "sheet/"])
def test_what_the_page_before_gave_back_a_moment_later_is_found(
    live_server: LiveServer, page: Any, rows: Rows, path: str
) -> None:
    maria = User.objects.get(username="maria")
    assert len(workspace.open_sheet(reviewer=maria, queue="uncertain")) == 6
    asked = []

    def late(route: Any) -> None:
        asked.append(route.fetch().json())
        ReviewClaim.objects.all().delete()  # now the server hears of the end of the page before
        route.fulfill(json=asked[-1])

    page.route(re.compile("/(next|sheet-open)/$"), late, times=1)
    log_in(page, live_server, "maria", f"/admin/review/{path}?queue=uncertain")
    page.get_by_text("clip 0").first.wait_for()
    assert not asked[0].get("item")
    assert not asked[0].get("items")


def test_an_answer_waits_for_its_own_reviewer_to_be_logged_in(live_server: LiveServer, page: Any, rows: Rows) -> None:
    maria, ben = User.objects.get(username="maria"), rows.reader("ben")
    log_in(page, live_server, "maria")
    wait_for(page, "clip 0")
    page.context.clear_cookies()
    page.keyboard.press("f")
    page.get_by_role("alert").get_by_text("You are logged out.").wait_for()

    session(page, live_server, ben)
    page.get_by_role("alert").get_by_text("ben is logged in now, in another tab.").wait_for()
    assert answers() == []
    assert not ReviewClaim.objects.filter(reviewer=ben).exists()

    session(page, live_server, maria)
    page.get_by_text("clip 0 is fake").wait_for()
    assert [row.reviewer for row in Review.objects.all()] == [maria]


def test_two_tabs_of_one_reviewer_have_different_videos(live_server: LiveServer, page: Any, rows: Rows) -> None:
    context = page.context.browser.new_context()
    page, other = context.new_page(), context.new_page()
    log_in(page, live_server, "maria")
    other.goto(f"{live_server.url}/admin/review/")
    other.locator("[data-claim]").wait_for()
    page.wait_for_timeout(500)
    names = [shown(page), shown(other)]
    assert len(set(names)) == 2
    page.keyboard.press("f")
    page.get_by_text(f"{names[0]} is fake").wait_for()
    other.keyboard.press("r")
    other.get_by_text(f"{names[1]} is real").wait_for()
    assert page.get_by_role("alert").count() == other.get_by_role("alert").count() == 0
    assert sorted(answers()) == sorted([(names[0], "fake"), (names[1], "real")])


def test_a_video_s_page_leads_back_to_where_it_was_opened(live_server: LiveServer, page: Any, rows: Rows) -> None:
    faults: list[str] = []
    page.on(
        "response",
        lambda got: faults.append(f"{got.status} {got.url}") if got.status >= 400 and "/admin/" in got.url else None,
    )
    log_in(page, live_server, "maria")
    page.locator("#dfd-ws-queue").select_option("uncertain")
    wait_for(page, "clip 0")
    page.get_by_role("link", name="All about this video").click()
    page.get_by_role("link", name="Back to the list").click()
    page.wait_for_url("**/admin/review/?queue=uncertain")
    wait_for(page, "clip 0")

    page.get_by_role("link", name="All about this video").click()
    wait_until_given_up(page, "clip 0")
    page.locator("#dfd-label-form").get_by_role("button", name="Unsure").click()
    page.wait_for_url("**/admin/review/?queue=uncertain")
    wait_for(page, "clip 1")
    assert answers() == [("clip 0", "unsure")]

    page.goto(f"{live_server.url}/admin/review/sheet/?queue=uncertain")
    page.get_by_role("link", name="All about clip 1").click()
    wait_until_given_up(page, "clip 1")
    page.locator("#dfd-label-form").get_by_role("button", name="Fake").click()
    page.wait_for_url("**/admin/review/sheet/?queue=uncertain")
    assert answers() == [("clip 0", "unsure"), ("clip 1", "fake")]
    assert faults == []


def test_the_labels_stand_in_one_order_everywhere(live_server: LiveServer, page: Any, rows: Rows) -> None:
    log_in(page, live_server, "maria")
    video = Video.objects.get(original_name="clip 3")
    orders = []
    for path, group in (
        ("review/", "#dfd-ws-buttons .dfd-label"),
        (f"detection/video/{video.pk}/change/", "#dfd-label-form .dfd-label"),
        ("detection/prediction/", "#result_list .dfd-label"),
        ("review/sheet/", "#dfd-sheet-buttons .dfd-label"),  # last: it takes all of them up
    ):
        page.goto(f"{live_server.url}/admin/{path}")
        page.locator(group).get_by_text("Real").first.wait_for()
        texts = page.locator(group).all_text_contents()[:4]  # of a list the first row's
        orders.append([next(word for word in ("Real", "Fake", "No face", "Unsure") if word in text) for text in texts])
    assert orders == [["Real", "Fake", "No face", "Unsure"]] * 4


@pytest.mark.parametrize(("width", "height"), [(640, 400), (1280, 420), (390, 844)])
def test_the_answers_never_cover_the_clip(
    live_server: LiveServer, page: Any, rows: Rows, width: int, height: int
) -> None:
    """640 x 400 is what 200 % zoom leaves of 1280 x 800."""
    page.set_viewport_size({"width": width, "height": height})
    log_in(page, live_server, "maria")
    wait_for(page, "clip 0")
    covered = page.evaluate(
        """() => {
            const film = document.querySelector("[data-film]");
            film.hidden = false;
            film.scrollIntoView({ block: "center" });
            const clip = film.getBoundingClientRect();
            const bar = document.querySelector(".dfd-ws__answers").getBoundingClientRect();
            const shown = Math.min(clip.bottom, innerHeight) - Math.max(clip.top, 0);
            const over = Math.min(clip.bottom, bar.bottom) - Math.max(clip.top, bar.top);
            return Math.max(0, over) / shown;
        }"""
    )
    assert covered == 0
