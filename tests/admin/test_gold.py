"""Known answers: shown among the others, told to nobody who is checked, and they decide nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from detection.errors import Refused
from detection.models import GoldVideo, Review, ReviewClaim, State, Video
from detection.services.learning.labelled_videos import labelled_videos
from detection.services.reviews import gold, reviews, workspace
from detection.services.reviews.reviews import Reading
from tests.admin.conftest import Rows
from tests.admin.test_workspace import _no_lots, call  # noqa: F401

pytestmark = pytest.mark.django_db


@pytest.fixture
def senior(rows: Rows) -> User:
    return rows.user("senior", "senior_reviewer", staff=True)


@pytest.fixture
def known(rows: Rows, senior: User, settings: Any) -> Video:
    settings.DFD_REVIEW_GOLD_SHARE = 1.0
    video = rows.with_verdict("known", model=rows.model(), score=0.9)
    gold.set_gold(video=video, label="real", reason="I filmed it myself.", by=senior)
    return video


def test_a_known_answer_looks_like_any_other_video_and_decides_nothing(
    known: Video, rows: Rows, review_client: Client, reviewer: User
) -> None:
    other = rows.with_verdict("other", model=rows.model("m2", active=False), score=0.55)
    item = call(review_client, "next", queue="mixed")["item"]
    assert item["video"]["name"] == "known"
    assert (item["role"], item["queue"]) == ("first", "uncertain")
    assert "gold" not in str(item)
    assert "known answer" not in str(item).lower()
    call(review_client, "answer", claim=item["claim"], label="fake", seconds=2)
    row = Review.objects.get(reviewer=reviewer)
    assert (row.role, row.label, row.score_shown, row.queue) == ("gold", "fake", False, "uncertain")
    known.refresh_from_db()
    assert (known.label, known.review_next) == ("real", "")  # the senior's stands
    assert call(review_client, "next", queue="mixed")["item"]["video"]["name"] == other.original_name
    for page in ("admin:detection_review_changelist",):
        text = review_client.get(reverse(page)).content.decode()
        assert "Check against a known answer" not in text
        assert "First reading" in text


def test_it_is_asked_once_and_comes_back_after_an_undo(known: Video, review_client: Client, reviewer: User) -> None:
    item = call(review_client, "next", queue="uncertain")["item"]
    call(review_client, "answer", claim=item["claim"], label="fake")
    assert call(review_client, "next", queue="uncertain")["item"] is None
    back = call(review_client, "undo")
    assert back["item"]["video"]["name"] == "known"
    call(review_client, "answer", claim=back["item"]["claim"], label="real")
    assert list(Review.objects.filter(reviewer=reviewer, role="gold").values_list("label", "score_shown")) == [
        ("real", True),
        ("fake", False),
    ]


def test_the_workspace_takes_back_nothing_that_was_said_elsewhere(
    known: Video, rows: Rows, senior: User, reviewer: User
) -> None:
    """A known answer and a senior's button in a list are adjudications, as answers to a disagreement are."""
    model = rows.model("m2", active=False)
    settled, answered = rows.with_verdict("settled", model=model), rows.with_verdict("answered", model=model)
    reviews.record_review(
        video=settled, reviewer=senior, label="fake", reading=Reading(role="adjudication", queue="disagreement")
    )
    given = workspace.next_item(reviewer=senior, queue="uncertain")
    assert given is not None
    assert given.video == answered
    mine = workspace.answer(reviewer=senior, token=given.token, label="fake")
    assert reviews.record_review(video=settled, reviewer=senior, label="real").role == "adjudication"  # from a list
    other = rows.with_verdict("other", model=model)
    gold.set_gold(video=other, label="fake", reason="Made by ourselves.", by=senior)
    assert [workspace.undo(reviewer=senior)[0].pk, workspace.undo(reviewer=senior)[0].queue] == [
        mine.pk,
        "disagreement",
    ]
    with pytest.raises(Refused, match="no answer of yours"):
        workspace.undo(reviewer=senior)
    labels = dict(Video.objects.values_list("original_name", "label"))
    assert labels == {"known": "real", "settled": "real", "answered": "", "other": "fake"}


def test_no_face_ones_come_in_their_own_queue_and_whoever_set_one_is_not_asked(
    rows: Rows, senior: User, reviewer: User, settings: Any
) -> None:
    settings.DFD_REVIEW_GOLD_SHARE = 1.0
    empty = rows.no_face("empty")
    gold.set_gold(video=empty, label="no_face", reason="A drawing.", by=senior)
    assert workspace.next_item(reviewer=reviewer, queue="uncertain") is None
    assert workspace.next_item(reviewer=senior, queue="no_face") is None
    found = workspace.next_item(reviewer=reviewer, queue="no_face")
    assert found is not None
    assert found.video == empty
    # One at a time: a video can be before one person only.
    assert workspace.next_item(reviewer=rows.user("other", "reviewer", staff=True), queue="no_face") is None


def test_one_whose_pictures_are_gone_is_shown_to_nobody(known: Video, reviewer: User, settings: Any) -> None:
    """Nobody can tell what is not there to be seen, and it would count against them."""
    given = workspace.next_item(reviewer=reviewer)
    assert given is not None
    Video.objects.filter(pk=known.pk).update(pictures_removed_at=timezone.now())
    for share in (1.0, 0.0):  # the page was closed: what it had is given again first
        settings.DFD_REVIEW_GOLD_SHARE = share
        ReviewClaim.objects.update(until=timezone.now())
        assert workspace.next_item(reviewer=reviewer) is None
        assert not gold.is_open_for(video_id=known.pk, reviewer=reviewer)


def test_answers_to_known_ones_neither_teach_nor_show_over_rest(
    known: Video, review_client: Client, rows: Rows, as_user: Callable[[User], Client]
) -> None:
    item = call(review_client, "next")["item"]
    call(review_client, "answer", claim=item["claim"], label="fake")
    Video.objects.update(fingerprint="-")
    (candidate,) = labelled_videos()[0]
    assert (candidate.label, candidate.reviewers) == ("real", ("senior",))
    listed = as_user(rows.owner).get(f"/api/v1/videos/{known.pk}/reviews/").json()
    assert [entry["label"] for entry in listed["results"]] == ["real"]


def test_only_seniors_set_them_and_say_how_they_know(rows: Rows, reviewer: User, senior: User) -> None:
    video = rows.with_verdict("v", model=rows.model())
    for by, label, reason, code in (
        (reviewer, "real", "x", "permission_denied"),
        (senior, "unsure", "x", "invalid_label"),
        (senior, "real", "  ", "invalid_comment"),
    ):
        with pytest.raises(Refused) as refused:
            gold.set_gold(video=video, label=label, reason=reason, by=by)
        assert refused.value.code == code
    with pytest.raises(Refused, match="still being analysed"):
        gold.set_gold(video=rows.video("q", state=State.QUEUED), label="real", reason="x", by=senior)
    assert not GoldVideo.objects.exists()


def test_the_page_of_a_video_sets_and_unsets_them_for_seniors_only(
    rows: Rows, senior: User, review_client: Client, as_user: Callable[[User], Client]
) -> None:
    video = rows.with_verdict("v", model=rows.model())
    page = reverse("admin:detection_video_change", args=(video.pk,))
    address = reverse("admin:detection_video_gold", args=(video.pk,))
    client = as_user(senior)
    assert "Known answer" in client.get(page).content.decode()
    client.post(address, {"label": "fake", "reason": "The source is known."})
    assert GoldVideo.objects.get().label == "fake"
    assert "The source is known." in client.get(page).content.decode()
    assert client.get(reverse("admin:detection_goldvideo_changelist")).status_code == 200
    assert "Known answer" not in review_client.get(page).content.decode()
    assert review_client.post(address, {"label": ""}).status_code == 403
    assert review_client.get(reverse("admin:detection_goldvideo_changelist")).status_code == 403
    client.post(address, {"label": ""})
    assert not GoldVideo.objects.exists()
    video.refresh_from_db()
    assert video.label == "fake"  # its label stays


def test_the_page_of_a_video_that_one_has_before_one_tells_nothing(
    rows: Rows, review_client: Client, reviewer: User
) -> None:
    video = rows.with_verdict("v", model=rows.model(), score=0.87)
    page = reverse("admin:detection_video_change", args=(video.pk,))
    assert "0.87" in review_client.get(page).content.decode()
    item = call(review_client, "next")["item"]
    text = review_client.get(page).content.decode()
    assert "0.87" not in text
    assert "when you have answered" in text
    call(review_client, "answer", claim=item["claim"], label="fake")
    assert "0.87" in review_client.get(page).content.decode()
