"""The keys g and d in a real browser: a second look, and the contact sheet of what looks the same."""

from __future__ import annotations

import random
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django.live_server_helper import LiveServer

from detection import dispatch
from detection.models import Analysis, Review
from detection.services.jobs.perceptual_hashes import store_prints
from tests.admin.browser.driving import MARKS, log_in, press, shown
from tests.admin.conftest import PASSWORD, Rows

pytestmark = MARKS


def test_a_second_look_and_the_sheet_of_copies_by_key(
    live_server: LiveServer, page: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DFD_REVIEW_AUDIT_SHARE = settings.DFD_REVIEW_SECOND_SHARE = 0.0
    monkeypatch.setattr(dispatch, "_publish", lambda task, args: True)
    rows = Rows(owner=User.objects.create_user("client", password=PASSWORD))
    rows.reader("maria")
    first, second, copy = (rows.no_face(name) for name in ("one", "two", "a <b>copy</b>"))
    bits = f"{random.Random(0).getrandbits(256):064x}"
    for video in (second, copy):
        store_prints(video_id=video.pk, picture=bits, faces={})
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))

    log_in(page, live_server, "maria")
    assert shown(page) == "one"
    assert page.locator("[data-near]").count() == 0
    page.get_by_role("button", name="Look again").wait_for()
    press(page, "g")
    page.get_by_text("Looking again with lower thresholds; it comes back when it is done.").wait_for()
    assert shown(page) == "two"
    analysis = Analysis.objects.get(video=first, state="queued")
    assert analysis.sensitive

    strip = page.locator("[data-near]")
    strip.get_by_text("Looks the same: 1 video").wait_for()
    strip.get_by_text("a <b>copy</b>").wait_for()
    strip.get_by_text("the same picture").wait_for()
    page.keyboard.press("?")
    page.get_by_role("dialog").get_by_text("look again with lower thresholds").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("d")
    page.wait_for_url(f"**/admin/review/sheet/?ids={second.pk},{copy.pk}")
    page.get_by_text("a <b>copy</b>").first.wait_for()
    assert not faults
    assert not Review.objects.exists()
