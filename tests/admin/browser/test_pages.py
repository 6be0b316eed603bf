"""A reviewer in a real browser: log in, look, click once, and see that it is recorded."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Permission, User
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer

from detection.models import Review, RunState, TrainingRun
from tests.admin.browser.driving import MARKS
from tests.admin.conftest import PASSWORD, Rows

pytestmark = MARKS


def test_a_reviewer_logs_in_labels_a_video_with_one_click_and_sees_it_recorded(
    live_server: LiveServer, page: Any
) -> None:
    rows = Rows(owner=User.objects.create_user("client", password=PASSWORD))
    reviewer = rows.user("maria", staff=True)
    rights = ("view_video", "add_review", "view_review")
    reviewer.user_permissions.set(Permission.objects.filter(codename__in=rights))
    model = rows.model()
    for name in ("first.mp4", "second.mp4"):
        rows.with_verdict(name, model=model)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("response", lambda response: faults.append(response.url) if response.status >= 400 else None)

    page.goto(f"{live_server.url}/admin/detection/prediction/?q=mp4")
    page.fill("#id_username", "maria")
    page.fill("#id_password", PASSWORD)
    page.locator("#login-form button[type=submit], #login-form input[type=submit]").click()

    card = page.get_by_role("article", name="second.mp4")
    picture = card.locator("ol img").first
    picture.scroll_into_view_if_needed()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1
    card.get_by_role("button", name="Fake").click()

    page.get_by_text("second.mp4 is labelled fake").wait_for()
    assert "q=mp4" in page.url
    assert page.get_by_role("article").count() == 1
    review = Review.objects.get()
    assert (review.video.original_name, review.label, review.reviewer) == ("second.mp4", "fake", reviewer)

    page.goto(f"{live_server.url}/admin/detection/review/")
    assert page.locator("#result_list tbody tr").count() == 1
    assert "second.mp4" in page.locator("#result_list").inner_text()
    assert faults == []


def test_a_training_run_is_followed_without_loading_the_page_again_until_it_ends(
    live_server: LiveServer, page: Any
) -> None:
    rows = Rows(owner=User.objects.create_user("client", password=PASSWORD))
    rows.user("root", superuser=True)
    epoch = {"stage": "frames", "epoch": 1, "train_loss": 0.7, "val_loss": 0.6}
    run = TrainingRun.objects.create(state=RunState.RUNNING, progress=10, phase="epoch 1", history=[epoch])
    row = TrainingRun.objects.filter(pk=run.pk)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(f"{live_server.url}/admin/detection/trainingrun/{run.pk}/change/")
    page.fill("#id_username", "root")
    page.fill("#id_password", PASSWORD)
    page.locator("#login-form button[type=submit], #login-form input[type=submit]").click()
    page.get_by_text("10 %").last.wait_for()
    page.evaluate("window.same = true")

    row.update(progress=55, phase="epoch 2", history=[epoch, epoch | {"epoch": 2}])
    page.get_by_text("55 %").last.wait_for()
    page.get_by_text("epoch 2", exact=True).wait_for()
    assert page.locator("#dfd-charts polyline").first.get_attribute("points").count(",") == 2
    assert page.evaluate("window.same")

    row.update(state=RunState.FAILED, progress=100, message="It broke.", finished_at=timezone.now())
    page.get_by_text("It broke.").wait_for()
    assert page.locator("progress").count() == 0
    assert faults == []
