"""Coming in by the login page itself, as from a bookmark; and guessing there, and other costly doors that are open."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from detection.admin import login
from detection.api.views import docs


@pytest.mark.django_db
def test_a_login_from_the_login_page_leads_into_the_admin(client: Client) -> None:
    User.objects.create_superuser("ada", password="a long enough pass phrase")
    answer = client.post("/admin/login/", {"username": "ada", "password": "a long enough pass phrase"})
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")


PASSWORD = "a long enough pass phrase"


@pytest.fixture
def ada(db: None, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    """Somebody who can log in, on a machine where nobody has tried yet, as fast as tests need it."""
    counts = {"BACKEND": "detection.api.counts.MachineCounts", "LOCATION": str(tmp_path / "counts")}
    settings.CACHES = settings.CACHES | {"requests": counts}
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    monkeypatch.setattr(login, "now", lambda: 1_000_000_000.0)
    return User.objects.create_superuser("ada", password=PASSWORD)


def attempt(client: Client, *, name: str = "ada", password: str = "wrong", address: str = "192.0.2.1") -> int:
    answer = client.post("/admin/login/", {"username": name, "password": password}, REMOTE_ADDR=address)
    assert ("Retry-After" in answer) is (answer.status_code == 429)
    assert (b"Too many attempts" in answer.content) is (answer.status_code == 429)
    return int(answer.status_code)


def test_a_guesser_is_stopped_before_the_password_is_checked(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []

    def wrong(self: User, raw: str) -> bool:
        checked.append(raw)
        return False

    monkeypatch.setattr(User, "check_password", wrong)
    codes = [attempt(Client(), password=f"guess {k}") for k in range(25)]
    assert codes == [200] * login.OF_NAME_AT_ADDRESS + [429] * (25 - login.OF_NAME_AT_ADDRESS)
    assert len(checked) == login.OF_NAME_AT_ADDRESS


def test_one_address_may_not_try_name_after_name(ada: User) -> None:
    codes = [attempt(Client(), name=f"user {k}") for k in range(login.OF_ADDRESS + 5)]
    assert codes == [200] * login.OF_ADDRESS + [429] * 5
    assert attempt(Client(), password=PASSWORD, address="192.0.2.2") == 302


def test_who_guesses_from_everywhere_does_not_lock_a_known_browser_out(ada: User) -> None:
    browser, elsewhere = Client(), Client()
    assert attempt(browser, password=PASSWORD, address="192.0.2.200") == 302
    browser.cookies.pop("sessionid")
    codes = [attempt(elsewhere, address=f"198.51.100.{k}") for k in range(login.OF_NAME + 10)]
    assert set(codes[: login.OF_NAME - 1]) == {200}
    assert set(codes[login.OF_NAME :]) == {429}
    assert attempt(Client(), password=PASSWORD, address="203.0.113.9") == 429
    assert attempt(browser, password=PASSWORD, address="203.0.113.9") == 302
    assert attempt(Client(), name="bob", address="203.0.113.9") == 200


def test_a_known_browser_is_no_free_pass(ada: User) -> None:
    User.objects.create_superuser("eve", password=PASSWORD)
    browser = Client()
    assert attempt(browser, name="eve", password=PASSWORD) == 302
    browser.cookies.pop("sessionid")
    codes = [attempt(browser) for _ in range(login.OF_NAME_AT_ADDRESS + 2)]
    assert codes[-2:] == [429, 429]  # it is known for eve, not for ada
    assert attempt(browser, name="eve") == 200
    browser.cookies[login.COOKIE] = "eyJuYW1lIjoiYWRhIn0:forged"
    assert attempt(browser) == 429


def test_all_is_forgotten_with_the_window(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(login.OF_NAME_AT_ADDRESS + 1):
        last = attempt(Client())
    assert last == 429
    monkeypatch.setattr(login, "now", lambda: 1_000_000_000.0 + login.WINDOW_S)
    assert attempt(Client(), password=PASSWORD) == 302


def test_all_addresses_together_keep_no_core_busy(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "ALTOGETHER", 20)
    codes = [attempt(Client(), name=f"user {k}", address=f"198.51.100.{k}") for k in range(25)]
    assert codes == [200] * 20 + [429] * 5


def test_no_more_passwords_are_checked_at_once_than_a_process_may(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "PATIENCE_S", 0.01)
    with ExitStack() as held:
        for _ in range(login.AT_ONCE):
            held.enter_context(login._checking)
        assert attempt(Client(), password=PASSWORD) == 429
    assert attempt(Client(), password=PASSWORD) == 302


def test_without_the_counts_people_still_log_in(ada: User, settings: Any) -> None:
    settings.CACHES = settings.CACHES | {
        "requests": {"BACKEND": "detection.api.counts.MachineCounts", "LOCATION": "/nowhere/at/all"}
    }
    assert attempt(Client(), password=PASSWORD) == 302


@pytest.mark.django_db
def test_the_schema_is_worked_out_once_whatever_is_asked(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    first = {kind: client.get(f"/api/schema/?format={kind}").content for kind in ("json", "yaml")}
    assert first["json"] != first["yaml"]

    def again(*_: Any, **__: Any) -> None:
        raise AssertionError("worked out again")

    monkeypatch.setattr(docs.SchemaView.generator_class, "get_schema", again)
    for k in range(3):
        for kind in ("json", "yaml"):
            assert client.get(f"/api/schema/?format={kind}&{k}={k}&lang=d{k}&version={k}").content == first[kind]
