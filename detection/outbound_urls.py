"""Check URLs that clients register: they must not lead into our own network (SSRF).

A name may resolve differently between check and call, so the caller must connect to an address that `resolve` returned.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings

from detection.errors import Refused

MAX_URL = 500
PORTS = {"https": 443, "http": 80}
HOST = re.compile(r"[A-Za-z0-9._:-]+")
ALLOWED_PORTS = frozenset({80, 443, 8080, 8443})
# What is nobody's on the internet, from the IANA registries of special-purpose addresses (2024): written out here, for
# what the interpreter calls private differs from one of its versions to the next (CVE-2024-4032).
_NOT_PUBLIC_4 = [
    ipaddress.IPv4Network(net)
    for net in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # not in the registries: a cloud's own services, as seen from its machines
    )
]  # fmt: skip
# Of IPv6 only what is given out as global unicast is public, less what is special within it or carries an IPv4 address
# that a gateway may unwrap (Teredo, 6to4, NAT64 lies outside).
_GLOBAL_6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_6 = [
    ipaddress.IPv6Network(net) for net in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
]


@dataclass(frozen=True)
class Target:
    """A parsed URL.  `path` includes the query; `trusted` targets are listed by the operator."""

    scheme: str
    host: str
    port: int
    path: str
    trusted: bool

    @property
    def authority(self) -> str:
        """Return the value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def parse(url: str) -> Target:
    """Parse a URL.  Raises Refused `invalid_url` (with a sentence) or `forbidden_address`."""
    if not 0 < len(url) <= MAX_URL or not all("!" <= char <= "~" for char in url) or "\\" in url:
        raise Refused("invalid_url", f"A URL has at most {MAX_URL} visible ASCII characters and no backslash.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise Refused("invalid_url", "This is no URL.") from error
    if parts.scheme not in PORTS or not host:
        raise Refused("invalid_url", "A URL begins with https:// and a host.")
    if not HOST.fullmatch(host):
        raise Refused("invalid_url", "A host has letters, digits, dots and hyphens, or is an address.")
    if parts.scheme == "http" and not settings.DFD_WEBHOOK_ALLOW_HTTP:
        raise Refused("invalid_url", "Only https is allowed here.")
    if "@" in parts.netloc or parts.fragment or "%" in host:
        raise Refused("invalid_url", "A URL has neither a user, nor a zone, nor a fragment here.")
    port = PORTS[parts.scheme] if port is None else port
    trusted = f"{host}:{port}" in settings.DFD_WEBHOOK_TRUSTED
    if not trusted and port not in ALLOWED_PORTS:
        ports = ", ".join(map(str, sorted(ALLOWED_PORTS)))
        raise Refused("invalid_url", f"Only the ports {ports} are allowed here.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    target = Target(parts.scheme, host, port, path, trusted)
    _check_literal(target)
    return target


def resolve(target: Target) -> list[str]:
    """Return the host's addresses, all of them allowed.  Raises Refused `unknown_host` or `forbidden_address`."""
    return _allowed(target, flags=0)


def is_public(address: str) -> bool:
    """Return whether an IPv4 or IPv6 address is public."""
    ip = ipaddress.ip_address(address.split("%", 1)[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        return ip in _GLOBAL_6 and not any(ip in net for net in _NOT_PUBLIC_6)
    return not any(ip in net for net in _NOT_PUBLIC_4)


def _check_literal(target: Target) -> None:
    """Check a host that is written as an address, without DNS: 127.0.0.1, 2130706433 and 0x7f.1 are the same."""
    try:
        _allowed(target, flags=socket.AI_NUMERICHOST)
    except Refused as refusal:
        if refusal.code != "unknown_host":  # it is a name, then
            raise


def _allowed(target: Target, *, flags: int) -> list[str]:
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM, flags=flags)
    except (OSError, UnicodeError) as error:
        raise Refused("unknown_host", "The host name cannot be resolved.") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not target.trusted and not all(map(is_public, addresses)):
        raise Refused("forbidden_address", "The host's address is not a public one.")
    return addresses
