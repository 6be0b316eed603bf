"""The way through the provider and back, in a real browser, under the pages' own Content-Security-Policy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django.live_server_helper import LiveServer

from detection.sign_on import provider as asked_provider
from tests.admin.browser.driving import MARKS
from tests.sign_on.provider import Provider
from tests.stack import free_port

pytestmark = MARKS


@pytest.fixture
def provider(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
    provider = Provider(free_port())
    settings.DFD_OIDC_ISSUER, settings.DFD_OIDC_NAME = provider.issuer, "Newsroom ID"
    settings.DFD_OIDC_CLIENT_ID, settings.DFD_OIDC_CLIENT_SECRET = "desk", "a secret"
    settings.DFD_OIDC_ROLES = {"reviewers": "reviewer"}
    asked_provider._known.clear()
    yield provider
    provider.close()


def test_in_by_the_button_out_here_and_out_there(live_server: LiveServer, page: Any, provider: Provider) -> None:
    provider.user("17", preferred_username="maria", groups=["reviewers"])
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.goto(f"{live_server.url}/admin/review/")
    page.get_by_role("link", name="Log in with Newsroom ID").click()
    page.locator("input[name=sub]").fill("17")
    page.keyboard.press("Enter")
    page.get_by_text("Nothing waits in this queue").wait_for()
    assert User.objects.get().username == "maria"
    page.goto(f"{live_server.url}/admin/")
    page.evaluate("document.getElementById('logout-form').requestSubmit()")
    page.get_by_text("Newsroom ID still knows you").wait_for()
    page.get_by_role("link", name="Log out of Newsroom ID, too").click()
    page.wait_for_url(f"{provider.issuer}/oauth2/end_session**")
    page.get_by_role("button").first.click()
    page.get_by_role("link", name="Log in with Newsroom ID").wait_for()
    provider.user("18", preferred_username="eve", groups=[])
    page.get_by_role("link", name="Log in with Newsroom ID").click()
    page.locator("input[name=sub]").fill("18")
    page.keyboard.press("Enter")
    page.get_by_text("None of your groups has a role here.").wait_for()
    assert [fault for fault in faults if "Content Security Policy" in fault] == []
