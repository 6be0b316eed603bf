"""One Chromium for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User

from tests.admin.browser.driving import CHROMIUM
from tests.admin.conftest import PASSWORD, Rows

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """Chromium; each test has a context of its own, with its own cookies and cache."""
    playwright = pytest.importorskip("playwright.sync_api")
    with pytest.MonkeyPatch.context() as patch, playwright.sync_playwright() as driver:
        # Playwright runs an event loop in this thread, and Django then refuses the database to it.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page in a fresh context; a request for anything but the test's own server fails."""
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(240_000)
    yield page
    for context in browser.contexts:
        context.close()


@pytest.fixture
def rows(settings: Any) -> Rows:
    """A client's videos, none yet, and maria, who reads each once: none is drawn for an audit or a second reader."""
    settings.DFD_REVIEW_AUDIT_SHARE = settings.DFD_REVIEW_SECOND_SHARE = settings.DFD_REVIEW_GOLD_SHARE = 0.0
    rows = Rows(owner=User.objects.create_user("client", password=PASSWORD))
    rows.reader("maria")
    return rows


@pytest.fixture
def six_clips(rows: Rows) -> None:
    """Called fake, the least certain first."""
    model = rows.model()
    for k in range(6):
        rows.with_verdict(f"clip {k}", model=model, score=0.6 + k / 1000)
