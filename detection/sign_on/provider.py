"""The provider: what its discovery document says, and the settings that mozilla-django-oidc asks for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
import structlog
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse

from detection.errors import Refused

log = structlog.get_logger(__name__)

TIMEOUT_S = 5.0
"""Seconds for a connection, and again for its answer; a login takes three calls at most."""
KEPT_S = 3600.0
AT_ONCE = 2
"""Logins of one process that wait for the provider at the same time: each holds a thread."""
PATIENCE_S = 3.0
_waiting = threading.BoundedSemaphore(AT_ONCE)
_known: dict[str, tuple[float, Provider]] = {}


@dataclass(frozen=True)
class Provider:
    """The provider's endpoints; `end_session` is empty where it has none."""

    authorization: str
    token: str
    userinfo: str
    jwks: str
    end_session: str
    basic_auth: bool


@contextmanager
def asking() -> Iterator[None]:
    """Hold one of the few turns to wait for the provider.  Raises Refused `busy`."""
    if not _waiting.acquire(timeout=PATIENCE_S):
        raise Refused("busy", "Too many people are logging in at once. Try again in a moment.", status=503)
    try:
        yield
    finally:
        _waiting.release()


def discovered() -> Provider:
    """Return the configured provider, asked at most once an hour.  Raises Refused `provider_unreachable`."""
    issuer = settings.DFD_OIDC_ISSUER
    asked_at, provider = _known.get(issuer, (0.0, None))
    if provider is None or time.monotonic() - asked_at > KEPT_S:
        try:
            answer = requests.get(f"{issuer.rstrip('/')}/.well-known/openid-configuration", timeout=TIMEOUT_S)
            answer.raise_for_status()
            provider = _parsed(answer.json(), issuer)
        except (requests.RequestException, ValueError, KeyError, TypeError) as error:
            log.warning("sign_on_provider_unreachable", error=str(error))
            raise Refused(
                "provider_unreachable", "The sign-on service does not answer as it should. Try again later.", status=503
            ) from error
        _known[issuer] = (time.monotonic(), provider)
    return provider


def unverified() -> Refused:
    """Return the refusal of a login whose answer does not hold; the log says why."""
    detail = "The sign-on service's answer could not be verified. Try again."
    return Refused("sign_on_failed", detail, status=403)


def library_setting(name: str, *default: Any) -> Any:
    """Return what mozilla-django-oidc asks for; its own names for settings are not read from the environment."""
    values = {
        "OIDC_RP_CLIENT_ID": settings.DFD_OIDC_CLIENT_ID,
        "OIDC_RP_CLIENT_SECRET": settings.DFD_OIDC_CLIENT_SECRET,
        "OIDC_RP_SCOPES": settings.DFD_OIDC_SCOPES,
        "OIDC_AUTHENTICATION_CALLBACK_URL": "sign-on-callback",
        "OIDC_USE_PKCE": True,
        "OIDC_TIMEOUT": TIMEOUT_S,
        "LOGIN_REDIRECT_URL": reverse("admin:index"),
        "LOGIN_REDIRECT_URL_FAILURE": reverse("admin:login"),
    }
    if name in values:
        return values[name]
    if name == "OIDC_OP_AUTHORIZATION_ENDPOINT":
        return discovered().authorization
    if name == "OIDC_TOKEN_USE_BASIC_AUTH":
        return discovered().basic_auth
    if not default:
        raise ImproperlyConfigured(f"mozilla-django-oidc asks for {name}, which is not known here.")
    return default[0]


def _parsed(document: dict[str, Any], issuer: str) -> Provider:
    """Raises ValueError, KeyError or TypeError for a document that is not the issuer's, or incomplete."""
    if document["issuer"] != issuer:
        raise ValueError(f"it says that it is {document['issuer']}, not {issuer}")
    endpoints = {
        name: str(document[f"{name}_endpoint"] if name != "jwks" else document["jwks_uri"])
        for name in ("authorization", "token", "userinfo", "jwks")
    }
    endpoints["end_session"] = str(document.get("end_session_endpoint") or "")
    for address in filter(None, endpoints.values()):
        if urlsplit(address).scheme not in ("https", urlsplit(issuer).scheme):
            raise ValueError(f"{address} is not https")
    methods = document.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    return Provider(**endpoints, basic_auth="client_secret_basic" in methods)
