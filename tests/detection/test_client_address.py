"""Whose word on a client's address and on https is believed, where DFD_TRUSTED_PROXIES names the proxies."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from detection.models import AuditAction, AuditEntry
from dfdsite import environment

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("peer", "said", "expected"),
    [
        ("10.0.0.1", "203.0.113.9, 198.51.100.2, 10.0.0.7", "198.51.100.2"),  # past both proxies, and no further
        ("::ffff:10.0.0.1", "198.51.100.2", "198.51.100.2"),
        ("2001:db8::5", "203.0.113.9, 2001:db8:1::7", "2001:db8:1::7"),
        ("10.0.0.1", "10.0.0.8, 10.0.0.7", "10.0.0.8"),  # asked from a proxy itself
        ("10.0.0.1", "203.0.113.9, nonsense", None),  # nobody, rather than anybody
        ("10.0.0.1", "", "10.0.0.1"),
        ("192.0.2.7", "198.51.100.2", "192.0.2.7"),
    ],
)
def test_only_the_named_proxies_are_believed(
    settings: Any, monkeypatch: pytest.MonkeyPatch, peer: str, said: str, expected: str | None
) -> None:
    monkeypatch.setenv("NAME", "10.0.0.0/8, 2001:db8::/48")
    settings.DFD_TRUSTED_PROXIES = environment.networks("NAME")
    client = Client(REMOTE_ADDR=peer, headers={"x-forwarded-for": said} if said else {})
    client.post("/admin/login/", {"username": "nobody", "password": "wrong"})
    assert AuditEntry.objects.get(action=AuditAction.LOGIN_FAILED).address == expected


def test_https_is_the_word_of_the_named_proxies(settings: Any) -> None:
    settings.DFD_TRUSTED_PROXIES = [ip_network("10.0.0.1")]
    settings.SECURE_PROXY_SSL_HEADER, settings.SECURE_SSL_REDIRECT = ("HTTP_X_FORWARDED_PROTO", "https"), True

    def status(peer: str) -> int:
        answer = Client(REMOTE_ADDR=peer, headers={"x-forwarded-proto": "https"}).get("/admin/login/")
        return answer.status_code

    assert (status("10.0.0.1"), status("10.0.0.2")) == (200, 301)


def test_a_network_that_is_none_stops_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAME", "10.0.0.0/33")
    with pytest.raises(ImproperlyConfigured, match="NAME must list addresses and networks"):
        environment.networks("NAME")
