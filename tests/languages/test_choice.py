"""Who is answered in which language: pages as the reader wishes, programs in English."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.utils import translation

from detection.models import AuditEntry
from tests.admin.conftest import Rows, as_user, nobody_has_tried_to_log_in, reviewer, rows  # noqa: F401

pytestmark = pytest.mark.django_db
GERMAN = {"Accept-Language": "de-AT,de;q=0.9,en;q=0.5"}
TITLE = {"de": "Übersicht", "en": "Overview"}


def language_of(client: Client, path: str = "/admin/", **headers: str) -> str:
    """Return the language of a page, which says it in its text, its markup and its headers."""
    response = client.get(path, headers=headers)
    language = response["Content-Language"]
    assert f'<html lang="{language}"' in response.text
    assert "Accept-Language" in response["Vary"]
    assert (TITLE["de"] in response.text) == (language == "de")
    return str(response["Content-Language"])


@pytest.fixture
def client_of_a_reviewer(reviewer: User, as_user: Any) -> Client:  # noqa: F811
    client: Client = as_user(reviewer)
    return client


def test_a_page_is_in_the_browsers_language_and_else_in_english(client_of_a_reviewer: Client) -> None:
    client = client_of_a_reviewer
    assert language_of(client) == "en-gb"
    assert language_of(client, **GERMAN) == "de"
    for others in ("fr,nl;q=0.5", "en-US,en", "tlh", "*", "de" * 300, "x, ;q=\n"):
        assert language_of(client, **{"Accept-Language": others.replace("\n", "")}) == "en-gb"


def test_a_choice_stays_and_goes_before_the_browsers_language(client_of_a_reviewer: Client) -> None:
    client = client_of_a_reviewer
    chosen = client.post("/admin/language/", {"language": "de", "next": "/admin/review/figures/?days=7"})
    assert (chosen.status_code, chosen["Location"]) == (302, "/admin/review/figures/?days=7")
    cookie = chosen.cookies["django_language"]
    assert (cookie.value, cookie["samesite"], cookie["max-age"]) == ("de", "Lax", 365 * 24 * 3600)
    assert language_of(client) == "de"
    client.post("/admin/language/", {"language": "en-gb", "next": "/admin/"})
    assert language_of(client, **GERMAN) == "en-gb"


def test_nobody_is_led_astray_by_the_choice(client_of_a_reviewer: Client) -> None:
    client = client_of_a_reviewer
    for astray in ("https://example.org/", "//example.org", "javascript:alert(1)"):
        assert client.post("/admin/language/", {"language": "de", "next": astray})["Location"] == "/"
    assert "django_language" not in client.post("/admin/language/", {"language": "../de", "next": "/"}).cookies
    checked = Client(enforce_csrf_checks=True)
    assert checked.post("/admin/language/", {"language": "de", "next": "/"}).status_code == 403


def test_the_menu_of_the_account_offers_both_languages(client_of_a_reviewer: Client) -> None:
    page = client_of_a_reviewer.get("/admin/").text
    assert page.count('action="/admin/language/"') >= 2
    assert "Deutsch" in page
    assert "English" in page


def test_the_login_and_the_check_of_a_report_are_open_to_everybody_in_german() -> None:
    client = Client()
    assert {"Cookie", "Accept-Language"} <= set(client.get("/verify/")["Vary"].split(", "))
    assert "Anmelden" in client.get("/admin/login/", headers=GERMAN).text
    page = client.get("/verify/", headers=GERMAN)
    assert "Belegbericht prüfen" in page.text
    assert '<html lang="de">' in page.text


API: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("get", "/api/v1/videos/", {}),
    ("get", "/api/v1/videos/00000000-0000-4000-8000-000000000000/", {}),
    ("get", "/api/v1/videos/?page_size=x&state=odd&created_after=never", {}),
    ("get", "/api/v1/nowhere/", {}),
    ("get", "/api/schema/", {}),
    ("get", "/healthz", {}),
    ("post", "/api/v1/videos/", {"data": {"external_id": "x"}}),
    ("post", "/api/v1/webhooks/", {"data": {"url": "ftp://x"}, "content_type": "application/json"}),
    ("put", "/api/v1/videos/", {}),
    ("delete", "/api/v1/tasks/00000000-0000-4000-8000-000000000000/", {}),
)


@pytest.mark.parametrize(("method", "path", "more"), API)
@pytest.mark.parametrize("known", [True, False])
def test_programs_are_answered_alike_whatever_language_they_ask_for(
    method: str, path: str, more: dict[str, Any], known: bool, client_of_a_reviewer: Client
) -> None:
    client = client_of_a_reviewer if known else Client()
    told = []
    for headers, cookie in (({}, ""), (GERMAN, ""), (GERMAN, "de"), ({}, "de")):
        client.get("/admin/", headers=GERMAN)  # the thread has just served a page in German
        client.cookies["django_language"] = cookie
        response = getattr(client, method)(path, headers=headers, **more)
        told.append((response.status_code, response.content, sorted(response.headers.items())))
        assert "Accept-Language" not in response.get("Vary", "")
        assert not response.has_header("Content-Language")
    assert told == [told[0]] * len(told)


def test_a_videos_words_over_rest_are_english(rows: Rows, as_user: Any) -> None:  # noqa: F811
    video = rows.with_verdict(model=rows.model())
    client: Client = as_user(rows.owner)
    english = client.get(f"/api/v1/videos/{video.pk}/").content
    assert client.get(f"/api/v1/videos/{video.pk}/", headers=GERMAN).content == english
    assert client.get(f"/api/v1/videos/{video.pk}/verdict/", headers=GERMAN).content == (
        client.get(f"/api/v1/videos/{video.pk}/verdict/").content
    )


def test_what_somebody_does_in_german_is_stored_in_english(rows: Rows, as_user: Any) -> None:  # noqa: F811
    root = rows.user("root", superuser=True)
    client: Client = as_user(root)
    failed = rows.video(state="failed")
    said = client.post(f"/admin/detection/analysis/requeue/{failed.pk}/", headers=GERMAN, follow=True)
    assert "ist wieder eingereiht" in said.text
    client.post(f"/admin/detection/video/{failed.pk}/label/", {"label": "fake"}, headers=GERMAN)
    history = client.get(
        f"/admin/detection/analysis/{failed.analyses.latest('created_at').pk}/history/", headers=GERMAN
    ).text
    assert [entry.change_message for entry in LogEntry.objects.all()] == ["Queued again."]
    assert "Erneut eingereiht." in history
    assert list(failed.reviews.values_list("label", "comment")) == [("fake", "")]
    assert not any("ü" in str(entry.facts) for entry in AuditEntry.objects.all())


# --- the texts of the scripts ---------------------------------------------------------------------------------------


def test_scripts_have_their_texts_at_an_address_that_changes_with_them() -> None:
    client = Client()
    page = client.get("/verify/", headers=GERMAN).text
    address = page.split('<script src="/texts/')[1].split('"')[0]
    assert address.startswith("de/")
    response = client.get(f"/texts/{address}")
    assert response["Content-Type"].startswith("text/javascript")
    assert "immutable" in response["Cache-Control"]
    assert not response.has_header("Vary")
    assert "Niemand hat diesen Bericht signiert" in response.text
    english = client.get("/verify/").text
    assert '<script src="/texts/en-gb/none.js"' in english
    assert "Niemand hat" not in client.get("/texts/en-gb/none.js").text
    assert client.get("/texts/fr/none.js").status_code == 404
    assert translation.get_language() == "en-gb"
