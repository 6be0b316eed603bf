"""Every page of the admin opens in every state, and costs the same number of queries however long its list is."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from knox.models import AuthToken

from detection.admin.base import BoundedPaginator, video_url
from detection.models import State, Video
from detection.services.reviews.reviews import record_review
from tests.admin.conftest import Rows

LISTS = [
    "/admin/",
    "/admin/detection/video/",
    "/admin/detection/nofacevideo/",
    "/admin/detection/nofacevideo/?view=all",
    "/admin/detection/prediction/",
    "/admin/detection/prediction/?view=all",
    "/admin/detection/analysis/",
    "/admin/detection/analysis/?view=open",
    "/admin/detection/analysis/?view=all",
    "/admin/detection/review/",
    "/admin/detection/reviewbatch/",
    "/admin/detection/goldvideo/",
    "/admin/review/figures/",
    "/admin/detection/modelversion/",
    "/admin/auth/user/",
    "/admin/auth/group/",
    "/admin/knox/authtoken/",
]


def names_on(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200
    return response.content.decode()


def queries(client: Client, url: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(url).status_code == 200
    return len(captured)


def fill(rows: Rows, reviewer: User, count: int) -> None:
    model = rows.model(f"model-{count}", active=False)
    for number in range(count):
        rows.with_verdict(f"fake-{count}-{number}.mp4", model=model, people=2)
        rows.no_face(f"none-{count}-{number}.mp4")
        rows.video(f"broken-{count}-{number}.mp4", state=State.DEAD)
        rows.video(f"new-{count}-{number}.mp4", state=State.QUEUED)
        labelled = rows.with_verdict(f"labelled-{count}-{number}.mp4", model=model)
        record_review(video=labelled, reviewer=reviewer, label="real")
        AuthToken.objects.create(user=reviewer)


@pytest.mark.parametrize("url", LISTS)
def test_every_page_opens_before_there_is_anything(root_client: Client, url: str) -> None:
    assert root_client.get(url).status_code == 200


def test_an_empty_list_says_what_to_do_next(root_client: Client) -> None:
    assert "/api/v1/videos/" in names_on(root_client, "/admin/")
    assert "/api/v1/videos/" in names_on(root_client, "/admin/detection/video/")
    assert "create_token" in names_on(root_client, "/admin/knox/authtoken/")
    assert "Clear search and filters" in names_on(root_client, "/admin/detection/video/?q=nothing-like-it")


def test_a_list_of_40_rows_asks_as_many_questions_as_one_of_10(rows: Rows, reviewer: User, root_client: Client) -> None:
    fill(rows, reviewer, 3)
    few = {url: queries(root_client, url) for url in LISTS}
    fill(rows, reviewer, 9)
    assert {url: queries(root_client, url) for url in LISTS} == few
    assert few.pop("/admin/") <= 40  # six queues, their ages, two weeks and a month of figures
    assert max(few.values()) <= 20


def test_the_page_of_a_video_asks_as_many_questions_for_one_person_as_for_three(
    rows: Rows, reviewer: User, root_client: Client
) -> None:
    model = rows.model()
    alone = rows.with_verdict(model=model)
    crowd = rows.with_verdict(model=model, people=3)
    for label in ("real", "fake", "unsure"):
        record_review(video=crowd, reviewer=reviewer, label=label)
    first, second = (queries(root_client, f"/admin/detection/video/{video.pk}/change/") for video in (alone, crowd))
    assert first == second <= 20


@pytest.mark.filterwarnings("error:DateTimeField")
def test_a_range_of_dates_includes_its_last_day_and_what_is_no_date_limits_nothing(
    rows: Rows, root_client: Client
) -> None:
    video = rows.video("late.mp4")
    Video.objects.filter(pk=video.pk).update(created_at=datetime(2026, 3, 5, 23, 59, tzinfo=UTC))

    def shown(query: str) -> bool:
        return "late.mp4" in names_on(root_client, f"/admin/detection/video/?{query}")

    assert shown("created_at_from=2026-03-05&created_at_to=2026-03-05")
    assert not shown("created_at_from=2026-03-06")
    assert not shown("created_at_to=2026-03-04")
    assert shown("created_at_from=2026-02-30&created_at_to=never")
    assert shown("created_at_to=9999-12-31")


@pytest.mark.parametrize("state", State.values)
def test_the_page_of_a_video_opens_in_every_state(rows: Rows, review_client: Client, state: str) -> None:
    video = rows.video(state=state)
    page = names_on(review_client, f"/admin/detection/video/{video.pk}/change/")
    assert State(state).label in page
    if state in (State.FAILED, State.DEAD):
        assert "corrupt_video" in page
        assert "No frame of it can be decoded." in page
        assert "Traceback" not in page


@pytest.mark.parametrize(
    ("frames", "sentence"),
    [
        (1, "Its only frame, as the detector saw it."),
        (2, "The first 2 frames, as the detector saw them."),
        (None, "Its first frames, as the detector saw them."),
    ],
)
def test_the_caption_of_the_clip_counts_frames_as_people_do(
    rows: Rows, review_client: Client, frames: int | None, sentence: str
) -> None:
    video = rows.with_verdict(model=rows.model(), frames_decoded=frames, clip="videos/x/clip.mp4")
    page = review_client.get(f"/admin/detection/video/{video.pk}/change/").content.decode()
    assert sentence in page
    assert page.count("as the detector saw") == 1


def test_the_page_of_a_video_says_what_was_not_judged_of_it(rows: Rows, review_client: Client) -> None:
    model = rows.model()

    def page(**facts: Any) -> str:
        video = rows.with_verdict(model=model, frames_decoded=40, **facts)
        return review_client.get(f"/admin/detection/video/{video.pk}/change/").content.decode()

    cut = page(frames_claimed=150, truncated=True, people_left_out=1)
    assert "Of this file's 150 frames only 40 could be read" in cut
    assert "<dd>40 of 150</dd>" in cut
    assert "1 more person was seen in the background and not judged." in cut
    assert "2 more people were seen in the background" in page(people_left_out=2)
    whole = page(frames_claimed=40)
    assert "could be read" not in whole
    assert "not judged" not in whole
    assert "<dd>40</dd>" in whole
    assert whole.count("Looked at:") == 1


def test_a_list_is_newest_first(rows: Rows, review_client: Client) -> None:
    now = timezone.now()
    for name, age in (("middle", 2), ("newest", 1), ("oldest", 3)):
        rows.video(name, created_at=now - timedelta(hours=age))
    page = names_on(review_client, "/admin/detection/video/")
    assert page.index(">newest<") < page.index(">middle<") < page.index(">oldest<")


def test_search_finds_by_name_external_id_id_and_hash(rows: Rows, review_client: Client) -> None:
    wanted = rows.video("Budget speech.mp4", external_id="desk-42")
    other = rows.video("other.mp4")
    for term in ("speech", "desk-42", "desk-", str(wanted.pk), wanted.sha256, wanted.sha256[:12].upper()):
        page = names_on(review_client, f"/admin/detection/video/?q={term}")
        assert str(wanted.pk) in page, term
        assert str(other.pk) not in page, term


def test_filters_narrow_the_list(rows: Rows, reviewer: User, review_client: Client) -> None:
    model = rows.model()
    fake = rows.with_verdict("fake", model=model, score=0.9)
    real = rows.with_verdict("real", model=model, score=0.1)
    empty = rows.no_face("empty")
    record_review(video=real, reviewer=reviewer, label="unsure")
    everything = {fake, real, empty}
    for query, expected in {
        "status__exact=no_face": {empty},
        "status__exact=succeeded": {fake, real},
        "status__exact=succeeded&verdict_label__exact=fake": {fake},
        "status__exact=dead": set(),
        "status__exact=<script>": everything,
        "verdict_label__exact=fake": {fake},
        "label=unsure": {real},
        "label=none": {fake, empty},
        "needs_review=yes": {fake, real},
        "owner=cli": everything,
        "owner=nobody": set(),
        "label=<script>": everything,
    }.items():
        page = names_on(review_client, f"/admin/detection/video/?{query}")
        shown = {video for video in everything if str(video.pk) in page}
        assert shown == expected, query


def test_predictions_start_with_what_waits_and_the_tabs_show_the_rest(
    rows: Rows, reviewer: User, review_client: Client
) -> None:
    model = rows.model()
    waiting, labelled = rows.with_verdict("waiting.mp4", model=model), rows.with_verdict("done.mp4", model=model)
    record_review(video=labelled, reviewer=reviewer, label="fake")
    url = "/admin/detection/prediction/"
    seen = [
        (str(waiting.pk) in page, str(labelled.pk) in page)
        for page in (names_on(review_client, url + query) for query in ("", "?view=labelled", "?view=all"))
    ]
    assert seen == [(True, False), (False, True), (True, True)]


def test_a_prediction_shows_its_faces_scores_threshold_reasons_and_model(rows: Rows, review_client: Client) -> None:
    video = rows.with_verdict("two.mp4", model=rows.model("first weights"), score=0.62, people=2)
    page = names_on(review_client, "/admin/detection/prediction/")
    for face in video.faces.all():
        assert reverse("api:face-image", kwargs={"face_id": face.pk}) in page
    assert page.count('class="dfd-face dfd-face--') == 20
    assert "Fake score 0.62, threshold 0.50" in page
    assert "The model is experimental" in page
    assert "first weights" in page
    assert "decides the verdict" in page


def test_a_score_and_a_threshold_that_differ_never_look_equal(rows: Rows, review_client: Client) -> None:
    video = rows.with_verdict(model=rows.model(), score=0.4965)
    for url in ("/admin/detection/prediction/", f"/admin/detection/video/{video.pk}/change/"):
        assert "Fake score 0.496, threshold 0.500" in names_on(review_client, url)


def test_the_no_face_list_draws_the_rejected_boxes_on_the_frames(rows: Rows, review_client: Client) -> None:
    video = rows.no_face(frames=2)
    page = names_on(review_client, "/admin/detection/nofacevideo/")
    for frame in video.sampled_frames.all():
        assert reverse("api:sampled-frame-image", kwargs={"frame_id": frame.pk}) in page
    assert page.count('viewBox="0 0 640 360"') == 2
    assert re.search(
        r'<rect class="dfd-box dfd-box--low_probability" x="64.0" y="36.0" width="64.0" height="72.0">', page
    )
    assert "not sure enough" in page


def test_a_row_prefers_the_frames_that_have_boxes(rows: Rows, review_client: Client) -> None:
    video = rows.no_face(frames=9, boxes=[])
    last = video.sampled_frames.get(position=8)
    last.boxes = [{"x1": 1, "y1": 1, "x2": 50, "y2": 50, "probability": 0.8, "reason": "outside"}]
    last.save()
    page = names_on(review_client, "/admin/detection/nofacevideo/")
    assert str(last.pk) in page
    assert page.count("<figure") == 6
    assert "3 more frames" in page


def test_the_other_lists_lead_to_the_one_page_of_a_video(rows: Rows, review_client: Client) -> None:
    video = rows.no_face()
    for model in ("nofacevideo", "prediction"):
        response = review_client.get(f"/admin/detection/{model}/{video.pk}/change/")
        assert response.status_code == 302
        assert response["Location"] == f"/admin/detection/video/{video.pk}/change/"


def test_the_failed_list_forgets_a_failure_that_a_newer_analysis_has_replaced(rows: Rows, root_client: Client) -> None:
    broken, retried = rows.video("broken.mp4", state=State.FAILED), rows.video("retried.mp4", state=State.FAILED)
    root_client.post(f"/admin/detection/analysis/requeue/{retried.pk}/")
    page = names_on(root_client, "/admin/detection/analysis/")
    assert str(broken.pk) in page
    assert str(retried.pk) not in page
    assert str(retried.pk) in names_on(root_client, "/admin/detection/analysis/?view=open")


def test_a_list_counts_no_further_than_its_limit(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detection.admin.base.COUNT_LIMIT", 2)
    for number in range(3):
        rows.video(f"{number}.mp4")
    paginator = BoundedPaginator(Video.objects.all(), 25)
    assert paginator.count == 2
    assert paginator.count_is_bounded


def test_the_overview_counts_what_waits_and_names_the_model(rows: Rows, review_client: Client) -> None:
    rows.with_verdict("uncertain.mp4", model=rows.model("first weights"))
    rows.no_face()
    page = names_on(review_client, "/admin/")
    assert "uncertain.mp4" in page
    assert "first weights" in page
    assert "Experimental" in page


def test_a_user_who_has_videos_is_not_deleted_and_the_videos_are_not_loaded_to_say_so(
    rows: Rows, root_client: Client
) -> None:
    for number in range(30):
        rows.video(f"{number}.mp4")
    url = reverse("admin:auth_user_delete", args=(rows.owner.pk,))
    with CaptureQueriesContext(connection) as queries:
        page = root_client.get(url).content.decode()
    assert "the videos or decisions of client" in page
    assert "29.mp4" not in page
    assert len(queries) <= 20
    root_client.post(url, {"post": "yes"})
    assert User.objects.filter(pk=rows.owner.pk).exists()
    idle = rows.user("idle")
    root_client.post(reverse("admin:auth_user_delete", args=(idle.pk,)), {"post": "yes"})
    assert not User.objects.filter(pk=idle.pk).exists()


def test_the_way_back_does_not_grow_from_video_to_video_and_never_leads_to_a_call(rf: RequestFactory) -> None:
    listed = "/admin/detection/video/?q=clip&p=2"
    address = video_url(rf.get(listed), "a")
    for _ in range(20):  # from look-alike to look-alike
        again = video_url(rf.get(address), "a")
        assert again == address
        address = again
    call = "/admin/review/next/"
    told = video_url(rf.post(call, headers={"X-DFD-Page": "/admin/review/?queue=audit"}), "a")
    assert parse_qs(urlsplit(told).query)["back"] == ["/admin/review/?queue=audit"]
    for page in ("", "https://elsewhere.example/", "//elsewhere.example"):
        told = video_url(rf.post(call, headers={"X-DFD-Page": page}), "a")
        assert parse_qs(urlsplit(told).query)["back"] == ["/admin/detection/video/"]
