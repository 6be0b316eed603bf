"""A setting that cannot be meant stops the program at boot, in a sentence that names it; and what is meant holds."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from dfdsite import environment
from tests.project.test_settings_listed import LISTED, ROOT

FREE_TEXT = {"DFD_VAR", "DFD_OIDC_NAME", "DFD_OIDC_SCOPES", "DFD_OIDC_NAME_CLAIM", "DFD_OIDC_GROUPS_CLAIM"}
"""Any value may be meant."""
STATED = {name: value for name, value in LISTED.items() if value and name not in FREE_TEXT}
ELSEWHERE = {"DFD_PORT": lambda: environment.whole("DFD_PORT", 8000, most=65535)}
"""Read by commands, not by the settings."""


@pytest.fixture
def boot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    for name in LISTED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DFD_VAR", str(tmp_path / "var"))
    monkeypatch.setattr(environment, "read_file", lambda path: None)  # a developer's .env

    def run(**changes: str) -> dict[str, Any]:
        with monkeypatch.context() as patch:
            for name, value in changes.items():
                patch.setenv(name, value)
            for name in changes.keys() & ELSEWHERE.keys():
                ELSEWHERE[name]()
            return runpy.run_path(str(ROOT / "dfdsite" / "settings.py"))

    return run


@pytest.mark.parametrize("name", STATED)
def test_a_default_with_a_comment_or_a_typo_is_refused(boot: Any, name: str) -> None:
    for value in (f"{STATED[name]} # a comment", f"{STATED[name]} x"):
        with pytest.raises(ImproperlyConfigured, match=rf"^{name} must [^\n]+\.$"):
            boot(**{name: value})


@pytest.mark.parametrize("name", [name for name, value in STATED.items() if value.isdigit()])
def test_no_number_is_so_large_that_it_fails_later(boot: Any, name: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=rf"^{name} must be a whole number from \d+ to \d+, not '9+'\.$"):
        boot(**{name: "9" * 19})


def test_an_empty_value_is_as_if_it_was_not_set(boot: Any) -> None:
    assert shown(boot(**{name: "" for name in LISTED if name != "DFD_VAR"})) == shown(boot())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, value) for name in LISTED if LISTED[name] in ("true", "false") for value in ("treu", "enabled", "2")],
        ("DFD_ALLOWED_HOSTS", "https://desk.example.org"),
        ("DFD_ALLOWED_HOSTS", "desk.example.org:443"),
        ("DFD_CSRF_TRUSTED_ORIGINS", "desk.example.org"),
        ("DFD_TRUSTED_PROXIES", "the proxy"),
        ("DFD_VAR", "/dev/null/var"),
        ("DATABASE_URL", "db.sqlite3"),
        ("DATABASE_URL", "sqlite://var/db.sqlite3"),
        ("DATABASE_URL", "mysql://dfd:s3cret@db/dfd"),
        ("DATABASE_URL", "dfd:s3cret@db/dfd"),
        ("DATABASE_URL", "postgres://dfd:s3cret@db:port/dfd"),
        ("DATABASE_URL", "postgres://dfd:s3cret@db"),
        ("REDIS_URL", "localhost:6379"),
        ("REDIS_URL", "redis://:s3cret@"),
        ("REDIS_URL", "redis://:s3cret@redis:port/0"),
        ("REDIS_URL", "redis://[::1"),
        ("REDIS_URL", "amqp://rabbit"),
        ("DFD_BROKER_URL", "rabbit:5672"),
        ("DFD_OIDC_ISSUER", "https://[id"),
        ("DFD_LOG_LEVEL", "loud"),
        ("DFD_DEVICE", "cudax"),
        ("DFD_DEVICE", "cuda:"),
        ("DFD_KEEP_ORIGINALS_DAYS", "999999999999"),
        ("DFD_KEEP_VIDEOS_DAYS", "-1"),
        ("DFD_REVIEW_AUDIT_SHARE", "nan"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(boot: Any, name: str, value: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=rf"^{name} must [^\n]+\.$") as caught:
        boot(**{name: value})
    assert "s3cret" not in str(caught.value)


def test_what_is_meant_holds(boot: Any) -> None:
    found = boot(
        DFD_ALLOWED_HOSTS="a.example, b.example,.c.example, [::1],10.0.0.1",
        DFD_CSRF_TRUSTED_ORIGINS="https://a.example, https://*.b.example:8443",
        DFD_TRUSTED_PROXIES="10.0.0.0/8, 192.0.2.4",
        DFD_REVIEW_ORDER="uncertain, disagreement",
        DFD_KEEP_LABELLED="No",
        DFD_HTTPS=" TRUE ",
        DFD_LOG_JSON="on",
        DFD_LOG_LEVEL="warning",
        DFD_DEVICE="cuda:1",
        DFD_KEEP_CROPS_DAYS="36500",
        REDIS_URL="rediss://:p%40ss@redis:6380/1",
        DFD_BROKER_URL="amqp://dfd:secret@rabbit:5672/desk",
        DATABASE_URL="postgres://dfd:p%40ss@db:5432/desk",
    )
    assert found["ALLOWED_HOSTS"] == ["a.example", "b.example", ".c.example", "[::1]", "10.0.0.1"]
    assert found["CSRF_TRUSTED_ORIGINS"] == ["https://a.example", "https://*.b.example:8443"]
    assert [str(network) for network in found["DFD_TRUSTED_PROXIES"]] == ["10.0.0.0/8", "192.0.2.4/32"]
    assert found["DFD_REVIEW_ORDER"] == ["uncertain", "disagreement"]
    assert (found["DFD_KEEP_LABELLED"], found["HTTPS"], found["LOG_JSON"]) == (False, True, True)
    assert (found["LOGGING"]["root"]["level"], found["DFD_DEVICE"]) == ("WARNING", "cuda:1")
    assert found["DFD_KEEP_CROPS_DAYS"] == 36500
    database = found["DATABASES"]["default"]
    assert (database["NAME"], database["PASSWORD"], database["PORT"]) == ("desk", "p@ss", 5432)


def shown(found: dict[str, Any]) -> dict[str, str]:
    """What settings say, comparable from one run to the next."""
    return {name: re.sub(" at 0x[0-9a-f]+", "", repr(value)) for name, value in found.items() if name.isupper()}
