"""Input that nobody types: refused in a sentence or shown as it is meant, never a malfunction."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import unicodedata
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from detection.admin.review.evidence_calls import urlpatterns
from detection.admin.search import search_videos
from detection.errors import Refused
from detection.models import Analysis, Video
from detection.services.reviews import labels
from detection.services.uploads import uploads
from tests.admin.conftest import Rows
from tests.admin.test_workspace import call

pytestmark = pytest.mark.django_db
CALLS = ("next", "answer", "skip", "rescan", "undo", "beat", "release", "sheet-open", "sheet-label", "sheet-revert")


@pytest.mark.parametrize("name", [*CALLS, "evidence"])
@pytest.mark.parametrize("body", ["[" * 5000, '{"a":' + "[" * 3000 + "]" * 3000 + "}", "1" * 5000, "{" * 900])
def test_a_call_with_absurd_json_is_refused(review_client: Client, name: str, body: str) -> None:
    assert urlpatterns[0].name == "review-evidence"
    answer = review_client.post(reverse(f"review-{name}"), body, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")


@pytest.mark.parametrize("seconds", ["1" + "0" * 400, "1e999", "-1e999", "NaN", "true", '"3"', "[]", "null"])
def test_seconds_that_are_no_number_to_be_stored_are_left_out(rows: Rows, review_client: Client, seconds: str) -> None:
    video = rows.with_verdict(model=rows.model())
    given = call(review_client, "next")["item"]
    body = f'{{"claim": "{given["claim"]}", "label": "fake", "seconds": {seconds}}}'
    answer = review_client.post(reverse("review-answer"), body, content_type="application/json")
    assert answer.status_code == 200
    assert video.reviews.get().seconds is None


def nested(depth: int) -> dict[str, object]:
    value: object = 1
    for k in range(depth):
        value = {"a": value} if k % 2 else [value]
    return {"a": value}


def test_metadata_are_nested_as_deep_as_every_reader_goes() -> None:
    uploads.check_metadata(nested(uploads.MAX_METADATA_DEPTH - 1))
    for depth in (uploads.MAX_METADATA_DEPTH, 900, 935, 100_000):
        with pytest.raises(Refused, match="nested 64 deep"):
            uploads.check_metadata(nested(depth))


@pytest.mark.parametrize("letter", ["\u0130", "x", "\u00e9", "\U0001f3ac", "\u0416"])
def test_a_name_is_no_longer_in_lower_case_than_its_column(letter: str) -> None:
    """As an ICU collation of Postgres lower-cases it."""
    name = uploads.display_name(letter * 300)
    assert 0 < len(name) <= 255
    assert len(name.lower()) <= 255
    assert set(name) == {letter}


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645.mp4",
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645.mp4",
        ),
        ("\U0001f468\u200d\U0001f469.mp4", "\U0001f468\u200d\U0001f469.mp4"),
        ("e\u0301.mp4", "\u00e9.mp4"),
        ("a\u202egpj.mp4", "agpj.mp4"),
        ("a\r\nb\u2028c\x00d\ufeff.mp4", "abcd.mp4"),
        ("\u6620\u50cf\u3000\u4e00.mp4", "\u6620\u50cf\u3000\u4e00.mp4"),
    ],
)
def test_names_keep_what_spelling_needs_and_lose_what_cannot_be_seen(sent: str, shown: str) -> None:
    assert uploads.display_name(sent) == shown


@pytest.mark.parametrize("bad", ["a\u202eb", "a\r\nb", "a\x1b[31m", "a\u2028b", "\u200bx", "a\u0085"])
def test_an_external_id_that_cannot_be_shown_is_refused(bad: str) -> None:
    with pytest.raises(Refused, match="cannot be seen"):
        uploads.check_facts(external_id=bad, metadata={}, idempotency_key="")


def test_an_external_id_of_any_script_is_kept() -> None:
    for good in ("case-12/a", "\u0645\u06cc\u200c\u062e", "\u6620\u3000\u50cf", "a\u00a0b", "\U0001f3ac"):
        uploads.check_facts(external_id=good, metadata={}, idempotency_key="")


@pytest.mark.parametrize(
    ("stored", "typed"),
    [
        ("Caf\u00e9.mp4", "cafe\u0301"),
        ("Cafe\u0301.mp4", "caf\u00e9"),
        ("\u0412\u0438\u0434\u0435\u043e.mp4", "\u0432\u0438\u0434\u0435\u043e"),
        ("\u0432\u0438\u0434\u0435\u043e.mp4", "\u0412\u0418\u0414\u0415\u041e"),
        ("\u0412\u0418\u0414\u0415\u041e 2.mp4", "\u0432\u0438\u0434\u0435\u043e"),
        ("clip \u0417\u0438\u043c\u0430.mp4", "\u0437\u0438\u043c\u0430"),
    ],
)
def test_a_name_is_found_however_it_is_composed_and_capitalised(rows: Rows, stored: str, typed: str) -> None:
    video = rows.video(stored)
    for term in (typed, unicodedata.normalize("NFD", typed)):
        assert [row.pk for row in search_videos(Video.objects.all(), term)[0]] == [video.pk]


@pytest.mark.parametrize(
    "text",
    [
        "x;=1+1",
        "x;=1+1;y",
        "a\t=1",
        "a\n@sum",
        "x|-1",
        "x;'=1",
        "=1;=2",
        "'",
        ";'",
        "a;b",
        "\t=1",
        'x;"=1+1;y',
        'x\n"=1',
        'x;""\'=1',
        '"=1',
        'x|"""@sum',
        ';"\t"=1',
        "x;'\"=1",
        ';"',
        'a;"b"',
    ],
)
def test_no_part_of_a_cell_is_a_formula_wherever_a_table_is_split(text: str) -> None:
    cell = labels.defused(text)
    assert labels.restored(cell) == text
    parts = [part.lstrip('"') for part in re.split(r"[;|\t\n]", cell)]
    assert not any(part.startswith(("=", "+", "-", "@")) for part in parts)


def test_no_cell_is_a_formula_to_a_reader_of_any_separator_and_every_text_comes_back() -> None:
    for letters in itertools.product(";,\"'=x\n", repeat=5):
        text = "".join(letters)
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerow(["first", labels.defused(text), "last"])
        for separator in ",;":
            rows = list(csv.reader(io.StringIO(out.getvalue(), newline=""), delimiter=separator))
            assert not any(cell.startswith("=") for row in rows for cell in row), (text, separator)
            if separator == ",":
                assert [labels.restored(cell) for cell in rows[0]] == ["first", text, "last"]


def test_traces_are_for_who_can_do_something_about_them(
    rows: Rows, review_client: Client, root_client: Client, as_user: Callable[[User], Client]
) -> None:
    rows.video("broken.mp4", state="dead")
    analysis = Analysis.objects.get()
    Analysis.objects.update(last_error="Traceback: /srv/secret/path", worker="host-7:123")
    address = reverse("admin:detection_analysis_change", args=(analysis.pk,))
    told = review_client.get(address).content.decode()
    assert "It cannot" in told or analysis.error_detail in told
    assert "secret/path" not in told
    assert "host-7" not in told
    assert "secret/path" in root_client.get(address).content.decode()
    operator = rows.user("op", "operator", staff=True)
    if operator.has_perm("detection.change_video"):
        assert "secret/path" in as_user(operator).get(address).content.decode()


def test_a_file_is_called_as_it_is_in_the_breadcrumb(rows: Rows, review_client: Client) -> None:
    video = rows.video("clip in lower case.mp4")
    page = review_client.get(reverse("admin:detection_video_change", args=(video.pk,))).content.decode()
    assert "clip in lower case.mp4" in page
    assert "Clip in lower case.mp4" not in page


def test_a_part_whose_name_is_no_utf8_is_spoken_of(rows: Rows) -> None:
    client = Client()
    client.force_login(rows.owner)
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="caf\xe9.mp4"\r\n\r\nvideo\r\n--x--\r\n'
    answer = client.post("/api/v1/videos/", head, content_type="multipart/form-data; boundary=x")
    assert answer.status_code == 400
    assert "UTF-8" in json.dumps(answer.json())


@pytest.mark.parametrize("days", ["²", "٣٠", "9" * 5000, "-7", ""])
def test_a_period_that_is_none_is_thirty_days(review_client: Client, days: str) -> None:
    answer = review_client.get("/admin/review/figures/", {"days": days})
    assert (answer.status_code, answer.context["days"]) == (200, 30)
