"""Who a request comes from: what a proxy says of it is believed of our own proxies only.

A client can write anything into X-Forwarded-For, and a proxy adds the address that it sees at the end.  With DFD_HTTPS
there is one proxy, and the last entry is its word.  DFD_TRUSTED_PROXIES names the proxies where there are several, or
where others reach the web server past them: then only they are believed, and what they passed on of each other.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO")


class BelieveProxies:
    """Middleware that drops the X-Forwarded-* headers of everybody who is not in DFD_TRUSTED_PROXIES."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the response to the request without headers that are not to be believed."""
        if settings.DFD_TRUSTED_PROXIES:
            peer = str(request.META.get("REMOTE_ADDR", ""))
            if peer and not _is_proxy(_parsed(peer)):  # a Unix socket has no address: its folder says who may connect
                for name in FORWARDED:
                    request.META.pop(name, None)
        return self.get_response(request)


def client_address(request: HttpRequest) -> str | None:
    """Return the client's address, or None for a Unix socket and for what is no address."""
    address = _parsed(str(request.META.get("REMOTE_ADDR", "")))
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
    if forwarded and (settings.HTTPS or settings.DFD_TRUSTED_PROXIES):
        for entry in reversed(forwarded.split(",")):
            address = _parsed(entry)
            if not _is_proxy(address):
                break
    return str(address) if address else None


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.strip().split("%", 1)[0])  # a zone means something on one machine only
    except ValueError:  # a Unix socket, or nonsense
        return None
    # A server that listens on [::] sees each IPv4 client as ::ffff:a.b.c.d; it is the same client.
    return getattr(address, "ipv4_mapped", None) or address


def _is_proxy(address: IPv4Address | IPv6Address | None) -> bool:
    return address is not None and any(address in network for network in settings.DFD_TRUSTED_PROXIES)
