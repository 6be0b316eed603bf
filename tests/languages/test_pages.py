"""Every page of the admin in German, without an English sentence of ours."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from django.test import Client

from tests.admin.conftest import Rows, nobody_has_tried_to_log_in, rows  # noqa: F401
from tests.admin.test_matrix import ADMIN, addresses, objects, path_of, table  # noqa: F401
from tests.languages import messages
from tests.languages.messages import PLACE

pytestmark = pytest.mark.django_db
GERMAN = {"Accept-Language": "de"}
# Words that every English sentence has one of, and no German one.
ENGLISH = re.compile(r"\b(the|of|is|are|were|and|or|not|no|with|from|this|that|it|its|has|have|been|by|to|for)\b")
FOREIGN = re.compile(
    r"curl |No frame of it can be decoded|packet 0 is invalid|Can (?:add|change|delete|view|settle|set) "
)
"""What the rows of the test say, and the names of Django's permissions, which are stored."""


class Texts(HTMLParser):
    """What people read of a page, or have read to them."""

    SHOWN = ("aria-label", "title", "placeholder", "alt", "data-text", "data-of-person")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._skip = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in self.SHOWN and value]
        if not self._skip and (
            tag in ("script", "style", "pre", "code") or "dfd-mono" in (dict(attrs).get("class") or "")
        ):
            self._skip = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._skip:
            self._skip = ""

    def handle_data(self, data: str) -> None:
        if not self._skip and data.strip():
            self.found.append(" ".join(data.split()))


def texts_of(page: str) -> list[str]:
    reader = Texts()
    reader.feed(page)
    return [text for text in reader.found if not FOREIGN.search(text)]


def english_texts() -> dict[str, re.Pattern[str]]:
    """Return the English texts of ours that differ in German and are long enough to be nothing else."""
    found = {}
    for entry in messages.catalogue("django"):
        plain = PLACE.sub("", entry.msgid)
        if len(plain) > 12 and " " in plain.strip() and entry.msgid not in messages.translations(entry):
            parts = re.split(f"({PLACE.pattern})", entry.msgid.replace("%%", "%"))
            pattern = "".join(".*?" if PLACE.fullmatch(part) else re.escape(part) for part in parts)
            found[entry.msgid] = re.compile(pattern, re.S)
    return found


def english_in(page: str, known: dict[str, re.Pattern[str]]) -> list[str]:
    texts = texts_of(page)
    ours = [text for text in texts for pattern in known.values() if pattern.fullmatch(text)]
    return [*ours, *(text for text in texts if ENGLISH.search(text) and text not in ours)]


PAGES = [name for name, (method, who, status) in table().items() if (method, status) == ("get", 200) and ADMIN in who]
NO_PAGES = {
    "admin:jsi18n",
    "admin:autocomplete",
    "admin:detection_trainingrun_report",
    "admin:detection_trainingrun_json",
}
NO_PAGES |= {"admin:detection_trainingrun_live", "admin:auth_user_add"}


def test_every_page_is_german(objects: dict[str, Any], rows: Rows) -> None:  # noqa: F811
    client, known = Client(), english_texts()
    client.force_login(rows.user("root", superuser=True))
    assert len(known) > 500
    faults = {}
    for name, parameters in addresses():
        if name in PAGES and name not in NO_PAGES:
            path = path_of(name, parameters, objects)
            response = client.get(path, headers=GERMAN)
            assert response.status_code == 200, path
            if found := english_in(response.text, known):
                faults[path] = found
    assert faults == {}


def test_pages_of_more_than_the_matrix_has_are_german(rows: Rows) -> None:  # noqa: F811
    """People with faces and scores, boxes, views, searches, and what a form refuses."""
    model = rows.model()
    for state in ("queued", "running", "cancelled", "dead"):
        rows.video(f"{state}.mp4", state=state)
    two, nothing = rows.with_verdict("two.mp4", model=model, people=2), rows.no_face("nobody.mp4")
    client, known = Client(), english_texts()
    client.force_login(rows.user("root", superuser=True))
    pages = [
        *(f"/admin/detection/video/{video.pk}/change/" for video in (two, nothing)),
        "/admin/detection/video/?q=nothing-has-this-name",
        "/admin/detection/prediction/?view=all",
        "/admin/detection/nofacevideo/?view=all",
        "/admin/detection/analysis/?view=all",
        "/admin/detection/video/?label=none&status__exact=failed",
        f"/admin/detection/modelversion/{model.pk}/recalibrate/",
        "/admin/review/figures/?days=7",
        f"/admin/detection/video/{two.pk}/delete/",
        "/verify/",
    ]
    faults = {path: english_in(client.get(path, headers=GERMAN).text, known) for path in pages}
    start = client.post("/admin/detection/trainingrun/start/", {"mode": "odd", "seed": "x"}, headers=GERMAN)
    faults["start"] = english_in(start.text, known)
    assert {path: found for path, found in faults.items() if found} == {}


def test_english_on_a_page_is_seen() -> None:
    known = english_texts()
    page = '<p title="Nothing waits for review">Gut</p><h2>Looked at: the whole video, 5 s.</h2><i>there it is</i>'
    assert english_in(page, known) == [
        "Nothing waits for review",
        "Looked at: the whole video, 5 s.",
        "there it is",
    ]
    assert english_in("<p>Der Wert ist 0,5: gut</p><pre>the end of it</pre>", known) == []
