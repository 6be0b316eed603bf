"""Addresses that clients give must not lead into our own network."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest

from detection import outbound_urls
from detection.errors import Refused


@pytest.fixture(autouse=True)
def _strict(settings: Any) -> None:
    settings.DFD_WEBHOOK_ALLOW_HTTP = False
    settings.DFD_WEBHOOK_TRUSTED = []


def refusal(url: str) -> str:
    with pytest.raises(Refused) as caught:
        outbound_urls.parse(url)
    return caught.value.code


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "93.184.215.14", "2606:4700::1111", "2a00:1450:4001:81b::200e", "::ffff:8.8.8.8"],
)
def test_addresses_of_others_on_the_internet(address: str) -> None:
    assert outbound_urls.is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
        "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::8.8.8.8",
        "2002:7f00:1::", "2002:808:808::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "64:ff9b::10.0.0.1",
        "64:ff9b:1::1", "100::1",
    ],
)  # fmt: skip
def test_all_others(address: str) -> None:
    assert not outbound_urls.is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "192.0.0.192", "192.0.0.8", "192.88.99.1", "168.63.129.16", "100.100.100.200", "3fff::1", "2001:2::1",
        "2001:20::1", "64:ff9b:1::1", "5f00::1", "4000::1", "::ffff:192.0.0.192",
    ],
)  # fmt: skip
def test_what_is_public_does_not_depend_on_the_interpreter(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before CVE-2024-4032 was repaired Python called some of these global."""
    for family in (ipaddress.IPv4Address, ipaddress.IPv6Address):
        monkeypatch.setattr(family, "is_global", property(lambda self: True))
        monkeypatch.setattr(family, "is_private", property(lambda self: False))
        monkeypatch.setattr(family, "is_reserved", property(lambda self: False))
    assert not outbound_urls.is_public(address)
    assert outbound_urls.is_public("8.8.8.8")


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("https://example.org", ("https", "example.org", 443, "/")),
        ("https://Example.org/a/b?c=d", ("https", "example.org", 443, "/a/b?c=d")),
        ("https://example.org:8443?x", ("https", "example.org", 8443, "/?x")),
        ("https://[2606:4700::1111]:8080/", ("https", "2606:4700::1111", 8080, "/")),
    ],
)
def test_a_url_is_taken_apart(url: str, wanted: tuple[str, str, int, str]) -> None:
    target = outbound_urls.parse(url)
    assert (target.scheme, target.host, target.port, target.path) == wanted
    assert not target.trusted


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "example.org", "ftp://example.org", "file:///etc/passwd", "https://", "https:///path", "http://a.org",
        "https://user@example.org", "https://u:p@example.org", "https://@example.org", "https://example.org#f",
        "https://example.org:22", "https://example.org:0", "https://example.org:99999", "https://example.org:x",
        "https://example.org/a b", "https://example.org/\r\nHost: x", "https://example.org/\x00", "https://exämple.org",
        "https://example.org\\@10.0.0.1/", "https://[::1", "https://[fe80::1%25eth0]/", "https://a*.org", "https://a.org,b.org/",
        "https://example.org/" + "a" * 500,
    ],
)  # fmt: skip
def test_what_is_no_url_for_a_webhook(url: str) -> None:
    assert refusal(url) == "invalid_url"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "0", "[::1]", "[::ffff:127.0.0.1]",
        "10.1.2.3", "169.254.169.254", "[fd00:ec2::254]", "[2002:7f00:1::]",
    ],
)  # fmt: skip
def test_a_number_is_looked_at_at_once_however_it_is_written(host: str) -> None:
    assert refusal(f"https://{host}/") == "forbidden_address"


def test_plain_http_only_where_the_operator_allows_it(settings: Any) -> None:
    settings.DFD_WEBHOOK_ALLOW_HTTP = True
    target = outbound_urls.parse("http://example.org/")
    assert (target.port, target.authority) == (80, "example.org")


def test_receivers_that_the_operator_has_listed_may_be_anywhere(settings: Any) -> None:
    settings.DFD_WEBHOOK_TRUSTED = ["10.1.2.3:9000", "::1:9000"]
    target = outbound_urls.parse("https://10.1.2.3:9000/x")
    assert (target.trusted, target.authority, outbound_urls.resolve(target)) == (True, "10.1.2.3:9000", ["10.1.2.3"])
    assert outbound_urls.parse("https://[::1]:9000/").authority == "[::1]:9000"
    assert refusal("https://10.1.2.3/") == "forbidden_address"
    assert refusal("https://10.1.2.4:9000/") == "invalid_url"


def _resolving_to(*found: str) -> Any:
    def getaddrinfo(host: str, port: int, *args: Any, flags: int = 0, **kwargs: Any) -> list[Any]:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror("a name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    return getaddrinfo


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (("8.8.8.8", "1.1.1.1"), None),
        (("127.0.0.1",), "forbidden_address"),
        (("8.8.8.8", "10.0.0.1"), "forbidden_address"),
        (("::ffff:192.168.0.1",), "forbidden_address"),
    ],
)
def test_all_that_a_name_resolves_to_must_be_public(
    found: tuple[str, ...], code: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", _resolving_to(*found))
    target = outbound_urls.parse("https://hooks.example.org/")
    if code is None:
        assert outbound_urls.resolve(target) == list(found)
        return
    with pytest.raises(Refused) as caught:
        outbound_urls.resolve(target)
    assert caught.value.code == code


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*args: Any, **kwargs: Any) -> None:
        raise socket.gaierror("no")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with pytest.raises(Refused) as caught:
        outbound_urls.resolve(outbound_urls.parse("https://hooks.example.org/"))
    assert caught.value.code == "unknown_host"
