"""The page that checks a report, in Chromium with the network cut; and the button that has one made."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django.live_server_helper import LiveServer

from detection.evidence_report import bundle, signing
from detection.evidence_report.verification import check
from detection.models import EvidenceKind
from tests.admin.browser.driving import MARKS, wait_for_job
from tests.admin.browser.test_evidence import rows as rows
from tests.admin.conftest import Rows
from tests.bundles import KNOWN, MANIPULATED, THEIRS, made, repacked
from worker import tasks

pytestmark = MARKS

WITHOUT_CRYPTO = "Object.defineProperty(window.crypto, 'subtle', { value: undefined });"


@pytest.fixture
def verifier(page: Any, live_server: LiveServer, settings: Any) -> Any:
    """The page, with the network cut once it is there; whatever it asks for afterwards fails the test."""
    settings.DFD_SIGNING_KEY = base64.b64encode(bytes(range(32))).decode()
    return page


def open_and_cut(page: Any, live_server: LiveServer) -> list[str]:
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if "Policy" in message.text else None)
    page.goto(f"{live_server.url}/verify/")
    page.wait_for_load_state("networkidle")
    page.context.set_offline(True)
    # The browser itself may be late with the icon.
    page.on("request", lambda request: None if "favicon" in request.url else faults.append(request.url))
    return faults


def verdict_on(page: Any, data: bytes, **more: bytes) -> tuple[str, list[str]]:
    """The title and the sentences that the page shows of a file."""
    page.evaluate("document.getElementById('result').hidden = true")
    for field, content in (more | {"report": data}).items():
        payload = {"name": f"{field}.zip", "mimeType": "application/zip", "buffer": content}
        page.locator(f"#{field}").set_input_files(payload)
    page.locator("#result.good, #result.bad").wait_for()
    return page.locator("#result h2").inner_text(), page.locator("#result li").all_inner_texts()


@pytest.mark.parametrize("has_crypto", [True, False])
def test_the_page_says_what_the_command_says_without_a_network(
    verifier: Any, live_server: LiveServer, has_crypto: bool
) -> None:
    if not has_crypto:  # as over plain http, or in a browser without Ed25519
        verifier.add_init_script(WITHOUT_CRYPTO)
    faults = open_and_cut(verifier, live_server)
    assert verifier.evaluate("Boolean(window.crypto.subtle)") is has_crypto
    assert verdict_on(verifier, made()) == ("As it was signed", [])
    assert KNOWN[0].fingerprint in verifier.locator("#result").inner_text()
    for case, (change, sentences) in MANIPULATED.items():
        assert verdict_on(verifier, repacked(change)) == ("Not to be trusted", sentences), case
    changed = bytearray(made())
    changed[10] ^= 1  # the time in a header of the archive
    assert verdict_on(verifier, bytes(changed))[1] == ["The archive was changed outside of its files."]
    assert verdict_on(verifier, b"%PDF")[1] == ["This is no evidence report: it does not begin as a zip archive does."]
    title, (sentence,) = verdict_on(verifier, made(THEIRS))
    assert (title, "a key that is not known here" in sentence) == ("Not to be trusted", True)
    assert faults == []


def test_a_foreign_report_is_held_against_the_fingerprint_and_the_video_that_one_was_given(
    verifier: Any, live_server: LiveServer
) -> None:
    faults = open_and_cut(verifier, live_server)
    verifier.locator("summary").click()
    verifier.locator("#fingerprint").fill(f" {signing.public_key_of(THEIRS).fingerprint.upper()} ")
    assert verdict_on(verifier, made(THEIRS)) == ("As it was signed", [])
    assert "the fingerprint you gave" in verifier.locator("#result").inner_text()
    assert verdict_on(verifier, made(THEIRS), original=b"video")[0] == "As it was signed"
    assert verdict_on(verifier, made(THEIRS), original=b"another")[1] == [
        "The video is not the one that this report is of: its SHA-256 is another."
    ]
    assert faults == []


def test_names_in_a_report_are_text(verifier: Any, live_server: LiveServer) -> None:
    faults = open_and_cut(verifier, live_server)
    hostile = '<img src=x onerror="document.title=1">'
    data = repacked(lambda files: files.update({hostile: b""}))
    assert verdict_on(verifier, data)[1] == [f"{hostile} was added after the signing."]
    assert verifier.title() == "Check an evidence report"
    assert faults == []


def test_a_file_that_was_chosen_before_the_script_came_is_checked(live_server: LiveServer, page: Any) -> None:
    held: list[Any] = []
    page.route("**/verify-page*.js", lambda route: held.append(route))
    page.goto(f"{live_server.url}/verify/", wait_until="commit")
    page.locator("#report").set_input_files({"name": "a.zip", "mimeType": "application/zip", "buffer": b"no archive"})
    while not held:  # asked for by now, or soon
        page.wait_for_timeout(50)
    held.pop().continue_()
    page.locator("#result.bad").wait_for()


def test_the_button_has_a_report_made_and_the_page_accepts_it(
    live_server: LiveServer, page: Any, rows: Rows, tmp_path: Path
) -> None:
    video = rows.with_verdict("clip.mp4", model=rows.model())
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    page.context.add_cookies(
        [{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}]
    )
    page.goto(f"{live_server.url}/admin/detection/video/{video.pk}/change/")
    page.get_by_role("button", name="Make the report").click()
    page.get_by_text("Waiting for a worker").wait_for()
    tasks.make_report(str(wait_for_job(video, EvidenceKind.REPORT).pk))
    with page.expect_download() as download:
        page.get_by_role("link", name="Signed archive").click()
    data = Path(download.value.path()).read_bytes()
    assert check(data, known=signing.known_keys()).problems == ()
    with page.expect_download() as download:
        page.get_by_role("link", name="PDF").click()
    assert Path(download.value.path()).read_bytes() == bundle.unpack(data)["report.pdf"]
    assert page.get_by_text(signing.current_key().fingerprint).is_visible()
    page.get_by_role("link", name="check an archive").click()
    assert verdict_on(page, data) == ("As it was signed", [])
