"""The search over videos: what is found, in which order of certainty, and that it is bounded."""

from __future__ import annotations

import uuid

import pytest
from django.db import connection
from django.test import Client

from detection.admin import search
from detection.admin.search import beginning, search_videos
from detection.models import DatasetVideo, Video
from tests.admin.conftest import Rows

pytestmark = pytest.mark.django_db


def found(term: str) -> set[str]:
    rows, _ = search_videos(Video.objects.all(), term)
    return {video.original_name for video in rows}


def test_a_video_is_found_by_what_people_paste(rows: Rows) -> None:
    one = rows.video("Interview_Minister 07.MP4", external_id="case-12/a")
    rows.video("IMG_0001.mov", external_id="case-120")
    name = {one.original_name}
    for term in (str(one.pk), one.pk.hex, one.sha256, one.sha256[:8], one.sha256.upper(), f"  {one.sha256[:12]} "):
        assert found(term) == name
    for term in ("interview", "INTERVIEW_min", "Interview_Minister 07.MP4", "minister", "07.mp4", "case-12/"):
        assert found(term) == name
    assert found("case-12") == {one.original_name, "IMG_0001.mov"}
    assert found("") == found("case")
    for term in ("inter%iew", "interview?", "nothing like it", str(uuid.uuid4()), "a\x00b", "f" * 64):
        assert found(term) == set()


def test_only_the_beginning_of_an_old_name_is_found(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    rows.video("minister old.mp4", external_id="x")
    for number in range(3):
        rows.video(f"minister {number}.mp4")
    monkeypatch.setattr(search, "NEWEST", 2)
    assert found("MINISTER old") == {"minister old.mp4"}
    assert found("old.mp4") == set()
    assert found("er 2.mp4") == {"minister 2.mp4"}
    assert len(found("minister")) == 4


def test_a_search_that_finds_too_many_says_so_and_lists_the_newest(
    rows: Rows, root_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        rows.video(f"part {number}.mp4")
    monkeypatch.setattr(search, "MOST", 3)
    page = root_client.get("/admin/detection/video/?q=part").content.decode()
    assert "not all of them are listed" in page
    assert [number for number in range(5) if f"part {number}.mp4" in page] == [2, 3, 4]
    page = root_client.get("/admin/detection/video/?q=part 1").content.decode()
    assert "not all of them are listed" not in page
    assert "part 1.mp4" in page
    assert "newest 20,000 videos" in page  # the help


def test_what_begins_so_is_found_whatever_the_rules_of_the_language_say(rows: Rows) -> None:
    """By the rules of English, "a/b" sorts among the "ab"; a range from "a/" to "a0" would lose it on Postgres."""
    names = ("part/a b.mp4", "part/a-b.mp4", "part/ab.mp4", "part/A.mp4", "part_a.mp4", "part/äb.mp4", "parta")
    for name in names:
        video = rows.video(name)
        DatasetVideo.objects.create(video=video, dataset="set", path=name, label="real", identity="x")
    for prefix in ("part/", "part/a", "part/a ", "part/ä", "p", "part_"):
        paths = set(DatasetVideo.objects.filter(beginning("path", prefix)).values_list("path", flat=True))
        assert paths == {name for name in names if name.startswith(prefix)}


@pytest.mark.skipif(connection.vendor != "sqlite", reason="reads SQLite's words for a plan")
@pytest.mark.parametrize("term", ["interview_07", "case-12", "5f3a9b2c"])
def test_each_way_of_a_search_walks_an_index(rows: Rows, term: str) -> None:
    rows.video()
    for way in search._ways(term):
        plan = way[: search.MOST].explain()
        assert "USING INDEX video_" in plan or "USING COVERING INDEX video_" in plan
        assert "TEMP B-TREE" not in plan
