"""Safe as it comes: Django's own check for deployment, headers on every kind of answer, cookies, secrets."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

ROOT = Path(__file__).resolve().parents[2]


def manage(*words: str, var: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    ours = re.compile(r"DFD_|DATABASE_URL|REDIS_URL|DJANGO_")
    clean = {name: value for name, value in os.environ.items() if not ours.match(name)}
    return subprocess.run(
        [sys.executable, "manage.py", *words], cwd=ROOT, env={**clean, "DFD_VAR": str(var), **environment},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


def test_behind_tls_the_check_for_deployment_has_nothing_to_say(tmp_path: Path) -> None:
    ran = manage("check", "--deploy", "--fail-level", "WARNING", var=tmp_path, DFD_HTTPS="true")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "no issues (0 silenced)" in ran.stdout + ran.stderr


def test_without_tls_it_speaks_of_tls_only_and_the_key_is_made_for_this_installation(tmp_path: Path) -> None:
    ran = manage("check", "--deploy", var=tmp_path)
    said = set(re.findall(r"security\.W\d+", ran.stderr))
    assert ran.returncode == 0
    assert said == {"security.W004", "security.W008", "security.W012", "security.W016"}
    key = tmp_path / "secret_key"
    assert len(key.read_text().strip()) >= 64
    assert key.stat().st_mode & 0o077 == 0
    other = tmp_path / "other"
    manage("check", var=other)
    assert (other / "secret_key").read_text() != key.read_text()


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    ran = manage("check", var=tmp_path, DFD_SECRET_KEY="short")
    assert ran.returncode != 0
    assert "at least 32 characters" in ran.stderr


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("address", "allows"),
    [
        ("/api/v1/videos/", {"form-action 'self'"}),
        ("/healthz", {"form-action 'self'"}),
        ("/no/such/page/", {"form-action 'self'"}),
        ("/static/detection/calls.js", {"form-action 'self'"}),
        ("/api/docs/", {"form-action 'self'", "script-src 'self'", "style-src 'self' 'unsafe-inline'"}),
        ("/admin/login/", {"form-action 'self'", "script-src 'self' 'unsafe-eval'", "script-src-attr 'none'"}),
    ],
)
def test_every_answer_says_what_a_browser_may_do_with_it(address: str, allows: set[str]) -> None:
    headers = Client().get(address).headers
    policy = headers["Content-Security-Policy"].split("; ")
    assert allows | {"default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"} <= set(policy)
    assert len(policy) == 4 or address in ("/api/docs/", "/admin/login/")
    assert not re.search(r"\*|http|script-src[^;]*inline", "; ".join(policy))
    assert "camera=()" in headers["Permissions-Policy"]
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.django_db
def test_the_session_is_out_of_scripts_reach_and_stays_on_this_site() -> None:
    User.objects.create_superuser("root", password="a long enough pass phrase")
    client = Client()
    client.get("/admin/login/")
    client.post("/admin/login/", {"username": "root", "password": "a long enough pass phrase"})
    session, csrf = client.cookies["sessionid"], client.cookies["csrftoken"]
    assert session["httponly"]
    assert session["samesite"] == csrf["samesite"] == "Lax"
    assert not csrf["httponly"]  # the pages' own script reads it
    assert settings.DEBUG is False
