"""Addresses below /admin/: off to the provider, back from it, and out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth import BACKEND_SESSION_KEY
from django.core.exceptions import SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from mozilla_django_oidc.views import OIDCAuthenticationCallbackView, OIDCAuthenticationRequestView

from detection.errors import Refused
from detection.models import AuditAction
from detection.services.ops import audit
from detection.sign_on import provider
from detection.sign_on.backend import ProviderBackend

BACKEND = f"{ProviderBackend.__module__}.{ProviderBackend.__qualname__}"
FAILURES = timedelta(minutes=1)


class _Begin(OIDCAuthenticationRequestView):
    get_settings = staticmethod(provider.library_setting)


class _Callback(OIDCAuthenticationCallbackView):
    get_settings = staticmethod(provider.library_setting)

    def get(self, request: HttpRequest) -> HttpResponseBase:
        # An error ends the session, so it must be of a way that this browser went: else any link would log people out.
        if request.GET.get("error") and request.GET.get("state") not in request.session.get("oidc_states", {}):
            return self.login_failure()
        response: HttpResponseBase = super().get(request)
        return response

    def login_failure(self) -> HttpResponseBase:
        raise provider.unverified()

    def login_success(self) -> HttpResponseBase:
        response: HttpResponseBase = super().login_success()
        # To the hour, however busy: whoever was taken out of a group there is asked again before long.
        self.request.session.set_expiry(timezone.now() + timedelta(seconds=settings.DFD_OIDC_SESSION_S))
        return response


@never_cache
def begin(request: HttpRequest) -> HttpResponseBase:
    """Send the browser to the provider."""
    return _answered(request, _Begin.as_view())


@never_cache
def callback(request: HttpRequest) -> HttpResponseBase:
    """Log in whom the provider has sent back; otherwise show the login page, with the reason."""
    return _answered(request, _Callback.as_view())


def _answered(request: HttpRequest, view: Callable[[HttpRequest], Any]) -> HttpResponseBase:
    if not settings.DFD_OIDC_ISSUER:
        raise Http404
    try:
        response: HttpResponseBase = view(request)
    except SuspiciousOperation:  # a state that this browser was not given, or that was used already
        return _failed(request, provider.unverified())
    except Refused as refusal:
        return _failed(request, refusal)
    return response


def _failed(request: HttpRequest, refusal: Refused) -> HttpResponseBase:
    since = timezone.now() - FAILURES
    audit.record_once(
        AuditAction.LOGIN_FAILED,
        since=since,
        subject="user:unknown",
        each_address=True,
        facts={"sign_on": refusal.code},
    )
    messages.error(request, refusal.detail)
    return HttpResponseRedirect(reverse("admin:login"))


@never_cache
def logout(request: HttpRequest) -> HttpResponseBase:
    """Log out here, and offer to log out of the provider as well."""
    context: dict[str, Any] = {}
    if settings.DFD_OIDC_ISSUER and request.session.get(BACKEND_SESSION_KEY) == BACKEND:
        context = {"provider": settings.DFD_OIDC_NAME, "provider_logout": _end_session(request)}
    return admin.site.logout(request, extra_context=context)


def _end_session(request: HttpRequest) -> str:
    """Return the address that ends the provider's session; empty where it has none or does not answer."""
    try:
        address = provider.discovered().end_session
    except Refused:
        return ""
    back = request.build_absolute_uri(reverse("admin:login"))
    query = urlencode({"client_id": settings.DFD_OIDC_CLIENT_ID, "post_logout_redirect_uri": back})
    return f"{address}{'&' if '?' in address else '?'}{query}" if address else ""
