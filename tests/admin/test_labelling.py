"""What a reviewer decides is appended, never changed, and the list stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from detection.models import Review, ReviewLabel
from tests.admin.conftest import Rows


def messages_of(client: Client, url: str) -> str:
    return client.get(url).content.decode()


@pytest.mark.parametrize("label", ReviewLabel.values)
def test_one_click_appends_a_review_and_sets_the_label(
    rows: Rows, reviewer: User, review_client: Client, label: str
) -> None:
    video = rows.with_verdict("clip.mp4", model=rows.model())
    response = review_client.post(f"/admin/detection/video/{video.pk}/label/", {"label": label})
    assert response.status_code == 302
    video.refresh_from_db()
    review = Review.objects.get()
    assert (video.label, review.label) == (label, label)
    assert (review.video, review.reviewer, review.verdict) == (video, reviewer, video.current_verdict)
    page = messages_of(review_client, "/admin/detection/video/")
    assert "<strong>clip.mp4</strong>" in page
    assert ReviewLabel(label).label.lower() in page


def test_a_second_decision_is_a_second_row_and_the_newest_counts(rows: Rows, review_client: Client) -> None:
    video = rows.no_face()
    for label in ("fake", "no_face"):
        review_client.post(f"/admin/detection/video/{video.pk}/label/", {"label": label})
    video.refresh_from_db()
    assert video.label == "no_face"
    assert [review.label for review in video.reviews.order_by("created_at")] == ["fake", "no_face"]


def test_the_page_asks_for_a_decision_until_there_is_one(rows: Rows, review_client: Client) -> None:
    video = rows.with_verdict(model=rows.model())
    url = f"/admin/detection/video/{video.pk}/change/"
    before = messages_of(review_client, url)
    review_client.post(f"/admin/detection/video/{video.pk}/label/", {"label": "unsure"})
    after = messages_of(review_client, url)
    asked, decided = "Needs a person's decision", "A person has decided"
    assert (asked in before, decided in before) == (True, False)
    assert (asked in after, decided in after) == (False, True)


def test_a_comment_is_kept_with_the_decision(rows: Rows, review_client: Client) -> None:
    video = rows.no_face()
    review_client.post(f"/admin/detection/video/{video.pk}/label/", {"label": "fake", "comment": " The jaw flickers. "})
    assert Review.objects.get().comment == "The jaw flickers."
    assert "The jaw flickers." in messages_of(review_client, f"/admin/detection/video/{video.pk}/change/")


def test_filters_and_search_are_kept_after_a_label(rows: Rows, review_client: Client) -> None:
    video = rows.no_face()
    back = "/admin/detection/nofacevideo/?view=all&q=empty&p=1"
    assert f'name="next" value="{back.replace("&", "&amp;")}"' in messages_of(review_client, back)
    response = review_client.post(f"/admin/detection/video/{video.pk}/label/", {"label": "no_face", "next": back})
    assert response["Location"] == back


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", ""])
def test_a_label_never_leads_to_another_site(rows: Rows, review_client: Client, elsewhere: str) -> None:
    video = rows.no_face()
    response = review_client.post(f"/admin/detection/video/{video.pk}/label/", {"label": "fake", "next": elsewhere})
    assert response["Location"] == "/admin/detection/video/"
    page = review_client.get(f"/admin/detection/video/{video.pk}/change/", {"back": elsewhere}).content.decode()
    assert '<a class="dfd-button" href="/admin/detection/video/">' in page
    assert f'name="next" value="/admin/detection/video/{video.pk}/change/"' in page


@pytest.mark.parametrize("page", ["video", "nofacevideo"])
def test_ticked_rows_go_to_a_contact_sheet_and_none_is_labelled_by_the_list(
    rows: Rows, review_client: Client, page: str
) -> None:
    videos = [rows.no_face(f"{number}.mp4") for number in range(3)]
    ticked = {"action": "contact_sheet", "_selected_action": [str(video.pk) for video in videos[:2]]}
    response = review_client.post(f"/admin/detection/{page}/", ticked)
    assert response.status_code == 302
    assert all(str(video.pk) in response["Location"] for video in videos[:2])
    assert str(videos[2].pk) not in response["Location"]
    assert not Review.objects.exists()


def test_more_ticked_rows_than_a_sheet_shows_are_said(rows: Rows, review_client: Client, settings: Any) -> None:
    settings.DFD_REVIEW_SHEET_SIZE = 2
    ticked = [str(rows.no_face(f"{number}.mp4").pk) for number in range(3)]
    form = {"action": "contact_sheet", "_selected_action": ticked}
    sheet = review_client.post("/admin/detection/nofacevideo/", form, follow=True)
    assert "You ticked 3 rows; the sheet shows the first 2." in sheet.content.decode()


def test_a_sheet_never_takes_rows_that_were_not_on_the_screen(rows: Rows, review_client: Client) -> None:
    videos = [rows.no_face(f"{number}.mp4") for number in range(3)]
    ticked = {"action": "contact_sheet", "_selected_action": [str(videos[0].pk)], "select_across": "1"}
    response = review_client.post("/admin/detection/nofacevideo/", ticked, follow=True)
    assert "tick those" in response.content.decode()


def test_an_unknown_label_or_video_is_not_found(rows: Rows, review_client: Client) -> None:
    video = rows.no_face()
    nobody = "/admin/detection/video/00000000-0000-4000-8000-000000000000/label/"
    assert review_client.post(f"/admin/detection/video/{video.pk}/label/", {"label": "maybe"}).status_code == 404
    assert review_client.post(nobody, {"label": "fake"}).status_code == 404
    assert not Review.objects.exists()


def test_a_comment_that_is_too_long_is_refused_with_a_sentence(rows: Rows, review_client: Client) -> None:
    video = rows.no_face()
    review_client.post(f"/admin/detection/video/{video.pk}/label/", {"label": "fake", "comment": "x" * 2001})
    assert not Review.objects.exists()
    assert "A comment has at most" in messages_of(review_client, "/admin/detection/video/")


def test_a_label_is_neither_a_link_nor_sent_without_its_csrf_token(
    rows: Rows, reviewer: User, as_user: Callable[[User], Client]
) -> None:
    video = rows.no_face()
    url = f"/admin/detection/video/{video.pk}/label/"
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(reviewer)
    assert as_user(reviewer).get(url, {"label": "fake"}).status_code == 405
    assert strict.post(url, {"label": "fake"}).status_code == 403
    assert not Review.objects.exists()


def test_a_recorded_decision_can_be_neither_edited_nor_removed_in_the_admin(
    rows: Rows, root_client: Client, review_client: Client
) -> None:
    video = rows.no_face()
    review_client.post(f"/admin/detection/video/{video.pk}/label/", {"label": "fake"})
    url = f"/admin/detection/review/{Review.objects.get().pk}"
    assert root_client.get(f"{url}/change/").status_code == 200
    assert root_client.post(f"{url}/change/", {"label": "real"}).status_code == 403
    assert root_client.post(f"{url}/delete/", {"post": "yes"}).status_code == 403
    assert Review.objects.get().label == "fake"
