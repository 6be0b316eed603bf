"""A reviewer whose browser asks for German: keys, a contact sheet, the check of a report, another language."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django.live_server_helper import LiveServer

from detection.models import Review
from tests.admin.browser.driving import MARKS, log_in, press
from tests.admin.conftest import Rows
from tests.languages.test_pages import ENGLISH

pytestmark = MARKS


@pytest.fixture
def german(browser: Any) -> Iterator[Any]:
    """A page of a browser whose user reads German; what fails in it is in `faults`."""
    context = browser.new_context(locale="de-DE", viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(240_000)
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    yield page
    context.close()


@pytest.fixture
def rows(rows: Rows) -> Rows:
    model = rows.model()
    for k in range(5):
        rows.with_verdict(f"clip {k}", model=model, score=0.6 + k / 1000, people=2)
    return rows


def words(page: Any) -> str:
    return " ".join(str(page.locator("body").inner_text()).split())


def test_a_reviewer_labels_in_german_by_keyboard(german: Any, live_server: LiveServer, rows: Rows) -> None:
    log_in(german, live_server, "maria")
    text = words(german)
    assert "Alles über dieses Video" in text
    assert "0,5 s" in text  # numbers, too
    press(german, "f")
    said = german.locator("#dfd-ws-said")
    said.get_by_text("Gespeichert: clip 0: gefälscht. Das Modell sagt gefälscht, 0,60 (Schwelle 0,50).").wait_for()
    assert "Heute 1 von Ihnen entschieden" in words(german)
    german.keyboard.press("1")
    german.get_by_text("Die Tasten antworten für Person 1 von 2.").wait_for()
    german.keyboard.press("Escape")
    press(german, "z")
    said.get_by_text("Zurückgenommen. Das Modell sagt gefälscht").wait_for()
    press(german, "r")
    said.get_by_text(
        "clip 0: echt. Das Modell sagt gefälscht, 0,60 (Schwelle 0,50): anderer Meinung als Sie."
    ).wait_for()
    german.keyboard.press("?")
    german.get_by_text("Überspringen: Es kommt wieder, wenn der Rest erledigt ist").wait_for()
    assert [found.group() for found in ENGLISH.finditer(words(german))] == []
    german.get_by_role("button", name="Tasten ändern").click()
    german.get_by_role("button", name="Taste für Echt: r").click()
    german.get_by_text("Drücken Sie die gewünschte Taste.").wait_for()
    german.keyboard.press("f")
    german.get_by_text("Die Taste f kann nicht zweierlei bedeuten: Echt und Gefälscht.").wait_for()
    assert list(Review.objects.not_undone().values_list("label", "video__original_name")) == [("real", "clip 0")]
    assert german.faults == []


def test_a_contact_sheet_in_german(german: Any, live_server: LiveServer, rows: Rows) -> None:
    log_in(german, live_server, "maria", "/admin/review/sheet/?queue=uncertain")
    german.locator("[data-claim]").nth(0).click()
    german.locator("[data-claim]").nth(1).click()
    german.get_by_role("button", name="Gefälscht: 2 Videos").click()
    german.get_by_text("2 Videos als „gefälscht“ einstufen?").wait_for()
    german.get_by_label("Geben Sie zur Bestätigung 2 ein.").fill("2")
    german.get_by_role("button", name="2 Videos einstufen").click()
    german.get_by_text("Gespeichert: 2 Videos eingestuft als „gefälscht“.").wait_for()
    assert [found.group() for found in ENGLISH.finditer(words(german))] == []
    assert set(Review.objects.values_list("label", flat=True)) == {"fake"}
    assert german.faults == []


def test_a_choice_of_the_menu_stays(german: Any, live_server: LiveServer, rows: Rows) -> None:
    log_in(german, live_server, "maria")
    german.goto(f"{live_server.url}/admin/")
    german.get_by_text("Entscheidungen heute").wait_for()
    german.locator("form[action='/admin/language/'] input[value=en-gb] ~ button").first.evaluate("node => node.click()")
    german.get_by_text("Decisions today").wait_for()
    german.goto(f"{live_server.url}/admin/review/")
    german.get_by_text("All about this video").wait_for()
    assert german.evaluate("document.documentElement.lang") == "en-gb"
    assert german.faults == []


def test_a_report_is_checked_in_german_without_a_network(german: Any, live_server: LiveServer) -> None:
    german.goto(f"{live_server.url}/verify/")
    german.context.set_offline(True)
    german.locator("#report").set_input_files({"name": "a.zip", "mimeType": "application/zip", "buffer": b"%PDF"})
    german.get_by_text("Das ist kein Belegbericht: Es beginnt nicht wie ein Zip-Archiv.").wait_for()
    assert german.get_by_role("heading", name="Nicht zu trauen").is_visible()
    assert german.faults == []
