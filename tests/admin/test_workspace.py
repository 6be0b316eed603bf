"""The review workspace: nobody gets what another has before them, and each answer is recorded to the last field."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from detection.errors import Refused
from detection.models import Review, ReviewClaim, ReviewNext, State, Video
from detection.services.learning.labelled_videos import labelled_videos
from detection.services.reviews import queues, reviews, workspace
from detection.services.reviews.workspace import Claimed
from detection.services.uploads import uploads
from tests.admin.conftest import Rows
from tests.at_once import MANY, at_once

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_lots(settings: Any) -> None:
    """Nobody is drawn by lot, unless a test says so."""
    settings.DFD_REVIEW_AUDIT_SHARE = settings.DFD_REVIEW_SECOND_SHARE = settings.DFD_REVIEW_GOLD_SHARE = 0.0


def call(client: Client, name: str, **body: Any) -> Any:
    response = client.post(reverse(f"review-{name}"), json.dumps(body), content_type="application/json")
    return response.json() | {"status": response.status_code}


def names(reviewer: User, queue: str) -> list[str]:
    """What the queue gives out, by skipping on."""
    found: list[str] = []
    skipped: list[UUID] = []
    while claimed := workspace.next_item(reviewer=reviewer, queue=queue, skipped=skipped):
        found.append(claimed.video.original_name)
        skipped.append(workspace.skip(reviewer=reviewer, token=claimed.token))
    return found


def claim(reviewer: User, queue: str = "mixed") -> Claimed:
    found = workspace.next_item(reviewer=reviewer, queue=queue)
    assert found is not None
    return found


# --- queues ----------------------------------------------------------------------------------------------------------


def test_each_queue_gives_out_what_it_is_for_in_its_order(rows: Rows, reviewer: User, settings: Any) -> None:
    model = rows.model()
    for name, score in (("far", 0.9), ("near", 0.52), ("middle", 0.3)):
        rows.with_verdict(name, model=model, score=score, audit_rank=5000)
    sure = rows.with_verdict("sure", model=model, score=0.99, audit_rank=10)
    Video.objects.filter(pk=sure.pk).update(needs_review=False)
    rows.no_face("faceless", audit_rank=1)
    for state in (State.FAILED, State.DEAD):
        rows.video(state.value, state=state, audit_rank=2)
    rows.video("queued", audit_rank=3)
    settings.DFD_REVIEW_AUDIT_SHARE = 0.01
    assert names(reviewer, "uncertain") == ["near", "middle", "far"]
    assert names(reviewer, "no_face") == ["faceless"]
    assert names(reviewer, "failed") == ["failed", "dead"]
    assert names(reviewer, "audit") == ["sure"]
    assert names(reviewer, "disagreement") == []
    settings.DFD_REVIEW_ORDER = ["no_face", "audit", "uncertain"]
    assert names(reviewer, "mixed") == ["faceless", "sure", "near", "middle", "far"]
    with pytest.raises(Refused, match="no queue"):
        workspace.next_item(reviewer=reviewer, queue="nonsense")


def test_the_next_video_takes_as_many_queries_among_ten_as_among_three_hundred(rows: Rows, reviewer: User) -> None:
    model = rows.model()
    rows.with_verdict("first", model=model, score=0.5)
    counted = []
    for more in (9, 290):
        Video.objects.bulk_create(
            Video(
                owner=rows.owner, original_name="x", sha256=f"{more}-{k}", size_bytes=1, status=State.SUCCEEDED,
                needs_review=True, verdict_label="fake", fake_probability=0.9, margin=0.4,
            )
            for k in range(more)
        )  # fmt: skip
        with CaptureQueriesContext(connection) as queries:
            found = claim(reviewer, "uncertain")
        workspace.skip(reviewer=reviewer, token=found.token)
        counted.append(len(queries))
    assert counted[0] == counted[1] <= 9


@pytest.mark.skipif(connection.vendor != "sqlite", reason="reads SQLite's words for a plan")
@pytest.mark.parametrize("queue", queues.QUEUES)
def test_a_queue_walks_an_index_in_its_order(rows: Rows, queue: str) -> None:
    senior = rows.user("senior", superuser=True)
    for part in queues.queue_parts(queue=queue, reviewer=senior):
        plan = part[:20].explain()
        assert "USING INDEX video_" in plan
        assert "TEMP B-TREE" not in plan
        assert "SCAN" not in plan


# --- claims ----------------------------------------------------------------------------------------------------------


def test_two_reviewers_get_different_videos_and_a_page_that_was_closed_gets_its_own_again(
    rows: Rows, reviewer: User, settings: Any
) -> None:
    model = rows.model()
    for k in range(3):
        rows.with_verdict(str(k), model=model, score=0.5 + k / 100)
    other = rows.user("other", "reviewer", staff=True)
    first, second = claim(reviewer), claim(other)
    assert first.video != second.video
    ahead = workspace.next_item(reviewer=reviewer, held=[first.token])
    assert ahead is not None
    assert ahead.video not in (first.video, second.video)
    assert workspace.next_item(reviewer=other, held=[second.token]) is None
    silent = timezone.now() + timedelta(seconds=settings.DFD_REVIEW_LEASE_S / 3)
    ReviewClaim.objects.filter(token=first.token).update(until=silent)  # the page was closed and could not say so
    again = claim(reviewer)
    assert again.video == first.video
    assert again.token != first.token
    with pytest.raises(Refused) as lost:
        workspace.answer(reviewer=reviewer, token=first.token, label="fake")
    assert lost.value.code == "claim_lost"
    assert not Review.objects.exists()


def test_two_tabs_of_one_reviewer_leave_each_other_their_videos(rows: Rows, reviewer: User, settings: Any) -> None:
    model = rows.model()
    for k in range(20):
        rows.with_verdict(str(k), model=model, score=0.5 + k / 100)
    first, second = claim(reviewer), claim(reviewer)
    assert first.video != second.video
    ahead = workspace.next_item(reviewer=reviewer, held=[first.token])
    assert ahead is not None
    assert workspace.extend_claims(reviewer=reviewer, tokens=[first.token, second.token, ahead.token]) == []
    workspace.answer(reviewer=reviewer, token=first.token, label="fake")
    workspace.answer(reviewer=reviewer, token=second.token, label="real")
    for _ in range(14):  # a browser that restores a dozen tabs, again and again, does not hide the queue from others
        claim(reviewer)
    assert ReviewClaim.objects.filter(reviewer=reviewer).count() <= workspace.MOST_HELD + 1


def test_a_claim_runs_out_and_is_somebody_elses_then(rows: Rows, reviewer: User) -> None:
    rows.with_verdict(model=rows.model())
    other = rows.user("other", "reviewer", staff=True)
    mine = claim(reviewer)
    assert workspace.next_item(reviewer=other) is None
    assert workspace.extend_claims(reviewer=reviewer, tokens=[mine.token]) == []
    ReviewClaim.objects.update(until=timezone.now() - timedelta(seconds=1))
    theirs = claim(other)
    assert theirs.video == mine.video
    assert workspace.extend_claims(reviewer=reviewer, tokens=[mine.token]) == [mine.token]
    with pytest.raises(Refused, match="no longer with this page"):
        workspace.answer(reviewer=reviewer, token=mine.token, label="real")
    with pytest.raises(Refused, match="no longer with this page"):
        workspace.answer(reviewer=reviewer, token=theirs.token, label="real")  # another's token is nobody's right
    workspace.answer(reviewer=other, token=theirs.token, label="real")
    assert Review.objects.get().reviewer == other


def test_who_answers_a_video_that_was_deleted_is_told_that_it_may_have_been(rows: Rows, reviewer: User) -> None:
    rows.with_verdict(model=rows.model())
    mine = claim(reviewer)
    uploads.delete_video(video=mine.video)
    with pytest.raises(Refused, match="answered or deleted"):
        workspace.answer(reviewer=reviewer, token=mine.token, label="real")


def test_expired_claims_are_forgotten(rows: Rows, reviewer: User, settings: Any) -> None:
    rows.with_verdict(model=rows.model())
    claim(reviewer)
    assert workspace.delete_expired_claims() == 0
    ReviewClaim.objects.update(until=timezone.now() - timedelta(seconds=2 * settings.DFD_REVIEW_LEASE_S))
    assert workspace.delete_expired_claims() == 1


@pytest.mark.django_db(transaction=True)
def test_reviewers_who_hammer_one_queue_never_get_the_same_video(rows: Rows) -> None:
    model = rows.model()
    videos, people = 40, [rows.reader(f"r{k}") for k in range(MANY)]
    for k in range(videos):
        rows.with_verdict(str(k), model=model, score=0.5 + k / 1000)

    def work(number: int) -> list[UUID]:
        done: list[UUID] = []
        while found := workspace.next_item(reviewer=people[number]):
            done.append(found.video.pk)
            workspace.answer(reviewer=people[number], token=found.token, label="fake")
        return done

    found = [video for done in at_once(work) for video in done]
    assert len(found) == len(set(found)) == videos
    assert Review.objects.count() == videos
    assert not ReviewClaim.objects.exists()


# --- answers ---------------------------------------------------------------------------------------------------------


def test_an_answer_is_recorded_to_the_last_field_and_the_score_is_told_only_then(
    rows: Rows, reviewer: User, review_client: Client
) -> None:
    model = rows.model()
    video = rows.with_verdict("clip.mp4", model=model, score=0.62, people=2)
    given = call(review_client, "next", queue="uncertain")["item"]
    assert given["video"]["id"] == str(video.pk)
    assert [len(person["faces"]) for person in given["people"]] == [10, 10]
    text = json.dumps(given)
    assert "0.62" not in text
    assert "probability" not in text
    assert given["revealed"] is None
    told = call(review_client, "answer", claim=given["claim"], label="fake", seconds=4.25, comment=" the chin ")
    assert told["mine"] == "fake"
    assert (told["model"]["label"], told["model"]["score"], told["model"]["agrees"]) == ("fake", "0.62", True)
    assert [person["score"] for person in told["model"]["people"]] == ["0.62", "0.31"]
    assert told["decided_today"] == 1
    row = Review.objects.get()
    assert str(row.pk) == told["review"]
    assert (row.video, row.reviewer, row.label, row.comment) == (video, reviewer, "fake", "the chin")
    assert (row.verdict, row.model_version, row.model_probability) == (video.current_verdict, model, 0.62)
    assert (row.score_shown, row.seconds, row.queue, row.role) == (False, 4.25, "uncertain", "first")
    video.refresh_from_db()
    assert (video.label, video.review_next) == ("fake", "")
    assert call(review_client, "next", queue="uncertain")["item"] is None
    again = call(review_client, "answer", claim=given["claim"], label="real")
    assert (again["status"], again["review"], again["mine"]) == (200, told["review"], "fake")  # the reply was lost
    assert Review.objects.count() == 1


def test_undo_is_a_row_and_the_video_stands_there_again_with_the_score_that_is_known_now(
    rows: Rows, reviewer: User, review_client: Client
) -> None:
    video = rows.with_verdict(model=rows.model(), score=0.62)
    assert call(review_client, "undo")["code"] == "nothing_to_undo"
    given = call(review_client, "next")["item"]
    call(review_client, "answer", claim=given["claim"], label="real", seconds=1)
    undone = call(review_client, "undo")
    assert undone["undone"] == "real"
    assert undone["item"]["video"]["id"] == str(video.pk)
    assert undone["item"]["revealed"]["score"] == "0.62"
    video.refresh_from_db()
    assert (video.label, video.review_next) == ("", "")
    call(review_client, "answer", claim=undone["item"]["claim"], label="fake", seconds=2)
    one, two, three = Review.objects.order_by("created_at")
    assert (one.label, one.score_shown) == ("real", False)
    assert (two.label, two.role, two.undoes) == ("", "undo", one)
    assert (three.label, three.score_shown, three.role) == ("fake", True, "first")
    assert list(Review.objects.not_undone()) == [three]
    video.refresh_from_db()
    assert video.label == "fake"
    with pytest.raises(Refused, match="taken back already"):
        reviews.undo_review(review=one, by=reviewer)
    with pytest.raises(Refused, match="one's own"):
        reviews.undo_review(review=three, by=rows.owner)


def test_an_undo_that_is_sent_again_takes_back_no_other_answer(rows: Rows, review_client: Client) -> None:
    model = rows.model()
    for score in (0.62, 0.64):
        rows.with_verdict(model=model, score=score)
    told = []
    for _ in range(2):
        given = call(review_client, "next")["item"]
        told.append(call(review_client, "answer", claim=given["claim"], label="real", seconds=1)["review"])
    undone, again = (call(review_client, "undo", review=told[1]) for _ in range(2))  # the first reply was lost
    assert again["item"]["video"] == undone["item"]["video"]
    assert [str(row.pk) for row in Review.objects.not_undone()] == [told[0]]
    assert Review.objects.filter(role="undo").count() == 1
    assert call(review_client, "undo", review=told[0])["undone"] == "real"
    assert call(review_client, "undo")["code"] == "nothing_to_undo"
    assert call(review_client, "undo", review=str(rows.owner.pk))["status"] == 409


def test_after_an_undo_the_label_of_before_stands_again(rows: Rows, reviewer: User) -> None:
    video = rows.with_verdict(model=rows.model())
    other = rows.user("other", "reviewer", staff=True)
    reviews.record_review(video=video, reviewer=other, label="unsure")
    mine = reviews.record_review(video=video, reviewer=reviewer, label="real")
    assert video.label == "real"
    reviews.undo_review(review=mine, by=reviewer)
    video.refresh_from_db()
    assert video.label == "unsure"


def test_skipped_videos_come_round_again_when_nothing_else_is_left(rows: Rows, review_client: Client) -> None:
    model = rows.model()
    for k in range(2):
        rows.with_verdict(str(k), model=model, score=0.5 + k / 100)
    order = []
    for _ in range(3):
        given = call(review_client, "next")["item"]
        order.append(given["video"]["name"])
        call(review_client, "skip", claim=given["claim"])
    assert order == ["0", "1", "0"]


# --- second readers and disagreements ---------------------------------------------------------------------------------


def test_a_share_gets_a_second_blind_reader_and_a_conflict_goes_to_somebody_who_may_settle_it(
    rows: Rows, reviewer: User, settings: Any, as_user: Callable[[User], Client]
) -> None:
    settings.DFD_REVIEW_SECOND_SHARE = 1.0
    video = rows.with_verdict(model=rows.model(), score=0.62)
    second = rows.user("second", "reviewer", staff=True)
    senior = rows.user("senior", "senior_reviewer", staff=True)
    workspace.answer(reviewer=reviewer, token=claim(reviewer).token, label="fake", comment="chin")
    assert workspace.next_item(reviewer=reviewer) is None  # not their own
    given = call(as_user(second), "next")["item"]
    assert (given["role"], given["queue"], given["answers"], given["revealed"]) == ("second", "disagreement", [], None)
    call(as_user(second), "answer", claim=given["claim"], label="real")
    video.refresh_from_db()
    assert video.review_next == ReviewNext.ADJUDICATE
    assert workspace.next_item(reviewer=rows.user("fourth", "reviewer", staff=True)) is None
    given = call(as_user(senior), "next")["item"]
    assert given["role"] == "adjudication"
    assert [(a["who"], a["label"], a["comment"]) for a in given["answers"]] == [
        ("reviewer", "fake", "chin"),
        ("second", "real", ""),
    ]
    call(as_user(senior), "answer", claim=given["claim"], label="fake")
    video.refresh_from_db()
    assert (video.label, video.review_next) == ("fake", "")
    assert Counter(Review.objects.values_list("role", flat=True)) == {"first": 1, "second": 1, "adjudication": 1}
    assert Review.objects.filter(score_shown=True).count() == 0
    # and its label counts for training, though the two others disagree
    candidates, _, left_out = labelled_videos()
    assert left_out["disputed"] == 0
    assert [c.label for c in candidates] == ["fake"]
    assert [c.reviewers for c in candidates] == [("senior",)]


def test_where_model_and_person_disagree_somebody_else_reads_it_too(rows: Rows, reviewer: User) -> None:
    video = rows.with_verdict(model=rows.model(), score=0.62)
    workspace.answer(reviewer=reviewer, token=claim(reviewer).token, label="real")
    video.refresh_from_db()
    assert video.review_next == ReviewNext.SECOND
    second = rows.user("second", "reviewer", staff=True)
    workspace.answer(reviewer=second, token=claim(second, "disagreement").token, label="real")
    video.refresh_from_db()
    assert (video.label, video.review_next) == ("real", "")


@pytest.mark.parametrize("again", ["real", "fake", "unsure", "no_face"])
def test_the_first_reader_does_not_call_the_second_reading_off_by_another_answer(
    rows: Rows, reviewer: User, again: str
) -> None:
    """Not from a list either, where they see by now what the model says; what was undone counts no longer."""
    model = rows.model()
    video = rows.with_verdict(model=model, score=0.62)
    first = workspace.answer(reviewer=reviewer, token=claim(reviewer).token, label="real")
    reviews.record_review(video=video, reviewer=reviewer, label=again)
    video.refresh_from_db()
    assert (video.label, video.review_next) == (again, ReviewNext.SECOND)
    second = rows.user("second", "reviewer", staff=True)
    assert claim(second, "disagreement").video == video
    reviews.undo_review(review=first, by=reviewer)
    video.refresh_from_db()
    assert (video.label, video.review_next) == (again, ReviewNext.NOBODY)
    listed = rows.with_verdict(model=model, score=0.62)
    for label in ("real", again):
        reviews.record_review(video=listed, reviewer=reviewer, label=label)
    listed.refresh_from_db()
    assert listed.review_next == ReviewNext.NOBODY


# --- who may, and what is refused -------------------------------------------------------------------------------------


def test_only_reviewers_get_in_and_nonsense_is_refused_in_a_sentence(
    rows: Rows, review_client: Client, as_user: Callable[[User], Client]
) -> None:
    plain = as_user(rows.user("plain", staff=True))
    assert plain.get(reverse("review")).status_code == 403
    assert call(plain, "next")["code"] == "permission_denied"
    assert Client().get(reverse("review")).status_code == 302
    assert review_client.get(reverse("review-next")).status_code == 405
    assert call(review_client, "next", queue="x' OR 1=1")["code"] == "unknown_queue"
    assert call(review_client, "answer", claim="nonsense", label="fake")["code"] == "claim_lost"
    assert call(review_client, "answer", claim=str(uuid4()), label="fake")["code"] == "claim_lost"
    body = review_client.post(reverse("review-next"), "[1", content_type="application/json")
    assert (body.status_code, body.json()["code"]) == (400, "invalid_json")
    rows.with_verdict(model=rows.model())
    given = call(review_client, "next")["item"]
    assert call(review_client, "answer", claim=given["claim"], label="maybe")["code"] == "invalid_label"
    assert (
        call(review_client, "answer", claim=given["claim"], label="fake", comment="x" * 3000)["code"]
        == "invalid_comment"
    )
    assert call(review_client, "answer", claim=given["claim"], label="fake", seconds=-5)["mine"] == "fake"
    assert Review.objects.get().seconds == 0
    assert call(review_client, "release", claims=[given["claim"]]) == {"status": 200}
    assert call(review_client, "beat", claims=[given["claim"]])["lost"] == [given["claim"]]
