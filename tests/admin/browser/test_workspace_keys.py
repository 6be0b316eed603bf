"""Keys, taps and comments as people's hands and keyboards send them, in a real browser."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django.live_server_helper import LiveServer

from detection.models import Review, Video
from tests.admin.browser.driving import MARKS, log_in, press, shown
from tests.admin.conftest import Rows

pytestmark = [*MARKS, pytest.mark.usefixtures("six_clips")]
SEND = """([selector, init]) => (selector ? document.querySelector(selector) : document.activeElement || document.body)
    .dispatchEvent(new KeyboardEvent("keydown", { bubbles: true, cancelable: true, ...init }))"""
TWICE = """([kind, what]) => new Promise((resolve) => {
    const name = () => document.querySelector("[data-claim] [data-video-name]")?.textContent;
    const key = { key: what, bubbles: true, cancelable: true };
    const act = kind === "key"
        ? () => (document.activeElement || document.body).dispatchEvent(new KeyboardEvent("keydown", key))
        : () => [...document.querySelectorAll("#dfd-ws-buttons button")]
              .find((button) => button.innerText.includes(what)).click();
    const before = name();
    new MutationObserver((_, observer) => {
        if (!name() || name() === before) return;
        observer.disconnect();
        act();
        resolve();
    }).observe(document.body, { subtree: true, childList: true });
    act();
})"""
"""A press or a click, and again in the moment in which the next video stands there: too early on any machine."""
COMMENT = "#dfd-ws-comment"
SEEN_MS = 500


def answers() -> list[tuple[str, str]]:
    rows = Review.objects.not_undone().order_by("created_at")
    return [(row.video.original_name, row.label) for row in rows]


def wait_for(tab: Any, name: str) -> None:
    tab.locator("[data-claim] [data-video-name]").get_by_text(name, exact=True).wait_for()
    tab.wait_for_timeout(SEEN_MS)


def test_a_double_tap_answers_one_video_and_a_double_click_too(live_server: LiveServer, page: Any, rows: Rows) -> None:
    log_in(page, live_server, "maria")
    wait_for(page, "clip 0")
    page.evaluate(TWICE, ["key", "f"])
    wait_for(page, "clip 1")
    page.get_by_text("clip 0 is fake").wait_for()
    page.evaluate(TWICE, ["click", "Real"])
    wait_for(page, "clip 2")
    page.get_by_text("clip 1 is real").wait_for()
    page.evaluate(TWICE, ["key", "s"])
    wait_for(page, "clip 3")
    page.get_by_text("Skipped.").wait_for()
    press(page, "u")
    page.get_by_text("clip 3 is unsure").wait_for()
    assert answers() == [("clip 0", "fake"), ("clip 1", "real"), ("clip 3", "unsure")]


def test_enter_that_ends_a_composition_stays_in_the_comment(live_server: LiveServer, page: Any, rows: Rows) -> None:
    log_in(page, live_server, "maria")
    wait_for(page, "clip 0")
    for path, comment in (("", COMMENT), ("sheet/", "#dfd-sheet-comment")):
        page.goto(f"{live_server.url}/admin/review/{path}")
        page.locator("html[data-ready='1']").wait_for(state="attached")
        page.locator(comment).focus()
        for init in ({"key": "Enter", "isComposing": True}, {"key": "Enter", "keyCode": 229}, {"key": "Process"}):
            page.evaluate(SEND, [comment, init])
            assert page.evaluate("selector => document.activeElement.matches(selector)", comment), init
        # Outside the comment too a key of an unfinished word is no answer.
        page.evaluate("document.activeElement.blur()")
        page.wait_for_timeout(SEEN_MS)
        page.evaluate(SEND, ["body", {"key": "f", "code": "KeyF", "isComposing": True}])
        page.evaluate(SEND, ["body", {"key": "a", "keyCode": 229}])
        page.wait_for_timeout(100)
        assert page.locator("[aria-pressed=true]").count() == 0
        page.locator(comment).focus()
        page.keyboard.press("Enter")
        assert not page.evaluate("selector => document.activeElement.matches(selector)", comment)
    assert answers() == []


def test_keys_work_from_the_speed_box_and_on_every_keyboard(live_server: LiveServer, page: Any, rows: Rows) -> None:
    log_in(page, live_server, "maria")
    speed = page.get_by_label("Speed")

    wait_for(page, "clip 0")
    speed.select_option("0.5")
    page.keyboard.press("r")
    wait_for(page, "clip 1")
    speed.focus()  # opened, and left as it was
    page.keyboard.press("u")
    wait_for(page, "clip 2")
    page.evaluate(SEND, ["body", {"key": "\u0430", "code": "KeyF"}])  # Cyrillic
    wait_for(page, "clip 3")
    page.evaluate(SEND, ["body", {"key": "R", "code": "KeyR"}])  # CapsLock
    wait_for(page, "clip 4")
    # A Dvorak keyboard has its o where others have their s, a Polish AltGr and s write a letter: neither means skip.
    page.evaluate(SEND, ["body", {"key": "o", "code": "KeyS"}])
    page.evaluate(SEND, ["body", {"key": "ś", "code": "KeyS", "modifierAltGraph": True}])
    page.evaluate(SEND, ["body", {"key": "f", "code": "KeyF", "ctrlKey": True}])
    assert shown(page) == "clip 4"
    alt_gr = {"code": "Digit8", "ctrlKey": True, "altKey": True, "modifierAltGraph": True}
    page.evaluate(SEND, ["body", {"key": "[", **alt_gr}])
    assert speed.input_value() == "0.5"
    page.evaluate(SEND, ["body", {"key": "\u0445", "code": "BracketLeft"}])
    assert speed.input_value() == "0.25"
    page.get_by_text("clip 3 is real").wait_for()
    assert answers() == [("clip 0", "real"), ("clip 1", "unsure"), ("clip 2", "fake"), ("clip 3", "real")]

    page.goto(f"{live_server.url}/admin/review/sheet/")
    page.locator("html[data-ready='1']").wait_for(state="attached")
    page.locator("[data-claim]").first.wait_for()
    cards = page.locator("[data-claim]").count()
    page.evaluate(SEND, ["body", {"key": "A", "code": "KeyA"}])
    assert page.locator("[aria-pressed=true]").count() == cards
    page.evaluate(SEND, ["body", {"key": "\u0447", "code": "KeyX"}])
    assert page.locator("[aria-pressed=true]").count() == 0


def test_a_comment_is_kept_until_it_is_stored(live_server: LiveServer, page: Any, rows: Rows) -> None:
    rows.no_face("empty")
    log_in(page, live_server, "maria")
    wait_for(page, "clip 0")
    page.fill(COMMENT, "the first one's")
    page.keyboard.press("Escape")
    page.keyboard.press("f")
    wait_for(page, "clip 1")
    page.get_by_text("clip 0 is fake").wait_for()
    page.fill(COMMENT, "half a thought")
    page.keyboard.press("Escape")

    page.keyboard.press("z")
    wait_for(page, "clip 0")
    assert page.input_value(COMMENT) == "the first one's"
    page.keyboard.press("f")
    wait_for(page, "clip 1")
    assert page.input_value(COMMENT) == "half a thought"

    queue = page.locator("#dfd-ws-queue")
    queue.select_option("no_face")
    wait_for(page, "empty")
    assert page.input_value(COMMENT) == ""
    queue.select_option("uncertain")
    wait_for(page, "clip 1")
    assert page.input_value(COMMENT) == "half a thought"

    # An answer that is refused hands its words back, and says so where the video has been deleted.
    Video.objects.filter(original_name="clip 1").delete()
    page.keyboard.press("r")
    said = page.get_by_role("alert").get_by_text("Your answer to clip 1 was not stored.")
    said.get_by_text("This video has been deleted. Your comment was: half a thought").wait_for()
    wait_for(page, "clip 2")
    assert [row.comment for row in Review.objects.not_undone()] == ["the first one's"]


def test_a_reviewer_changes_the_keys_and_both_pages_and_the_list_follow(
    live_server: LiveServer, page: Any, rows: Rows
) -> None:
    def choose(action: str, key: str) -> None:
        page.locator(f"[data-choose-key={action}]").click()
        page.keyboard.press(key)

    log_in(page, live_server, "maria")
    wait_for(page, "clip 0")
    page.keyboard.press("?")
    dialog = page.locator("#dfd-ws-help")
    dialog.get_by_role("button", name="Change keys").click()
    save = dialog.get_by_role("button", name="Save")
    choose("fake", "r")  # which is real: two things
    dialog.get_by_text("The key r cannot mean two things: Real and Fake.").wait_for()
    assert save.is_disabled()
    choose("real", "7")
    dialog.get_by_text("The key 7 has a meaning that stays.").wait_for()
    choose("real", "j")
    choose("help", "k")
    choose("comment", "Escape")  # rather not
    assert dialog.is_visible()
    save.click()
    dialog.get_by_text("Your keys are stored.").wait_for()
    assert dialog.locator("kbd[data-key=fake]").inner_text() == "r"
    dialog.get_by_role("button", name="Close").click()
    assert page.locator("#dfd-ws-buttons button").first.locator("kbd").inner_text() == "j"

    page.wait_for_timeout(SEEN_MS)
    page.keyboard.press("f")  # nothing any more
    page.keyboard.press("?")
    assert not dialog.is_visible()
    page.keyboard.press("r")
    page.get_by_text("clip 0 is fake").wait_for()
    page.goto(f"{live_server.url}/admin/review/")
    page.locator("[data-claim] [data-video-name]").wait_for()
    second = shown(page)
    press(page, "j")
    page.get_by_text(f"{second} is real").wait_for()
    assert answers() == [("clip 0", "fake"), (second, "real")]
    page.goto(f"{live_server.url}/admin/review/sheet/")
    page.locator("#dfd-sheet-buttons kbd", has_text="j").wait_for()

    page.goto(f"{live_server.url}/admin/review/")
    page.locator("[data-claim] [data-video-name]").wait_for()
    third = shown(page)  # whichever: what the sheet held comes back when the server has heard of its end
    page.keyboard.press("k")
    dialog.get_by_role("button", name="Change keys").click()
    dialog.get_by_role("button", name="Defaults").click()
    dialog.get_by_text("The keys are those of before.").wait_for()
    dialog.get_by_role("button", name="Close").click()
    press(page, "f")
    page.get_by_text(f"{third} is fake").wait_for()
    assert answers()[-1] == (third, "fake")
