"""What a screen reader, a printer and a reader in another time zone make of the pages, in a real browser."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from pytest_django.live_server_helper import LiveServer

from tests.admin.browser.driving import MARKS, log_in
from tests.admin.conftest import PASSWORD, Rows

pytestmark = MARKS
ICONS_READ = """() => [...document.querySelectorAll(".material-symbols-outlined")]
    .filter(icon => icon.checkVisibility() && !icon.closest("[aria-hidden=true]")).map(icon => icon.outerHTML)"""
NAMELESS = """() => [...document.querySelectorAll("a, button")].filter(one => {
    const copy = one.cloneNode(true);
    copy.querySelectorAll("[aria-hidden=true]").forEach(part => part.remove());
    const own = one.getAttribute("aria-label") || one.title;
    return one.checkVisibility() && !own && !copy.textContent.trim() && !copy.querySelector("img[alt]");
}).map(one => one.outerHTML.slice(0, 300))"""
LUMINANCE = """selector => {
    const canvas = document.createElement("canvas").getContext("2d");
    canvas.fillStyle = getComputedStyle(document.querySelector(selector)).color;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue] = canvas.getImageData(0, 0, 1, 1).data;
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255;
}"""


def test_icons_are_not_read_aloud_file_names_stay_as_they_are_and_times_say_their_zone(
    live_server: LiveServer, page: Any
) -> None:
    rows = Rows(owner=User.objects.create_user("client", password=PASSWORD))
    rows.user("root", superuser=True)
    video = rows.with_verdict("übung_a.mp4", model=rows.model())
    log_in(page, live_server, "root")
    for path in (
        "", "review/", "review/sheet/", "detection/video/", f"detection/video/{video.pk}/change/",
        "detection/prediction/", "detection/analysis/", "detection/modelversion/", "detection/trainingrun/",
    ):  # fmt: skip
        page.goto(f"{live_server.url}/admin/{path}")
        page.wait_for_load_state("networkidle")
        assert page.evaluate(ICONS_READ) == [], path
        assert page.evaluate(NAMELESS) == [], path
    page.goto(f"{live_server.url}/admin/detection/video/{video.pk}/change/")
    assert page.get_by_role("link", name="übung_a.mp4", exact=True).count() == 1
    assert "Übung" not in page.locator("body").inner_text()
    assert page.locator("#dfd-history + div td").nth(1).inner_text().endswith(" UTC")
    page.goto(f"{live_server.url}/admin/detection/video/")
    assert page.locator("#result_list time").first.inner_text().endswith(" UTC")


def test_a_dark_page_is_printed_in_dark_letters(live_server: LiveServer, page: Any) -> None:
    rows = Rows(owner=User.objects.create_user("client", password=PASSWORD))
    rows.user("root", superuser=True)
    video = rows.with_verdict("clip.mp4", model=rows.model())
    log_in(page, live_server, "root")
    for path, letters in (
        (f"detection/video/{video.pk}/change/", ("#dfd-verdict", ".dfd-facts dd", ".dfd-facts dt")),
        ("", (".dfd-stat__title", ".dfd-chart__tick")),
    ):
        page.goto(f"{live_server.url}/admin/{path}")
        page.evaluate("document.documentElement.classList.add('dark')")
        assert page.evaluate(LUMINANCE, letters[0]) > 0.5
        page.emulate_media(media="print")
        page.wait_for_timeout(200)
        for one in letters:
            assert page.evaluate(LUMINANCE, one) < 0.5, one
        page.emulate_media(media="screen")
        page.wait_for_timeout(200)
        assert page.evaluate(LUMINANCE, letters[0]) > 0.5
