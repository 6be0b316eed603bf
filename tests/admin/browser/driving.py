"""What a person does in a browser: log in, look, press a key, wait."""

from __future__ import annotations

import shutil
import time
from typing import Any

import pytest
from pytest_django.live_server_helper import LiveServer

from detection.admin.review import workspace
from detection.models import EvidenceJob, Video
from tests.admin.conftest import PASSWORD

# Debian's headless shell takes three quarters of Chromium's processor time.  Its command in /usr/bin is a script, which
# does not pass on that it is to end.
CHROMIUM = shutil.which("chromium-headless-shell", path="/usr/lib/chromium") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
MARKS = [
    pytest.mark.browser,
    pytest.mark.slow,  # a browser has to start
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the browser test needs one"),
    pytest.mark.django_db(transaction=True),
]
PRESS = """key => new Promise(done => {
    const root = document.documentElement, before = root.dataset.ready, start = performance.now();
    const look = () => root.dataset.ready !== before ? done(performance.now() - start) : setTimeout(look, 2);
    (document.activeElement || document.body).dispatchEvent(
        new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    look();
})"""


def log_in(tab: Any, server: LiveServer, name: str, path: str = "/admin/review/") -> None:
    tab.goto(f"{server.url}{path}")
    tab.fill("#id_username", name)
    tab.fill("#id_password", PASSWORD)
    tab.keyboard.press("Enter")
    tab.locator("html[data-ready='1']").wait_for(state="attached")


def shown(tab: Any) -> str:
    return str(tab.locator("[data-claim] [data-video-name]").inner_text())


def press(tab: Any, key: str) -> float:
    """Press, and wait until the next video stands there; milliseconds, as the page itself sees them."""
    tab.wait_for_timeout(workspace.ANSWER_DELAY_MS)  # as a person would, who looks at a video first
    return float(tab.evaluate(PRESS, key))


def wait_for_job(video: Video, kind: str) -> EvidenceJob:
    """What the page has asked for, as the broker would tell a worker."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        job = EvidenceJob.objects.filter(video=video, kind=kind).first()
        if job is not None:
            return job
        time.sleep(0.05)
    raise AssertionError(f"the page never asked for {kind}")
