"""Who may do what in the admin."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from knox.models import AuthToken

from detection.models import Analysis, ModelVersion, Review, State, Video
from tests.admin.conftest import Rows

PAGES = ["", "detection/video/", "detection/nofacevideo/", "detection/prediction/", "detection/analysis/"]
Login = Callable[[User], Client]


@pytest.mark.parametrize("page", PAGES)
def test_an_uploader_and_a_stranger_are_sent_to_the_login(rows: Rows, as_user: Login, page: str) -> None:
    for client in (Client(), as_user(rows.user("sender", "uploader"))):
        response = client.get(f"/admin/{page}")
        assert response.status_code == 302
        assert response["Location"].startswith("/admin/login/")


def test_staff_without_a_role_see_no_video_and_no_count(rows: Rows, as_user: Login) -> None:
    video = rows.no_face("secret.mp4")
    client = as_user(rows.user("clerk", staff=True))
    overview = client.get("/admin/")
    assert overview.status_code == 200
    assert "secret.mp4" not in overview.content.decode()
    assert "No review rights" in overview.content.decode()
    for url in (*PAGES[1:], f"detection/video/{video.pk}/change/"):
        assert client.get(f"/admin/{url}").status_code == 403, url
    response = client.post(f"/admin/detection/video/{video.pk}/label/", {"label": "fake"})
    assert response.status_code == 403
    assert not Review.objects.exists()


def test_a_reviewer_sees_evidence_but_not_accounts(review_client: Client) -> None:
    for url in (*PAGES, "detection/review/", "detection/modelversion/"):
        assert review_client.get(f"/admin/{url}").status_code == 200, url
    for url in ("auth/user/", "auth/group/", "knox/authtoken/"):
        assert review_client.get(f"/admin/{url}").status_code == 403, url
        assert f"/admin/{url}" not in review_client.get("/admin/").content.decode()


def test_a_reviewer_can_neither_delete_nor_requeue_nor_choose_the_model(rows: Rows, review_client: Client) -> None:
    video = rows.video(state=State.FAILED)
    model = rows.model(active=False)
    page = review_client.get(f"/admin/detection/video/{video.pk}/change/").content.decode()
    assert "Delete" not in page
    assert "Analyse again" not in page
    forbidden = [
        (f"video/{video.pk}/delete/", {"post": "yes"}),
        (f"analysis/requeue/{video.pk}/", {}),
        (f"modelversion/{model.pk}/promote/", {"force": "1", "reason": "mine"}),
        ("modelversion/rollback/", {}),
    ]
    for url, body in forbidden:
        assert review_client.post(f"/admin/detection/{url}", body).status_code == 403, url
    ticked = {"_selected_action": [str(video.pk)], "post": "yes"}
    review_client.post("/admin/detection/video/", {"action": "delete_selected", **ticked})
    review_client.post("/admin/detection/analysis/", {"action": "requeue", **ticked})
    assert Video.objects.count() == Analysis.objects.count() == 1
    assert not ModelVersion.objects.filter(active=True).exists()


def test_nobody_adds_or_edits_a_video_by_hand(rows: Rows, root_client: Client) -> None:
    video = rows.video("before.mp4")
    assert root_client.get("/admin/detection/video/add/").status_code == 403
    url = f"/admin/detection/video/{video.pk}/change/"
    assert root_client.post(url, {"original_name": "after.mp4"}).status_code == 405
    video.refresh_from_db()
    assert video.original_name == "before.mp4"


@pytest.mark.parametrize("way", ["page", "action"])
def test_a_superuser_deletes_a_video_with_its_files(
    rows: Rows, reviewer: User, root_client: Client, django_capture_on_commit_callbacks: Callable[..., object], way: str
) -> None:
    video = rows.with_verdict(model=rows.model())
    stored = default_storage.save(f"{video.folder}/original.mp4", ContentFile(b"bytes"))
    root_client.post(f"/admin/detection/video/{video.pk}/label/", {"label": "fake"})
    ticked = {"action": "delete_selected", "_selected_action": [str(video.pk)]}
    url = f"/admin/detection/video/{video.pk}/delete/" if way == "page" else "/admin/detection/video/"
    body = {} if way == "page" else ticked
    asked = root_client.get(url) if way == "page" else root_client.post(url, body)
    assert "reviews" in asked.content.decode().lower()
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[attr-defined]
        root_client.post(url, {**body, "post": "yes"})
    assert not Video.objects.exists()
    assert not Review.objects.exists()
    assert not default_storage.exists(stored)


def test_an_operator_requeues_what_failed(rows: Rows, root_client: Client) -> None:
    first, second = rows.video("a.mp4", state=State.DEAD), rows.video("b.mp4", state=State.FAILED)
    root_client.post(f"/admin/detection/analysis/requeue/{first.pk}/")
    failed = Analysis.objects.get(video=second)
    ticked = {"action": "requeue", "_selected_action": [str(failed.pk)]}
    response = root_client.post("/admin/detection/analysis/", ticked, follow=True)
    assert "1 video is queued again." in response.content.decode()
    assert set(Video.objects.values_list("status", flat=True)) == {State.QUEUED}
    queued = Analysis.objects.filter(state=State.QUEUED)
    assert queued.count() == 2
    for analysis in queued:
        history = root_client.get(f"/admin/detection/analysis/{analysis.pk}/history/").content.decode()
        assert "Queued again." in history
        assert "root" in history


@pytest.mark.parametrize("way", ["button", "action"])
def test_a_second_look_that_gave_up_is_queued_as_one(rows: Rows, root_client: Client, way: str) -> None:
    video = rows.video(state=State.DEAD)
    Analysis.objects.update(sensitive=True)
    if way == "button":
        root_client.post(f"/admin/detection/analysis/requeue/{video.pk}/")
    else:
        ticked = {"action": "requeue", "_selected_action": [str(video.current_analysis_id)]}
        root_client.post("/admin/detection/analysis/", ticked)
    assert Analysis.objects.get(state=State.QUEUED).sensitive


def test_the_operator_reads_the_last_error_of_an_analysis(rows: Rows, root_client: Client) -> None:
    analysis = rows.video(state=State.DEAD).current_analysis
    assert analysis is not None
    page = root_client.get(f"/admin/detection/analysis/{analysis.pk}/change/").content.decode()
    assert "Traceback: packet 0 is invalid" in page


def test_the_page_of_a_model_shows_its_figures(rows: Rows, review_client: Client) -> None:
    model = rows.model()
    page = review_client.get(f"/admin/detection/modelversion/{model.pk}/change/").content.decode()
    assert "0.71 (0.62 to 0.8)" in page


def test_a_token_is_listed_by_its_beginning_and_can_be_revoked(rows: Rows, root_client: Client) -> None:
    row, token = AuthToken.objects.create(user=rows.owner)
    page = root_client.get("/admin/knox/authtoken/").content.decode()
    assert token[:8] in page
    assert token[:9] not in page
    root_client.post(f"/admin/knox/authtoken/{row.pk}/delete/", {"post": "yes"})
    assert not AuthToken.objects.exists()
