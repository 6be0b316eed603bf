"""The login page, with rate limits that a guesser cannot use to lock an owner out.

Checking a password takes a quarter of a second of a core, so attempts are counted before it: per address, per name and
address, per name, and in all.  A browser in which this name has logged in before carries a signed cookie and has a
count of its own, so attempts from elsewhere cannot keep the owner out.  Each count ends with its window.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from hashlib import sha256
from time import time as now
from typing import Any, cast
from urllib.parse import urlencode

import structlog
from django.conf import settings
from django.contrib import admin
from django.core import signing
from django.core.cache import caches
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import reverse
from django.utils.crypto import get_random_string
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from unfold.forms import AuthenticationForm

from detection.api.counts import Counts
from detection.client_address import client_address

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
    """Unfold's login form; it refuses before the password is checked when there were too many attempts."""

    def clean(self) -> dict[str, Any]:
        """Check the rate limits, then name and password.  Raises ValidationError."""
        name = str(self.cleaned_data.get("username") or "")
        wait_s = wait_before(self.request, name)
        if wait_s or not _checking.acquire(timeout=PATIENCE_S):
            self.request.login_wait_s = wait_s or 1
            minutes = math.ceil(wait_s / 60) or 1
            raise ValidationError(
                ngettext(
                    "Too many attempts to log in. Try again in %(n)s minute.",
                    "Too many attempts to log in. Try again in %(n)s minutes.",
                    minutes,
                )
                % {"n": minutes},
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
    """Serve the admin's login page: 429 after too many attempts, a cookie for a browser whose login succeeded."""
    if request.method == "POST" and not settings.DFD_LOCAL_LOGIN:
        raise PermissionDenied(_("People log in by single sign-on only."))
    response: HttpResponseBase = admin.site.login(request, extra_context={"sign_on": _sign_on(request)})
    wait_s = getattr(request, "login_wait_s", 0)
    if wait_s:
        response.status_code = 429
        response.headers["Retry-After"] = str(wait_s)
    elif request.method == "POST" and response.status_code == 302 and request.user.is_authenticated:
        _remember(request, cast(HttpResponse, response))
    return response


def _sign_on(request: HttpRequest) -> dict[str, Any]:
    """Return what the page shows of single sign-on: its name and address, and whether passwords are taken as well."""
    if not settings.DFD_OIDC_ISSUER:
        return {}
    query = urlencode({"next": request.GET["next"]}) if request.GET.get("next") else ""
    address = f"{reverse('sign-on')}{'?' if query else ''}{query}"
    return {"name": settings.DFD_OIDC_NAME, "address": address, "only": not settings.DFD_LOCAL_LOGIN}


def wait_before(request: HttpRequest, name: str) -> int:
    """Count an attempt to log in under this name; return the seconds until one would be allowed, 0 if this one is."""
    window, passed = divmod(now(), WINDOW_S)
    for key, most in _limits(request, name):
        if _counted(f"login:{int(window)}:{key}") > most:
            log.warning("login_throttled", limit=key.split(":", 1)[0])
            return math.ceil(WINDOW_S - passed)
    return 0


def _limits(request: HttpRequest, name: str) -> Iterator[tuple[str, int]]:
    """Yield (counter key, most attempts in a window).

    The first limit that is used up refuses; those after it do not count.
    """
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
    """Return the id in the cookie of a browser in which this name has logged in, or an empty string."""
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
    """Return the number of this attempt, or 0 when the cache is away: `AT_ONCE` still bounds what a process checks."""
    try:
        return cast(Counts, caches["requests"]).count(key, timeout=2 * WINDOW_S)
    except Exception as error:  # whatever the cache's library raises when its server is away
        log.warning("logins_not_counted", error=str(error))
        return 0
