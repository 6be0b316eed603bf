"""Contact sheets: one counted decision for many, blind, claimed, revertible as one event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from detection.errors import Refused
from detection.models import AppendOnlyError, Review, ReviewBatch, ReviewClaim, Video
from detection.services.learning.labelled_videos import labelled_videos
from detection.services.reviews import workspace
from detection.services.reviews.reviews import record_review
from tests.admin.conftest import Rows
from tests.admin.test_workspace import _no_lots, call  # noqa: F401  (the fixture is used by itself)

pytestmark = pytest.mark.django_db


@pytest.fixture
def videos(rows: Rows) -> list[Video]:
    model = rows.model()
    return [rows.with_verdict(f"v{k}", model=model, score=0.5 + k / 100, people=2) for k in range(5)]


def labels(videos: list[Video]) -> list[str]:
    return [Video.objects.get(pk=video.pk).label for video in videos]


def test_a_sheet_is_claimed_labelled_as_counted_and_reverted_as_one_event(
    videos: list[Video], review_client: Client, reviewer: User
) -> None:
    told = call(review_client, "sheet-open", queue="uncertain")
    assert [item["name"] for item in told["items"]] == [f"v{k}" for k in range(5)]
    assert all(len(item["pictures"]) == 4 for item in told["items"])
    assert "0.5" not in str(told)
    assert "fake" not in str(told)  # nothing of what the model says
    three = [item["claim"] for item in told["items"][:3]]
    ask = {"claims": three, "label": "fake", "batch": str(uuid4()), "comment": "one campaign"}
    assert call(review_client, "sheet-label", **ask, confirmed=4)["code"] == "not_as_confirmed"
    assert not Review.objects.exists()
    done = call(review_client, "sheet-label", **ask, confirmed=3)
    assert (done["status"], done["size"], done["label"]) == (200, 3, "fake")
    assert call(review_client, "sheet-label", **ask, confirmed=3)["batch"] == done["batch"]  # the reply was lost
    rows = Review.objects.order_by("video__original_name")
    assert [(r.video.original_name, r.label, r.role, r.queue, r.score_shown, r.comment) for r in rows] == [
        (f"v{k}", "fake", "sheet", "uncertain", False, "one campaign") for k in range(3)
    ]
    assert {str(r.batch_id) for r in rows} == {done["batch"]}
    assert rows[0].model_probability == 0.5
    assert labels(videos) == ["fake", "fake", "fake", "", ""]
    assert call(review_client, "sheet-revert", batch=done["batch"])["reverted"] == 3
    assert labels(videos) == [""] * 5
    assert [(r.undoes is not None, r.batch is not None) for r in Review.objects.filter(role="undo")] == [
        (True, True)
    ] * 3
    again = call(review_client, "sheet-revert", batch=done["batch"])
    assert (again["status"], again["code"]) == (409, "nothing_to_undo")
    assert [batch.size for batch in ReviewBatch.objects.all()] == [3, 3]
    with pytest.raises(AppendOnlyError):
        ReviewBatch.objects.all()[0].save()


def test_what_others_have_before_them_is_on_nobody_elses_sheet(
    videos: list[Video], rows: Rows, reviewer: User, settings: Any
) -> None:
    settings.DFD_REVIEW_SHEET_SIZE = 2
    other = rows.user("other", "reviewer", staff=True)
    single = workspace.next_item(reviewer=other, queue="uncertain")
    assert single is not None
    mine = workspace.open_sheet(reviewer=reviewer, queue="uncertain")
    theirs = workspace.open_sheet(reviewer=other, queue="uncertain")
    shown = [one.video.original_name for one in (single, *mine, *theirs)]
    assert shown == ["v0", "v1", "v2", "v3", "v4"]
    # Going on in the workspace does not give the sheet away; a new sheet gives the page's old one back, not a tab's.
    workspace.next_item(reviewer=other, queue="uncertain", held=[single.token])
    assert ReviewClaim.objects.filter(reviewer=other, sheet=True).count() == 2
    assert workspace.open_sheet(reviewer=reviewer, queue="uncertain") == []
    assert workspace.extend_claims(reviewer=reviewer, tokens=[one.token for one in mine]) == []
    held = [one.token for one in mine]
    assert [one.video for one in workspace.open_sheet(reviewer=reviewer, queue="uncertain", held=held)] == videos[1:3]


def test_a_lost_claim_stores_nothing_at_all(videos: list[Video], rows: Rows, reviewer: User) -> None:
    sheet = workspace.open_sheet(reviewer=reviewer, queue="uncertain")
    ReviewClaim.objects.filter(token=sheet[1].token).delete()
    with pytest.raises(Refused, match="1 of them went to somebody else"):
        workspace.answer_sheet(
            reviewer=reviewer, tokens=[s.token for s in sheet], label="real", confirmed=5, batch_id=uuid4()
        )
    assert (Review.objects.count(), ReviewBatch.objects.count()) == (0, 0)
    with pytest.raises(Refused, match="must be one of"):
        workspace.answer_sheet(reviewer=reviewer, tokens=[sheet[0].token], label="maybe", confirmed=1, batch_id=uuid4())


def test_only_ones_own_decision_is_reverted_unless_by_a_senior(videos: list[Video], rows: Rows, reviewer: User) -> None:
    sheet = workspace.open_sheet(reviewer=reviewer, queue="uncertain")
    batch = workspace.answer_sheet(
        reviewer=reviewer, tokens=[s.token for s in sheet], label="real", confirmed=5, batch_id=uuid4()
    )
    other = rows.user("other", "reviewer", staff=True)
    with pytest.raises(Refused, match="one's own"):
        workspace.revert_batch(batch=batch, by=other)
    # What was changed since by a single answer stays as it is now.
    record_review(video=videos[0], reviewer=other, label="fake")
    senior = rows.user("senior", "senior_reviewer", staff=True)
    assert workspace.revert_batch(batch=batch, by=senior).size == 5
    assert labels(videos) == ["fake", "", "", "", ""]


def test_chosen_rows_of_a_list_go_to_a_sheet_labelled_ones_too(
    videos: list[Video], review_client: Client, reviewer: User
) -> None:
    record_review(video=videos[0], reviewer=reviewer, label="real")
    ticked = {"action": "contact_sheet", "_selected_action": [str(videos[0].pk), str(videos[3].pk)]}
    answer = review_client.post(reverse("admin:detection_video_changelist"), ticked)
    assert answer.status_code == 302
    assert answer["Location"].startswith(reverse("review-sheet"))
    page = review_client.get(answer["Location"])
    assert str(videos[3].pk) in page.content.decode()
    told = call(review_client, "sheet-open", ids=[str(videos[0].pk), str(videos[3].pk), str(uuid4())])
    assert [(item["name"], item["label_text"]) for item in told["items"]] == [("v0", "Real"), ("v3", "")]
    assert told["left_out"] == 1


def test_bulk_decisions_are_listed_and_reverted_there(
    videos: list[Video], review_client: Client, reviewer: User, rows: Rows, as_user: Callable[[User], Client]
) -> None:
    sheet = workspace.open_sheet(reviewer=reviewer, queue="uncertain")
    batch = workspace.answer_sheet(
        reviewer=reviewer, tokens=[s.token for s in sheet], label="real", confirmed=5, batch_id=uuid4()
    )
    listed = review_client.get(reverse("admin:detection_reviewbatch_changelist")).content.decode()
    assert "5 videos" in listed
    assert "Revert all of it" in listed
    one = review_client.get(reverse("admin:detection_reviewbatch_change", args=(batch.pk,))).content.decode()
    assert "v0" in one
    assert "v4" in one
    revert = reverse("admin:detection_reviewbatch_revert", args=(batch.pk,))
    assert as_user(rows.user("plain", staff=True)).post(revert).status_code == 403
    assert review_client.get(revert).status_code == 405
    assert review_client.post(revert).status_code == 302
    assert labels(videos) == [""] * 5
    assert "Reverted" in review_client.get(reverse("admin:detection_reviewbatch_changelist")).content.decode()


def test_disagreements_are_not_for_a_sheet_and_strangers_get_none(
    review_client: Client, rows: Rows, as_user: Callable[[User], Client]
) -> None:
    assert call(review_client, "sheet-open", queue="disagreement")["code"] == "unknown_queue"
    plain = as_user(rows.user("plain", staff=True))
    assert plain.get(reverse("review-sheet")).status_code == 403
    assert call(plain, "sheet-open", queue="uncertain")["code"] == "permission_denied"
    assert call(review_client, "sheet-revert", batch=str(uuid4()))["code"] == "not_found"


def test_reverted_answers_teach_nothing(videos: list[Video], reviewer: User) -> None:
    sheet = workspace.open_sheet(reviewer=reviewer, queue="uncertain")
    batch = workspace.answer_sheet(
        reviewer=reviewer, tokens=[s.token for s in sheet], label="real", confirmed=5, batch_id=uuid4()
    )
    Video.objects.update(fingerprint="-")
    assert len(labelled_videos()[0]) == 5
    workspace.revert_batch(batch=batch, by=reviewer)
    assert labelled_videos()[0] == []
