"""What looks the same, as reviewers see it: without anything that could sway them; and the button "Look again"."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from detection import dispatch
from detection.admin.review.near_duplicates import near_duplicate_payload
from detection.models import Analysis, DatasetVideo, Review, ReviewClaim, State, Video
from detection.services.jobs.perceptual_hashes import store_prints
from detection.services.reviews import reviews
from tests.admin.conftest import Rows
from tests.admin.test_workspace import call, claim

pytestmark = pytest.mark.django_db
BITS = f"{random.Random(0).getrandbits(256):064x}"


@pytest.fixture(autouse=True)
def _quiet(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.DFD_REVIEW_AUDIT_SHARE = settings.DFD_REVIEW_SECOND_SHARE = settings.DFD_REVIEW_GOLD_SHARE = 0.0
    monkeypatch.setattr(dispatch, "_publish", lambda task, args: True)


def alike(*videos: Video) -> None:
    for video in videos:
        store_prints(video_id=video.pk, picture=BITS, faces={})


# --- looks the same --------------------------------------------------------------------------------------------------


def test_the_workspace_is_told_what_looks_the_same_and_not_what_it_is_called(
    rows: Rows, reviewer: User, review_client: Client
) -> None:
    model = rows.model()
    video = rows.with_verdict("clip.mp4", model=model, score=0.52)
    near = rows.with_verdict("copy.mp4", model=model, score=0.9873)
    reviews.record_review(video=near, reviewer=reviewer, label="fake", comment="the chin")
    of_set = rows.video("Deepfakes_001_fake.mp4", state=State.SUCCEEDED, label="fake")
    DatasetVideo.objects.create(video=of_set, dataset="lab", path="fake/1.mp4", label="fake", identity="a")
    rows.with_verdict("other.mp4", model=model, score=0.6)
    alike(video, near, of_set)
    given = call(review_client, "next", queue="uncertain")["item"]
    assert given["video"]["id"] == str(video.pk)
    assert {one["id"]: (one["name"], one["how"], one["label_text"]) for one in given["near"]} == {
        str(near.pk): ("copy.mp4", "the same picture", ""),
        str(of_set.pk): ("A data set's video", "the same picture", ""),
    }
    assert given["near_sheet_url"] == f"{reverse('review-sheet')}?ids={video.pk},{near.pk}"
    told = json.dumps(given["near"]).lower()
    for word in ("fake", "0.98", "chin", "verdict", "probability", "score", "lab"):
        assert word not in told.replace("label_text", "")
    assert set(given["near"][0]) == {"id", "name", "page_url", "thumbnail_url", "how", "label_text"}


def test_only_who_settles_a_disagreement_sees_the_labels(rows: Rows, reviewer: User, rf: Any) -> None:
    video, near = (rows.no_face(name) for name in ("one", "two"))
    alike(video, near)
    reviews.record_review(video=near, reviewer=reviewer, label="real")
    request = rf.get("/")
    request.user = rows.user("senior", "senior_reviewer", staff=True)
    assert [one["label_text"] for one in near_duplicate_payload(request, video, labels=False)["near"]] == [""]
    assert [one["label_text"] for one in near_duplicate_payload(request, video, labels=True)["near"]] == ["Real"]


def test_a_second_reader_is_not_told_the_label_of_a_copy(
    rows: Rows, reviewer: User, as_user: Callable[[User], Client], settings: Any
) -> None:
    settings.DFD_REVIEW_SECOND_SHARE = 1.0
    model = rows.model()
    video, near = (rows.with_verdict(name, model=model, score=0.9) for name in ("one", "two"))
    alike(video, near)
    for one, role in ((video, "first"), (near, "")):  # the copy waits for no second reader
        reviews.record_review(
            video=one, reviewer=reviewer, label="fake", reading=reviews.Reading(role=role, score_shown=False)
        )
    second = rows.user("second", "reviewer", staff=True)
    given = call(as_user(second), "next", queue="disagreement")["item"]
    assert given["role"] == "second"
    assert [one["label_text"] for one in given["near"]] == [""]
    senior = rows.user("senior", "senior_reviewer", staff=True)
    call(as_user(second), "answer", claim=given["claim"], label="real")
    given = call(as_user(senior), "next", queue="disagreement")["item"]
    assert given["role"] == "adjudication"
    assert [bool(one["label_text"]) for one in given["near"]] == [True]


def test_the_page_of_a_video_shows_them_with_verdicts_unless_it_waits_for_ones_answer(
    rows: Rows, reviewer: User, review_client: Client
) -> None:
    model = rows.model()
    video = rows.with_verdict("one", model=model, score=0.52)
    near = rows.with_verdict("<b>two</b>", model=model, score=0.7)
    of_set = rows.video("001_fake.mp4", state=State.SUCCEEDED)
    DatasetVideo.objects.create(video=of_set, dataset="lab", path="fake/1.mp4", label="fake", identity="a")
    url = reverse("admin:detection_video_change", args=(video.pk,))
    assert "Looks the same" not in review_client.get(url).content.decode()
    alike(video, near, of_set)
    text = review_client.get(url).content.decode()
    panel = text[text.index('id="dfd-near"') : text.index('id="dfd-reviews"')]
    assert "&lt;b&gt;two&lt;/b&gt;" in panel
    assert "dfd-badge--red" in panel
    assert "data set lab" in panel
    assert f"{reverse('review-sheet')}?ids=" in panel
    claim(reviewer)
    text = review_client.get(url).content.decode()
    panel = text[text.index('id="dfd-near"') : text.index('id="dfd-reviews"')]
    assert "&lt;b&gt;two" in panel
    for word in ("dfd-badge", "001_fake", "data set lab"):
        assert word not in panel


def test_a_strangers_browser_gets_none_of_it(rows: Rows, as_user: Callable[[User], Client]) -> None:
    video, near = (rows.no_face(name) for name in ("one", "two"))
    alike(video, near)
    for client in (as_user(rows.user("plain", staff=True)), as_user(rows.owner), Client()):
        for url in (
            reverse("admin:detection_video_change", args=(video.pk,)),
            reverse("review"),
            f"{reverse('review-sheet')}?ids={video.pk}",
        ):
            response = client.get(url)
            assert response.status_code in (302, 403)
            assert str(near.pk) not in response.content.decode()
        again = client.post(reverse("admin:detection_video_rescan", args=(video.pk,)))
        assert again.status_code in (302, 403)
    assert Analysis.objects.filter(sensitive=True).count() == 0


def test_an_item_takes_as_many_queries_with_ten_copies_as_with_one(rows: Rows, review_client: Client) -> None:
    video = rows.no_face("one")
    counted = []
    for number in range(1, 11):
        alike(video, rows.video(f"copy {number}", state=State.SUCCEEDED))
        if number in (1, 10):
            with CaptureQueriesContext(connection) as queries:
                assert len(call(review_client, "next", queue="no_face")["item"]["near"]) == number
            counted.append(len(queries))
            ReviewClaim.objects.all().delete()
    assert counted[0] == counted[1]


# --- look again ------------------------------------------------------------------------------------------------------


def test_a_video_without_a_face_goes_back_to_the_worker_without_an_answer(rows: Rows, review_client: Client) -> None:
    video, other = rows.no_face("one"), rows.no_face("two")
    given = call(review_client, "next", queue="no_face")["item"]
    assert (given["video"]["id"], given["can_rescan"]) == (str(video.pk), True)
    assert call(review_client, "rescan", claim=given["claim"])["status"] == 200
    analysis = Analysis.objects.get(video=video, state=State.QUEUED)
    assert (analysis.sensitive, analysis.stage) == (True, "extract")
    assert not Review.objects.exists()
    assert not ReviewClaim.objects.exists()
    following = call(review_client, "next", queue="no_face")["item"]
    assert following["video"]["id"] == str(other.pk)
    assert call(review_client, "rescan", claim=given["claim"])["code"] == "claim_lost"

    # it comes back: nobody was found this time either
    Analysis.objects.filter(pk=analysis.pk).update(state=State.NO_FACE, finished_at=timezone.now())
    Video.objects.filter(pk=video.pk).update(status=State.NO_FACE)
    call(review_client, "release", claims=[following["claim"]])
    given = call(review_client, "next", queue="no_face")["item"]
    assert (given["video"]["id"], given["can_rescan"]) == (str(video.pk), False)
    assert given["why"] == "Looked at twice, the second time with lower thresholds: no face either."
    refused = call(review_client, "rescan", claim=given["claim"])
    assert (refused["status"], refused["code"]) == (409, "looked_already")
    assert call(review_client, "answer", claim=given["claim"], label="no_face")["mine"] == "no_face", "the claim stayed"


def test_a_video_with_faces_is_not_looked_at_again(rows: Rows, review_client: Client) -> None:
    rows.with_verdict(model=rows.model())
    given = call(review_client, "next")["item"]
    assert given["can_rescan"] is False
    refused = call(review_client, "rescan", claim=given["claim"])
    assert (refused["status"], refused["code"]) == (409, "not_no_face")
    assert Analysis.objects.filter(sensitive=True).count() == 0
    assert ReviewClaim.objects.count() == 1


def test_without_the_original_there_is_nothing_to_look_at(rows: Rows, review_client: Client) -> None:
    video = rows.no_face("one", original_removed_at=timezone.now())
    given = call(review_client, "next", queue="no_face")["item"]
    assert given["can_rescan"] is False
    refused = call(review_client, "rescan", claim=given["claim"])
    assert (refused["status"], refused["code"]) == (409, "original_expired")
    page = review_client.get(reverse("admin:detection_video_change", args=(video.pk,))).content.decode()
    assert reverse("admin:detection_video_rescan", args=(video.pk,)) not in page
    assert ReviewClaim.objects.count() == 1


def test_the_list_and_the_page_have_the_button_until_it_was_pressed(rows: Rows, review_client: Client) -> None:
    video = rows.no_face("one")
    again = reverse("admin:detection_video_rescan", args=(video.pk,))
    pages = (
        reverse("admin:detection_nofacevideo_changelist"),
        reverse("admin:detection_video_change", args=(video.pk,)),
    )
    for page in pages:
        assert again in review_client.get(page).content.decode()
    assert review_client.get(again).status_code == 405
    response = review_client.post(again, {"next": pages[0]}, follow=True)
    assert "Looking again at <strong>one</strong> with lower thresholds" in response.content.decode()
    Analysis.objects.filter(video=video, sensitive=True).update(state=State.NO_FACE, finished_at=timezone.now())
    Video.objects.filter(pk=video.pk).update(status=State.NO_FACE)
    for page in pages:
        text = review_client.get(page).content.decode()
        assert again not in text
        assert "the second time with lower thresholds: no face either" in text
    assert "lower thresholds</span>" in text
    response = review_client.post(again, {"next": pages[0]}, follow=True)
    assert "looked at with lower thresholds before" in response.content.decode()
    assert Analysis.objects.filter(sensitive=True).count() == 1
