"""Requests that name a charset, of which Python knows some that are none."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from detection.api.middleware import AsgiRequest, Utf8Only, WsgiRequest
from tests.api.conftest import Caller

pytestmark = pytest.mark.django_db
Problem = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("charset", ["zlib", "idna", "punycode", "undefined", "rot13", "utf-16", "nonsense"])
def test_a_charset_other_than_utf_8_is_refused_wherever_it_is_named(
    owner: Caller, problem: Problem, charset: str
) -> None:
    part = b'--B\r\nContent-Disposition: form-data; name="username"\r\n\r\n\xff..a\r\n--B--\r\n'
    for method, path, kind, body in (
        ("post", "/api/v1/videos/", "multipart/form-data; boundary=B", part),
        ("post", "/admin/login/", "multipart/form-data; boundary=B", part),
        ("post", "/admin/login/", "application/x-www-form-urlencoded", b"username=a.%ff%fe..b"),
        ("get", "/api/v1/videos/", "text/plain", b"x"),
    ):
        answer = owner.client.generic(
            method, path, body, f"{kind}; charset={charset}", headers={"Authorization": owner.headers["Authorization"]}
        )
        problem(answer, 400, "charset_not_utf8")
    for charset_ in ("utf-8", "UTF-8", '"utf8"'):
        assert owner.client.generic("get", "/healthz", b"x", f"text/plain; charset={charset_}").status_code == 200


NAMED = ["charset=zlib", "charset=undefined", "charset=punycode", "charset*=idna''..%ff", "x*=nonsense''%ff"]


@pytest.mark.parametrize("kind", NAMED)
def test_nothing_is_decoded_by_that_charset_before_it_is_refused(kind: str) -> None:
    """Django's test client makes requests of Django's own, so these are made as the servers make them."""
    kind, query = f"text/plain; {kind}", "next=a_.%ff"
    environ = RequestFactory().get(f"/?{query}").environ | {"CONTENT_TYPE": kind}
    scope = {
        "type": "http", "method": "GET", "path": "/", "query_string": query.encode(),
        "headers": [(b"content-type", kind.encode())],
    }  # fmt: skip
    for request in (WsgiRequest(environ), AsgiRequest(scope, BytesIO())):
        assert request.GET["next"] == "a_.\ufffd"
        assert Utf8Only(lambda request: HttpResponse())(request).status_code == 400


@pytest.mark.parametrize("server", ["wsgi", "asgi"])
def test_the_servers_make_such_requests(server: str) -> None:
    text = (Path(__file__).parents[2] / "dfdsite" / f"{server}.py").read_text()
    assert f"application.request_class = {server.capitalize()}Request\n" in text
