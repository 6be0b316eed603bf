"""The login page, which must cost a guesser more than it costs us, and must lock nobody out for good.

A password takes a quarter of a second of a core to check, so attempts are counted before that: from one address, for
one name from one address, for one name from anywhere, and altogether.  A browser in which somebody has logged in before
has a signed cookie that says so, and a count of its own for that name: whoever guesses elsewhere cannot keep its owner
out.  All counts end with their window.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from hashlib import sha256
from time import time as now
from typing import Any, cast

import structlog
from django.contrib import admin
from django.core import signing
from django.core.cache import caches
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.crypto import get_random_string
from django.views.decorators.cache import never_cache
from unfold.forms import AuthenticationForm

from detection.api.counts import Counts
from detection.audit_context import client_address

log = structlog.get_logger(__name__)

WINDOW_S = 300
OF_ADDRESS = 60
OF_NAME_AT_ADDRESS = 10
OF_NAME = 60
OF_KNOWN_BROWSER = 20
ALTOGETHER = 300
"""Attempts in a window: a core is busy for a quarter of it at most."""
AT_ONCE = 2
"""Passwords that one process checks at the same time; a further one waits `PATIENCE_S` for its turn."""
PATIENCE_S = 3.0
COOKIE = "dfd_known"
COOKIE_AGE_S = 365 * 24 * 3600
_checking = threading.BoundedSemaphore(AT_ONCE)


class LoginForm(AuthenticationForm):
    """Unfold's; refuses before the password is looked at when there were too many attempts."""

    def clean(self) -> dict[str, Any]:
        name = str(self.cleaned_data.get("username") or "")
        wait_s = wait_before(self.request, name)
        if wait_s or not _checking.acquire(timeout=PATIENCE_S):
            self.request.login_wait_s = wait_s or 1
            minutes = math.ceil(wait_s / 60) or 1
            raise ValidationError(
                f"Too many attempts to log in. Try again in {minutes} minute{'s' if minutes > 1 else ''}.",
                code="throttled",
            )
        try:
            cleaned: dict[str, Any] = super().clean()
        finally:
            _checking.release()
        return cleaned


admin.site.login_form = LoginForm


@never_cache
def login(request: HttpRequest) -> HttpResponseBase:
    """Django admin's login page, with 429 for an attempt too many, and a cookie for a browser that is known by now."""
    response: HttpResponseBase = admin.site.login(request)
    wait_s = getattr(request, "login_wait_s", 0)
    if wait_s:
        response.status_code = 429
        response.headers["Retry-After"] = str(wait_s)
    elif request.method == "POST" and response.status_code == 302 and request.user.is_authenticated:
        _remember(request, cast(HttpResponse, response))
    return response


def wait_before(request: HttpRequest, name: str) -> int:
    """Count an attempt to log in under the name; seconds until it would be let through, 0 where it is now."""
    window, passed = divmod(now(), WINDOW_S)
    for key, most in _limits(request, name):
        if _counted(f"login:{int(window)}:{key}") > most:
            log.warning("login_throttled", limit=key.split(":", 1)[0])
            return math.ceil(WINDOW_S - passed)
    return 0


def _limits(request: HttpRequest, name: str) -> Iterator[tuple[str, int]]:
    """(what is counted, how many in a window); the first that is used up refuses, and none behind it is counted."""
    name = sha256(name.encode(errors="replace")).hexdigest()[:32]
    browser = _known_browser(request, name)
    if browser:
        yield f"browser:{browser}", OF_KNOWN_BROWSER
        return
    address = client_address(request) or "nowhere"
    yield f"address:{address}", OF_ADDRESS
    yield f"name_at:{name}:{address}", OF_NAME_AT_ADDRESS
    yield f"name:{name}", OF_NAME
    yield "all", ALTOGETHER


def _known_browser(request: HttpRequest, name: str) -> str:
    """What tells a browser in which this name has logged in from all others; empty for one that is not known."""
    try:
        known = signing.loads(request.COOKIES.get(COOKIE, ""), salt=COOKIE, max_age=COOKIE_AGE_S)
    except signing.BadSignature:
        return ""
    return str(known.get("browser", "")) if isinstance(known, dict) and known.get("name") == name else ""


def _remember(request: HttpRequest, response: HttpResponse) -> None:
    name = sha256(request.user.get_username().encode()).hexdigest()[:32]
    if _known_browser(request, name):
        return
    response.set_cookie(
        COOKIE,
        signing.dumps({"name": name, "browser": get_random_string(16)}, salt=COOKIE),
        max_age=COOKIE_AGE_S,
        path="/admin/login/",
        secure=request.is_secure(),
        httponly=True,
        samesite="Strict",
    )


def _counted(key: str) -> int:
    """This attempt's number; 0 where the count cannot be had: what a process checks at once is bounded all the same."""
    try:
        return cast(Counts, caches["requests"]).count(key, timeout=2 * WINDOW_S)
    except Exception as error:  # whatever the cache's library raises when its server is away
        log.warning("logins_not_counted", error=str(error))
        return 0
