"""Every kind of page under its Content-Security-Policy in a real browser: it works, and nothing else runs."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import User
from pytest_django.live_server_helper import LiveServer

from detection.models import RunState, TrainingRun
from tests.admin.browser.driving import MARKS
from tests.admin.conftest import PASSWORD, Rows

pytestmark = MARKS

INJECT = """() => {
    window.ran = [];
    const script = document.createElement("script");
    script.textContent = "window.ran.push('inline')";
    document.body.append(script);
    const button = document.createElement("button");
    button.setAttribute("onclick", "window.ran.push('attribute')");
    document.body.append(button);
    button.click();
    return window.ran;
}"""


def watch(page: Any) -> list[str]:
    """What the browser complains of from now on: refusals by the policy, and errors of scripts."""
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None)
    return faults


def log_in(page: Any, server: LiveServer) -> None:
    page.goto(f"{server.url}/admin/")
    page.fill("#id_username", "root")
    page.fill("#id_password", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{server.url}/admin/")


def test_no_page_of_the_admin_breaks_the_policy(live_server: LiveServer, page: Any, settings: Any) -> None:
    settings.DFD_REVIEW_GOLD_SHARE = 0.0
    rows = Rows(owner=User.objects.create_user("client", password=PASSWORD))
    root = rows.user("root", superuser=True)
    model = rows.model()
    videos = [rows.with_verdict(f"clip {k}", model=model, score=0.52 + k / 100) for k in range(3)]
    empty = rows.no_face("empty")
    epoch = {"stage": "frames", "epoch": 1, "train_loss": 0.7, "val_loss": 0.6}
    run = TrainingRun.objects.create(state=RunState.RUNNING, progress=10, phase="epoch 1", history=[epoch])
    faults = watch(page)
    log_in(page, live_server)
    seen = [
        *(f"{model._meta.app_label}/{model._meta.model_name}" for model in admin.site._registry),
        f"detection/video/{videos[0].pk}/change",
        f"detection/video/{empty.pk}/change",
        f"detection/trainingrun/{run.pk}/change",
        "detection/trainingrun/start",
        f"auth/user/{root.pk}/change",
        f"auth/user/{root.pk}/password",
        "auth/user/add",
        "review",
        "review/sheet",
        "review/figures",
    ]
    for address in seen:
        answer = page.goto(f"{live_server.url}/admin/{address}/")
        assert answer.status == 200, address
        assert "default-src 'none'" in answer.headers["content-security-policy"], address
        page.wait_for_timeout(60)
        assert faults == [], address


def test_menus_open_and_what_is_no_part_of_a_page_does_not_run(live_server: LiveServer, page: Any) -> None:
    Rows(owner=User.objects.create_user("client")).user("root", superuser=True)
    log_in(page, live_server)
    page.goto(f"{live_server.url}/admin/auth/user/")
    faults = watch(page)
    page.get_by_text("Filters").first.click()
    page.get_by_text("Apply Filters").first.wait_for()  # Alpine works
    assert faults == []
    assert page.evaluate(INJECT) == []
    assert len(faults) == 2  # both were refused, and by the policy


def test_the_documentation_lists_the_operations_under_a_policy_without_inline_scripts(
    live_server: LiveServer, page: Any
) -> None:
    faults = watch(page)
    answer = page.goto(f"{live_server.url}/api/docs/")
    page.get_by_text("/api/v1/videos/").first.wait_for()
    assert "script-src 'self';" in answer.headers["content-security-policy"]
    assert faults == []
