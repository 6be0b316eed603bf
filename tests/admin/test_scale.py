"""Ten thousand videos ask as many questions as ten, and no question reads a large table from end to end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from knox.models import AuthToken

from detection.admin.proxies import NoFaceVideo, Prediction
from detection.management.benchmark import pages, rows, timing
from detection.management.benchmark.pages import Page
from detection.management.benchmark.rows import Made
from detection.models import Analysis, GoldVideo, Review, Video
from detection.selectors.reviewer_agreement import agreement
from detection.services.reviews import workspace

pytestmark = pytest.mark.django_db
LARGE = "video|analysis|verdict|review|faceframe|sampledframe|print"


@pytest.fixture(autouse=True)
def _settings(settings: Any) -> None:
    settings.DFD_REVIEW_AUDIT_SHARE, settings.DFD_REVIEW_SECOND_SHARE, settings.DFD_REVIEW_GOLD_SHARE = 1.0, 1.0, 0.0


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    monkeypatch.setattr(rows, "HOURS", 50)  # of figures, which no page reads one by one
    made = rows.make_rows(videos=10)
    for owner in made.owners:
        AuthToken.objects.create(user=owner)
    sure = Video.objects.exclude(label="")[0]
    GoldVideo.objects.create(video=sure, label=sure.label, reason="Filmed by ourselves.", set_by=made.root)
    return made


def questions(client: Client, url: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        response = client.get(url)
        assert response.status_code in (200, 302, 403, 404, 405), url
    return len(queries) if response.status_code == 200 else 0


def shown(made: Made) -> Iterator[tuple[str, Client, Page]]:
    """Pages that have something to show already among ten videos."""
    for who, client, page in timing.all_pages(root=made.root, reviewer=made.reviewers[-1], owner=made.owners[0]):
        if " + " in page.name:
            continue
        if page.group in ("admin", "operating", "workspace") or page.name.startswith(
            ("as it opens", "view=", "videos")
        ):
            yield who, client, page


def count(made: Made) -> dict[tuple[str, str], int]:
    # The first visit of a process fills caches (content types, permissions).
    found: dict[tuple[str, str], int] = {}
    for who, client, page in shown(made):
        name = re.sub(r"(external_id|created_after|created_before)=\S+", r"\1", page.name)  # differ from call to call
        asked = questions(client, page.url)
        found[who, f"{page.group} {name}"] = max(asked, found.get((who, f"{page.group} {name}"), 0))
    newcomer, _ = User.objects.get_or_create(username="newcomer", is_staff=True)
    newcomer.groups.set(Group.objects.filter(name="senior_reviewer"))
    for one in timing.time_workspace(newcomer, repeat=1):
        if one.page.startswith("next"):
            found[one.who, one.page] = one.queries
    return found


@pytest.mark.slow
def test_every_page_asks_as_many_questions_among_ten_videos_as_among_ten_thousand(made: Made) -> None:
    count(made)
    few = count(made)
    rows.make_rows(videos=9990, faces_share=1.0)
    many = count(made)
    assert Video.objects.count() == 10_000
    assert {page: (few[page], asked) for page, asked in many.items() if few[page] and asked > few[page]} == {}
    assert set(few) == set(many)
    lists = {page.group for page in pages.admin_lists(made.root, combined=False)}
    assert {name.split()[0] for _, name in many if name.endswith("as it opens")} == lists


@pytest.mark.slow
@pytest.mark.skipif(connection.vendor != "sqlite", reason="reads SQLite's words for a plan")
def test_no_page_reads_a_large_table_from_end_to_end(made: Made) -> None:
    """SQLite plans by the indexes alone, as nobody has it count rows: what it does with a million, it says of ten."""
    scanned = set()
    for who, client, page in timing.all_pages(root=made.root, reviewer=made.reviewers[0], owner=made.owners[0]):
        if " + " in page.name or (who == "reviewer" and "." in page.group):
            continue  # another filter changes nothing, nor who asks
        with CaptureQueriesContext(connection) as queries:
            client.get(page.url)
        for query in queries.captured_queries:
            plan = explained(query["sql"])
            for step in re.findall(rf"SCAN detection_(?:{LARGE})\b(?! USING).*", plan):
                scanned.add((page.group, page.name, step))
    assert scanned == set()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="reads SQLite's words for a plan")
def test_answers_and_analyses_of_a_video_are_looked_for_among_its_own(made: Made) -> None:
    """Without counts SQLite holds all equalities for equally good; "undoes nothing" is nearly the whole table."""
    video = Video.objects.all()[0]
    rows_of_video = Review.objects.not_undone().filter(video=video)
    for few in (
        rows_of_video,
        rows_of_video.filter(reviewer=made.reviewers[0]),
        Analysis.objects.filter(video=video, state="dead"),
    ):
        assert re.search(r"SEARCH detection_(review|analysis) USING (COVERING )?INDEX \S+ \(video_id=\?", few.explain())


@pytest.mark.skipif(connection.vendor != "sqlite", reason="reads SQLite's words for a plan")
def test_a_list_walks_an_index_in_its_order_whatever_it_is_filtered_by(made: Made) -> None:
    """A second filter is read from the index, too: at worst the index is walked to its end, never the table."""
    lists = {model._meta.label_lower: model for model in admin.site._registry if issubclass(model, Video)}
    looked_at = 0
    for page in pages.admin_lists(made.root):
        if page.group not in lists or page.name.startswith("search") or re.search("owner=(arch|nobody)", page.name):
            continue
        request = RequestFactory().get(page.url)
        request.user = made.root
        changelist = admin.site._registry[lists[page.group]].get_changelist_instance(request)
        plan = changelist.queryset.values_list("pk", flat=True)[:25].explain()
        assert re.search(r"^\d+ 0 0 (SEARCH|SCAN) detection_video USING COVERING INDEX video_", plan), (page, plan)
        assert "FOR ORDER BY" not in plan, (page, plan)
        looked_at += 1
    assert looked_at > 100


@pytest.mark.skipif(connection.vendor != "sqlite", reason="reads SQLite's words for a plan")
@pytest.mark.parametrize("model", [Prediction, NoFaceVideo, Review])
def test_what_is_withheld_is_found_by_indexes(made: Made, model: type[Any]) -> None:
    request = RequestFactory().get("/")
    request.user = made.reviewers[0]
    plan = admin.site._registry[model].get_changelist_instance(request).queryset[:25].explain()
    assert re.search(r"SEARCH \w+ USING INDEX \w*reviewer_id\w* \(reviewer_id=\?\)", plan), plan
    assert re.search(r"SEARCH \w+ USING (COVERING )?INDEX video_review_next \(review_next=\?\)", plan), plan
    assert not re.search(r"SCAN [UVW]\d", plan), plan


@pytest.mark.skipif(connection.vendor != "sqlite", reason="reads SQLite's words for a plan")
@pytest.mark.parametrize(
    ("url", "index"),
    [
        ("prediction/?owner=mobile-app", "video_waiting_of_owner (owner_id=? AND label=?)"),
        ("prediction/?owner=mobile-app&verdict_label__exact=real", "video_waiting_of_owner (owner_id=? AND label=?)"),
        ("prediction/?owner=arch", "video_waiting (label=?)"),
        ("nofacevideo/?owner=mobile-app", "video_by_status_label (status=? AND label=?)"),
        ("nofacevideo/?owner=arch", "video_by_status_label (status=? AND label=?)"),
        ("nofacevideo/?view=labelled&owner=arch", "video_by_status_label (status=? AND label>?)"),
        ("video/?status__exact=succeeded&owner=trial", "video_owner_newest (owner_id=?)"),
        ("video/?status__exact=succeeded&label=fake", "video_by_label (label=?)"),
    ],
)
def test_a_list_is_found_by_what_few_videos_are(made: Made, url: str, index: str) -> None:
    """Few wait of a million; most have succeeded, and somebody may have most of the million."""
    client = timing.browser(made.root)
    with CaptureQueriesContext(connection) as queries:
        client.get(f"/admin/detection/{url}")
    counted = [query["sql"] for query in queries.captured_queries if "LIMIT 10000" in query["sql"]]
    assert len(counted) == 1
    assert f"SEARCH detection_video USING COVERING INDEX {index}" in explained(counted[0])


@pytest.mark.skipif(connection.vendor != "sqlite", reason="reads SQLite's words for a plan")
def test_figures_of_reviewers_read_their_videos_and_not_all_of_a_role(made: Made) -> None:
    with CaptureQueriesContext(connection) as queries:
        agreement(since=timezone.now() - timedelta(days=30))
    plans = [explained(query["sql"]) for query in queries.captured_queries]
    assert any("SEARCH detection_review USING INDEX detection_review_video_id" in plan for plan in plans)
    assert not any("MULTI-INDEX OR" in plan for plan in plans)


def explained(sql: str) -> str:
    if not sql.startswith("SELECT"):
        return ""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}".replace("%", "%%"), [])
        return "\n".join(str(row[3]) for row in cursor.fetchall())


def test_rows_keep_what_the_tables_promise(made: Made) -> None:
    connection.check_constraints()
    assert {video.status for video in Video.objects.all()} == {
        "queued", "running", "succeeded", "no_face", "failed", "dead",
    }  # fmt: skip
    for video in Video.objects.select_related("current_analysis", "current_verdict"):
        assert video.current_analysis is not None
        assert video.current_analysis.state == video.status
        assert video.verdict_label == (video.current_verdict.label if video.current_verdict else "")
    rows.catch_up(left=0)
    for queue in ("uncertain", "no_face", "failed", "disagreement"):
        assert workspace.next_item(reviewer=made.reviewers[1], queue=queue) is None


@pytest.mark.slow
def test_the_command_measures_in_a_database_of_its_own(capfd: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    before = Video.objects.count()
    call_command(
        "benchmark_admin", "--videos", "300", "--repeat", "1", "--only", "workspace", "--json", "--limit-ms", "60000"
    )
    report = json.loads(capfd.readouterr().out)
    assert report["videos"] == 300
    assert report["database"]["vendor"] == "sqlite"
    assert report["machine"]["cores"] >= 1
    assert report["over_limit"] == 0
    measured = {page["page"] for page in report["pages"] if page["phase"] == "backlog"}
    assert {"next, mixed", "answer, uncertain", "undo, no_face"} <= measured
    for page in report["pages"]:
        assert page["status"] == 200
        assert 0 < page["min_ms"] <= page["median_ms"] <= page["max_ms"]
        assert page["queries"] > 0
    assert Video.objects.count() == before


@pytest.mark.slow
def test_the_command_fails_where_a_page_is_over_the_limit(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        call_command("benchmark_admin", "--videos", "20", "--repeat", "1", "--only", "operating", "--limit-ms", "0.001")
    assert ended.value.code == 1
    said = capfd.readouterr()
    assert "over the limit" in said.out
    assert "medians are over 0.001 ms" in said.err
    assert reverse("api:metrics") in said.out + said.err
