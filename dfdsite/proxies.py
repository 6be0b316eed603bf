"""The networks in which the proxies stand whose X-Forwarded-* headers are believed."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from django.core.exceptions import ImproperlyConfigured


def networks(entries: Sequence[str], name: str) -> list[IPv4Network | IPv6Network]:
    """Parse addresses and networks (`10.0.0.0/8`).  Raises ImproperlyConfigured with the setting's `name`."""
    try:
        return [ip_network(entry.strip()) for entry in entries]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must list addresses and networks, separated by commas: {error}.") from None
