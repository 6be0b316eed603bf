"""Names, comments and boxes come from strangers; the pages show them as text, or leave them out."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from detection.models import State
from tests.admin.conftest import Rows

NAME = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>.mp4"
TRACES = ("<script>alert(1)", "<img src=x", 'onerror="', "{{7*7}}" + "49")


def pages(client: Client, *urls: str) -> str:
    text = ""
    for url in urls:
        response = client.get(url)
        assert response.status_code == 200, url
        text += response.content.decode()
    return text


def test_a_hostile_name_is_only_ever_text(rows: Rows, root_client: Client) -> None:
    model = rows.model(NAME[:90])
    videos = [
        rows.with_verdict(NAME, model=model, external_id=NAME, codec="<b>h264</b>"),
        rows.no_face(NAME, external_id=NAME),
        rows.video(NAME, state=State.FAILED),
    ]
    root_client.post(f"/admin/detection/video/{videos[0].pk}/label/", {"label": "fake", "comment": NAME})
    lists = ("video", "nofacevideo", "prediction", "prediction/?view=all", "analysis", "review", "modelversion")
    urls = ["/admin/", *(f"/admin/detection/{name}{'' if '?' in name else '/'}" for name in lists)]
    urls += [f"/admin/detection/video/{video.pk}/{page}/" for video in videos for page in ("change", "delete")]
    text = pages(root_client, *urls)
    for trace in (*TRACES, "<b>h264</b>"):
        assert trace not in text
    assert "&lt;script&gt;alert(1)" in text


@pytest.mark.parametrize(
    "boxes",
    [
        "boxes",
        {"x1": 1},
        [None, 3, "box", []],
        [{"x1": "1'/><script>", "y1": 0, "x2": 9, "y2": 9}],
        [{"x1": 0, "y1": 0, "x2": 1e308, "y2": 1e308, "probability": 7, "reason": "<script>alert(1)</script>"}],
        [{"x1": 9, "y1": 9, "x2": 1, "y2": 1}],
        [{"x1": -50, "y1": -50, "x2": -1, "y2": -1}],
        [{"x1": True, "y1": 0, "x2": 5, "y2": 5}],
        [{"x1": 0, "y1": 0, "x2": 10**400, "y2": 5}],
    ],
)
def test_boxes_that_are_none_are_left_out(rows: Rows, review_client: Client, boxes: Any) -> None:
    video = rows.no_face(boxes=boxes, frames=1)
    text = pages(review_client, "/admin/detection/nofacevideo/", f"/admin/detection/video/{video.pk}/change/")
    assert "dfd-box--" not in text
    assert "<script>alert(1)" not in text


def test_a_box_is_cut_to_the_frame_and_a_strange_reason_is_text(rows: Rows, review_client: Client) -> None:
    rows.no_face(frames=1, boxes=[{"x1": -20, "y1": 10.5, "x2": 9999, "y2": 60, "reason": "<i>odd</i>"}])
    text = pages(review_client, "/admin/detection/nofacevideo/")
    assert '<rect class="dfd-box dfd-box--other" x="0.0" y="10.5" width="640.0" height="49.5">' in text
    assert "&lt;i&gt;odd" in text


def test_a_flood_of_boxes_is_drawn_in_part(rows: Rows, review_client: Client) -> None:
    boxes = [{"x1": i, "y1": i, "x2": i + 5, "y2": i + 5, "reason": "too_small"} for i in range(300)]
    rows.no_face(frames=1, boxes=boxes)
    assert pages(review_client, "/admin/detection/nofacevideo/").count('class="dfd-box ') == 24


def test_boxes_of_a_frame_of_unknown_size_are_counted_and_not_drawn(rows: Rows, review_client: Client) -> None:
    rows.no_face(frames=1, width=None, height=None)
    text = pages(review_client, "/admin/detection/nofacevideo/")
    assert "1 box not drawn" in text
    assert 'class="dfd-box ' not in text


@pytest.mark.parametrize(
    "people",
    [
        "people",
        [{"track": "<script>alert(1)</script>"}],
        [{"track": 0, "frames": [{"face": "../../etc/passwd", "fake_probability": "<script>alert(1)"}]}],
        [{"track": 0, "fake_probability": 12, "frames": [{"face": None}, 5]}],
    ],
)
def test_a_verdict_that_does_not_fit_is_shown_without_its_faces(rows: Rows, review_client: Client, people: Any) -> None:
    video = rows.with_verdict(model=rows.model())
    assert video.current_verdict is not None
    video.current_verdict.people = people
    video.current_verdict.review_reasons = {"not": "a list"}
    video.current_verdict.save()
    text = pages(review_client, "/admin/detection/prediction/", f"/admin/detection/video/{video.pk}/change/", "/admin/")
    assert "<script>alert(1)" not in text
    assert "passwd" not in text


def test_the_pages_bring_no_script_of_their_own_inline(rows: Rows, review_client: Client) -> None:
    video = rows.with_verdict(model=rows.model())
    page = pages(review_client, f"/admin/detection/video/{video.pk}/change/").split('id="content"')[1]
    content = page.split('<script src="/static/unfold')[0]
    assert "<script>" not in content
    assert " style=" not in content.split('class="dfd-columns"')[1].split("</aside>")[0]
    assert " onclick=" not in content
