"""Whoever is to read a video is told nowhere what the model or others say of it, and everybody else is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from detection.models import EvidenceJob, EvidenceKind, Review, ReviewNext, State, Video
from detection.selectors import blindness
from detection.services.reviews import gold, reviews, workspace
from detection.services.reviews.reviews import Reading
from tests.admin.conftest import Rows
from tests.admin.test_near import alike
from tests.admin.test_workspace import call

Login = Callable[[User], Client]
SCORE = 0.9137
TOLD = (b"0.914", b"0.9137", b"91.37", b"91.4", b">Fake", b'"fake"', b"dfd-badge--red", b"Labelled fake", b"chin")
"""How pages and endpoints write this score and this label."""


@pytest.fixture
def video(rows: Rows, settings: Any) -> Video:
    settings.DFD_REVIEW_SECOND_SHARE = 1.0
    return rows.with_verdict("subject.mp4", model=rows.model(), score=SCORE)


def addresses(video: Video) -> Iterator[str]:
    """All that tells something of a video to a reviewer."""
    yield f"/api/v1/videos/{video.pk}/"
    yield f"/api/v1/videos/{video.pk}/faces/"
    yield f"/api/v1/videos/{video.pk}/reviews/"
    yield f"/api/v1/tasks/{video.current_analysis_id}/"
    yield "/api/v1/videos/"
    face = video.faces.first()
    assert face is not None
    yield f"/api/v1/faces/{face.pk}/heatmap"
    yield reverse("admin:detection_video_change", args=(video.pk,))
    for model in ("video", "prediction", "review", "reviewbatch"):
        yield reverse(f"admin:detection_{model}_changelist") + ("?view=all" if model == "prediction" else "")
    for review in Review.objects.filter(video=video):
        yield reverse("admin:detection_review_change", args=(review.pk,))


def telling(client: Client, video: Video) -> list[str]:
    """The addresses whose answer holds the score or the label."""
    told = []
    for address in addresses(video):
        # A filter's choices and a form's buttons name all labels there are.
        response = client.get(address)
        if response.streaming:  # a heat map: that it is served tells
            told.append(address)
            continue
        content = response.content
        start = content.find(b'id="result_list"') if b"changelist" in content else content.find(b'id="content"')
        body = content[max(0, start) :] if content.startswith(b"\n") or b"<html" in content[:400] else content
        rows = body.split(b'id="changelist-filter"')[0].split(b"<dialog")[0]
        if any(text in rows for text in TOLD):
            told.append(address)
    return told


def narrowed(client: Client, video: Video) -> list[str]:
    """The filters by something withheld whose result has the video in it."""
    filters = ["verdict=fake", "verdict=real", "label=fake", "label=real", "needs_review=true", "needs_review=false"]
    found = [
        f"API {query}"
        for query in filters
        if str(video.pk) in {row["id"] for row in client.get(f"/api/v1/videos/?{query}").json()["results"]}
    ]
    for query in ("verdict_label__exact=fake", "verdict_label__exact=real", "label=fake", "label=real"):
        page = client.get(f"{reverse('admin:detection_video_changelist')}?{query}").content.decode()
        found += [f"list {query}"] if f"video/{video.pk}/change" in page else []
    for query in ("label__exact=fake", "label__exact=real"):
        page = client.get(f"{reverse('admin:detection_review_changelist')}?{query}").content.decode()
        found += [f"reviews {query}"] if f"video/{video.pk}/change" in page else []
    # Those that show a part of all as they open, or show a row where somebody has answered.
    for path in (
        "",
        *(f"detection/prediction/{query}" for query in ("", f"?q={video.pk}", "?view=waiting", "?view=nonsense")),
        *(f"detection/nofacevideo/{query}" for query in ("", f"?q={video.pk}")),
        *(f"detection/review/{query}" for query in ("", f"?video={video.pk}")),
    ):
        response = client.get(f"/admin/{path}")
        assert response.status_code == 200
        found += [path or "first page"] if f"video/{video.pk}/change" in response.content.decode() else []
    return found


def heat(video: Video) -> None:
    assert video.current_verdict is not None
    names = {str(face.pk): str(face.crop.name) for face in video.faces.all()}
    EvidenceJob.objects.create(
        video=video, kind=EvidenceKind.HEATMAPS, state=State.SUCCEEDED, finished_at=timezone.now(),
        result={"model": video.current_verdict.model_version.sha256, "faces": names},
    )  # fmt: skip


def test_a_first_reader_is_told_nowhere_and_everybody_else_is(
    video: Video, rows: Rows, reviewer: User, as_user: Login
) -> None:
    heat(video)
    mine, others = as_user(reviewer), as_user(rows.user("other", "reviewer", staff=True))
    claimed = call(mine, "next")["item"]
    assert claimed["video"]["id"] == str(video.pk)
    assert telling(mine, video) == []
    assert narrowed(mine, video) == []
    face = video.faces.first()
    assert face is not None
    assert mine.get(f"/api/v1/faces/{face.pk}/heatmap").status_code == 409
    shown = mine.get(f"/api/v1/videos/{video.pk}/").json()
    assert (shown["withheld"], shown["verdict"], shown["label"]) == (True, None, None)
    assert others.get(f"/api/v1/videos/{video.pk}/").json()["verdict"]["fake_probability"] == SCORE
    assert others.get(f"/api/v1/faces/{face.pk}/heatmap").status_code == 200
    assert len(telling(others, video)) >= 6  # so this test can fail
    assert {"API verdict=fake", "first page", "detection/prediction/"} <= set(narrowed(others, video))
    call(mine, "answer", claim=claimed["claim"], label="fake")
    shown = mine.get(f"/api/v1/videos/{video.pk}/").json()
    assert (shown["withheld"], shown["verdict"]["fake_probability"], shown["label"]) == (False, SCORE, "fake")
    assert mine.get(f"/api/v1/faces/{face.pk}/heatmap").status_code == 200


def test_a_second_reader_is_told_nowhere_before_during_and_after_having_it(
    video: Video, rows: Rows, reviewer: User, as_user: Login
) -> None:
    token = workspace.next_item(reviewer=reviewer)
    assert token is not None
    workspace.answer(reviewer=reviewer, token=token.token, label="fake", comment="chin")
    video.refresh_from_db()
    assert video.review_next == ReviewNext.SECOND
    second = as_user(rows.user("second", "reviewer", staff=True))
    for _ in range(2):
        assert telling(second, video) == []
        assert narrowed(second, video) == []
        given = call(second, "next", queue="disagreement")["item"]
        assert given["role"] == "second"
        assert telling(second, video) == []
        together = call(second, "sheet-open", ids=[str(video.pk)])  # "Label them together"
        assert [item["label_text"] for item in together["items"]] == [""]
        call(second, "release", claims=[given["claim"], *(item["claim"] for item in together["items"])])
    first = as_user(reviewer)
    assert len(telling(first, video)) >= 6
    assert first.get(f"/api/v1/videos/{video.pk}/").json()["label"] == "fake"
    assert {"list label=fake", "detection/review/", f"detection/review/?video={video.pk}"} <= set(
        narrowed(first, video)
    )
    given = call(second, "next", queue="disagreement")["item"]
    call(second, "answer", claim=given["claim"], label="fake")
    assert second.get(f"/api/v1/videos/{video.pk}/").json()["label"] == "fake"
    answers = second.get(f"/api/v1/videos/{video.pk}/reviews/").json()["results"]
    assert [answer["comment"] for answer in answers] == ["", "chin"]


@pytest.mark.parametrize("faces", [True, False])
def test_no_list_tells_which_video_is_a_known_answer(
    rows: Rows, reviewer: User, as_user: Login, settings: Any, faces: bool
) -> None:
    """Its label takes it out of what waits, and it has an answer: among the others that would stand out."""
    settings.DFD_REVIEW_GOLD_SHARE = 1.0
    video = rows.with_verdict("known.mp4", model=rows.model(), score=SCORE) if faces else rows.no_face("known.mp4")
    senior = rows.user("senior", "senior_reviewer", staff=True)
    gold.set_gold(video=video, label="fake", reason="Made by ourselves.", by=senior)
    mine = as_user(reviewer)
    claimed = call(mine, "next")["item"]
    assert claimed["video"]["id"] == str(video.pk)
    unlike = rows.with_verdict("u.mp4", model=rows.model("b", active=False)) if faces else rows.no_face("u.mp4")
    assert call(mine, "next", held=[claimed["claim"]])["item"]["video"]["id"] == str(unlike.pk)
    assert narrowed(mine, video) == narrowed(mine, unlike) == []
    assert "detection/review/" in narrowed(as_user(senior), video)


def test_a_column_that_a_list_has_no_filter_for_is_no_question_to_it(
    video: Video, rows: Rows, reviewer: User, as_user: Login
) -> None:
    """Which videos are known answers, or have which score, would be told by the rows that are left."""
    client = as_user(reviewer)
    gold.set_gold(video=video, label="fake", reason="x", by=rows.user("senior", "senior_reviewer", staff=True))
    for address in (
        "video/?gold__isnull=False",
        "video/?gold__label=fake",
        "prediction/?view=all&gold__isnull=False",
        "video/?fake_probability__gt=0.9",
        "video/?margin__lt=0.5",
        "video/?review_next=second",
        "video/?reviews__isnull=False",
        "video/?current_verdict__isnull=False",
        "video/?claim__isnull=True",
        "review/?role=adjudication",
        "review/?role__in=gold,first",
        "review/?model_probability__gt=0.9",
        "review/?verdict__isnull=False",
        "analysis/?view=all&verdict__isnull=False",
    ):
        assert client.get(f"/admin/detection/{address}").status_code == 400, address
    for address in (f"video/?id={video.pk}", f"review/?video={video.pk}", f"review/?video__id__exact={video.pk}"):
        assert str(video.pk) in client.get(f"/admin/detection/{address}").content.decode(), address


def test_many_decisions_name_no_video_that_is_still_to_be_read(
    video: Video, rows: Rows, reviewer: User, as_user: Login
) -> None:
    (claimed,) = workspace.open_sheet(reviewer=reviewer, queue="uncertain")
    batch = workspace.answer_sheet(
        reviewer=reviewer, tokens=[claimed.token], label="fake", confirmed=1, batch_id=uuid4()
    )
    address = reverse("admin:detection_reviewbatch_change", args=(batch.pk,))
    second = rows.user("second", "reviewer", staff=True)
    assert str(video.pk) in as_user(reviewer).get(address).content.decode()
    assert str(video.pk) not in as_user(second).get(address).content.decode()


def test_the_labels_of_copies_that_are_still_to_be_read_are_not_told_to_who_settles(
    video: Video, rows: Rows, reviewer: User, as_user: Login
) -> None:
    copy = rows.with_verdict("copy.mp4", model=video.current_verdict.model_version, score=SCORE)  # type: ignore[union-attr]
    alike(video, copy)
    senior = rows.user("senior", "senior_reviewer", staff=True)
    for one in (video, copy):
        reviews.record_review(video=one, reviewer=reviewer, label="fake", reading=Reading(role="first"))
    reviews.record_review(
        video=video, reviewer=rows.user("b", "reviewer"), label="real", reading=Reading(role="second")
    )
    given = call(as_user(senior), "next", queue="disagreement")["item"]
    assert given["role"] == "adjudication"
    assert [one["label_text"] for one in given["near"]] == [""]


def test_an_owner_sees_the_own_video_and_a_redacted_row_is_never_saved(video: Video, rows: Rows) -> None:
    Video.objects.filter(pk=video.pk).update(review_next=ReviewNext.SECOND)
    assert not blindness.is_withheld(rows.owner, video.pk)
    with pytest.raises(RuntimeError, match="not saved"):
        blindness.redact(video).save()


def test_who_has_answered_from_a_list_has_seen_the_score(
    video: Video, reviewer: User, rows: Rows, as_user: Login
) -> None:
    """They answer it again in the workspace, on a sheet of chosen videos."""
    reviews.record_review(video=video, reviewer=reviewer, label="unsure")
    reviews.undo_review(review=Review.objects.get(), by=reviewer)
    token = workspace.next_item(reviewer=reviewer)
    assert token is not None
    assert workspace.answer(reviewer=reviewer, token=token.token, label="fake").score_shown


def test_a_sheet_of_chosen_videos_is_no_blind_reading(rows: Rows, reviewer: User) -> None:
    """They were ticked in a list, with their scores beside them."""
    model = rows.model()
    one, two = (rows.with_verdict(name, model=model) for name in ("one", "two"))
    for chosen, shown in (([one.pk], True), ([], False)):
        (claimed,) = workspace.open_sheet(reviewer=reviewer, queue="uncertain", chosen=chosen)
        batch = workspace.answer_sheet(
            reviewer=reviewer, tokens=[claimed.token], label="fake", confirmed=1, batch_id=uuid4()
        )
        assert Review.objects.get(batch=batch).score_shown is shown
    assert Review.objects.filter(video=two).count() == 1
