"""The product behind real nginx and Caddy: uploads that break, ranges, event streams, and who is believed."""

from __future__ import annotations

import http.client
import json
import re
import socket
import sqlite3
import ssl
from collections.abc import Iterator
from contextlib import closing
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import requests

from deepfake_desk_client import Client
from detection.admin.login import OF_NAME_AT_ADDRESS
from tests.api.conftest import mp4
from tests.proxies.servers import HOST, Caddy, Nginx, Proxy
from tests.stack import Stack, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
TUS = {"Tus-Resumable": "1.0.0"}
PIECE = TUS | {"Content-Type": "application/offset+octet-stream"}
SIZE = 4_000_000
ELSEWHERE = "127.0.0.2"
"""Where clients call from, so that they are told from the proxy, which is at 127.0.0.1."""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Its web server alone: what is uploaded stays queued."""
    stack = Stack(static=True, DFD_HTTPS="true", DFD_TRUSTED_PROXIES="127.0.0.1")
    try:
        stack.start_web()
        yield stack
    finally:
        stack.close()


@pytest.fixture(scope="module", params=[Nginx, Caddy], ids=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest, stack: Stack) -> Iterator[Proxy]:
    proxy = request.param(stack.port)
    yield proxy
    proxy.close()


@pytest.fixture
def desk(stack: Stack, proxy: Proxy) -> Client:
    session = requests.Session()
    session.trust_env, session.verify = False, str(proxy.certificate)
    return Client(proxy.url, stack.token, session=session)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Another one each time: the same content again would be the video that is there."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(mp4(size=SIZE))
    return path


def call(
    proxy: Proxy, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    """From ELSEWHERE; headers as they come, also those that come twice."""
    context = ssl.create_default_context(cafile=str(proxy.certificate))
    connection = http.client.HTTPSConnection(
        HOST, proxy.port, timeout=60, source_address=(ELSEWHERE, 0), context=context
    )
    with closing(connection):
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer, answer.read()


def begin(proxy: Proxy, token: str, path: Path) -> tuple[str, dict[str, str]]:
    """An upload in pieces: its address, and the headers that go on."""
    authorization = {"Authorization": f"Token {token}"}
    answer, _ = call(
        proxy, "POST", "/api/v1/uploads/", TUS | authorization | {"Upload-Length": str(path.stat().st_size)}
    )
    assert answer.status == 201
    address = str(answer.headers["Location"])
    assert address.startswith(f"{proxy.url}/api/v1/uploads/")
    return address, authorization


# --- uploads ---------------------------------------------------------------------------------------------------------


def test_an_upload_whose_connection_breaks_goes_on_where_it_broke(
    stack: Stack, proxy: Proxy, desk: Client, clip: Path
) -> None:
    address, authorization = begin(proxy, stack.token, clip)
    path = urlsplit(address).path
    lines = {"Host": f"{HOST}:{proxy.port}", "Content-Length": str(SIZE), "Upload-Offset": "0"} | PIECE | authorization
    head = f"PATCH {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
    context = ssl.create_default_context(cafile=str(proxy.certificate))
    with context.wrap_socket(socket.create_connection((HOST, proxy.port), timeout=60), server_hostname=HOST) as line:
        line.sendall(head.encode() + clip.read_bytes()[: SIZE // 2])
        line.shutdown(socket.SHUT_WR)  # without a word of TLS; what has been sent is still delivered
        while line.recv(65536):
            pass

    def arrived() -> int:
        answer, _ = call(proxy, "HEAD", path, TUS | authorization)
        return int(answer.headers.get("Upload-Offset", "0"))

    wait_for(lambda: arrived() > 0, "what came before the connection broke", timeout_s=60)
    assert arrived() <= SIZE // 2
    video = desk.resume(address, clip)
    assert desk.download(f"{proxy.url}/api/v1/videos/{video.id}/media/original") == clip.read_bytes()


def test_an_upload_in_one_request_may_be_large(proxy: Proxy, desk: Client, clip: Path) -> None:
    assert desk.upload(clip, in_pieces=False).size_bytes == SIZE
    if isinstance(proxy, Nginx):  # Caddy leaves other bodies to the program
        answer, _ = call(proxy, "POST", "/api/v1/webhooks/", {"Content-Type": "application/json"}, b" " * SIZE)
        assert (answer.status, answer.headers["Content-Type"]) == (413, "text/html")


def test_a_refusal_reaches_a_client_that_is_still_sending(stack: Stack, proxy: Proxy, clip: Path) -> None:
    headers = PIECE | {"Authorization": f"Token {stack.token}", "Upload-Offset": "0"}
    path = "/api/v1/uploads/00000000-0000-4000-8000-000000000000/"
    answer, body = call(proxy, "PATCH", path, headers, clip.read_bytes())
    assert (answer.status, b'"not_found"' in body) == (404, True)


# --- what comes back -------------------------------------------------------------------------------------------------


def test_a_player_seeks_by_ranges(stack: Stack, proxy: Proxy, desk: Client, clip: Path) -> None:
    content, path = clip.read_bytes(), f"/api/v1/videos/{desk.upload(clip).id}/media/original"
    authorization = {"Authorization": f"Token {stack.token}"}
    for asked, start, end in (("0-1", 0, 2), ("1000000-2999999", 1_000_000, 3_000_000), ("-500", SIZE - 500, SIZE)):
        answer, body = call(proxy, "GET", path, authorization | {"Range": f"bytes={asked}"})
        assert (answer.status, answer.headers["Content-Range"]) == (206, f"bytes {start}-{end - 1}/{SIZE}")
        assert body == content[start:end]
        unchanged, _ = call(proxy, "GET", path, authorization | {"If-None-Match": str(answer.headers["ETag"])})
        assert unchanged.status == 304
    answer, _ = call(proxy, "GET", path, authorization | {"Range": f"bytes={SIZE}-"})
    assert answer.status == 416


def test_events_arrive_one_by_one(stack: Stack, proxy: Proxy, desk: Client, clip: Path) -> None:
    task = desk.upload(clip).task
    assert task is not None
    seen = []
    with desk._call("GET", f"tasks/{task.id}/events/", stream=True) as stream:
        # Each is waited for before the next can happen: a stream that is held back ends the test.
        events = (json.loads(line[6:]) for line in stream.iter_lines(chunk_size=1) if line.startswith(b"data: "))
        for progress in (7, 23):
            seen.append(next(events)["progress"])
            with closing(sqlite3.connect(stack.var / "db.sqlite3", timeout=60)) as database, database:
                database.execute("UPDATE detection_analysis SET progress = ? WHERE id = ?", (progress, task.id.hex))
        seen.append(next(events)["progress"])
        desk.cancel(task)
        assert (seen, next(events)["state"], list(events)) == ([0, 7, 23], "failed", [])


def test_security_headers_come_once_and_static_files_are_kept(proxy: Proxy) -> None:
    login, page = call(proxy, "GET", "/admin/login/")
    names = (
        "Strict-Transport-Security", "Content-Security-Policy", "Permissions-Policy", "X-Frame-Options",
        "X-Content-Type-Options", "Referrer-Policy", "Cross-Origin-Opener-Policy",
    )  # fmt: skip
    assert {name: len(login.headers.get_all(name, [])) for name in names} == dict.fromkeys(names, 1)
    assert len(login.headers.get_all("Server", [])) <= 1
    sheet = re.search(rb'"(/static/detection/admin\.[0-9a-f]+\.css)"', page)
    assert sheet is not None
    static, _ = call(proxy, "GET", sheet[1].decode(), {"Accept-Encoding": "gzip"})
    assert (static.status, static.headers["Content-Encoding"]) == (200, "gzip")
    assert "immutable" in static.headers["Cache-Control"]


# --- who is believed -------------------------------------------------------------------------------------------------


def forged(number: int) -> dict[str, str]:
    """All the ways to say that one is somebody else, over http."""
    return {
        "X-Forwarded-For": f"203.0.113.{number}",
        "X_Forwarded_For": f"203.0.113.{number}",
        "X-Real-IP": f"203.0.113.{number}",
        "Forwarded": f"for=203.0.113.{number};proto=http",
        "X-Forwarded-Proto": "http",
        "X_Forwarded_Proto": "http",
        "X-Forwarded-Host": "evil.example.org",
    }


def attempts(proxy: Proxy, name: str, count: int) -> list[int]:
    """Log in with a wrong password, each time as somebody else."""
    first, _ = call(proxy, "GET", "/admin/login/", forged(0))
    assert first.status == 200  # not sent to https: it is https
    cookie = SimpleCookie(first.headers["Set-Cookie"])["csrftoken"]
    assert cookie["secure"]
    body = urlencode({"username": name, "password": "wrong", "csrfmiddlewaretoken": cookie.value}).encode()
    headers = {
        "Cookie": f"csrftoken={cookie.value}",
        "Referer": f"{proxy.url}/admin/login/",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    return [call(proxy, "POST", "/admin/login/", headers | forged(k), body)[0].status for k in range(count)]


def test_a_forged_address_changes_neither_who_is_counted_nor_what_is_recorded(stack: Stack, proxy: Proxy) -> None:
    statuses = attempts(proxy, f"nobody at {proxy.name}", OF_NAME_AT_ADDRESS + 1)
    assert statuses == [200] * OF_NAME_AT_ADDRESS + [429]
    with closing(sqlite3.connect(stack.var / "db.sqlite3", timeout=60)) as database:
        recorded = database.execute("SELECT DISTINCT address FROM detection_auditentry WHERE action = 'login_failed'")
        assert recorded.fetchall() == [(ELSEWHERE,)]


def test_plain_http_is_sent_to_https_whatever_it_says(proxy: Proxy) -> None:
    with closing(http.client.HTTPConnection(HOST, proxy.http_port, timeout=60)) as connection:
        connection.request("GET", "/admin/login/", headers={"X-Forwarded-Proto": "https"})
        answer = connection.getresponse()
        answer.read()
    assert answer.status in (301, 308)
    assert str(answer.headers["Location"]).startswith(f"https://{HOST}")


def test_past_the_proxies_nobody_is_believed(stack: Stack) -> None:
    def status(source: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=60, source_address=(source, 0))
        with closing(connection):
            connection.request("GET", "/admin/login/", headers={"X-Forwarded-Proto": "https", "Host": HOST})
            answer: Any = connection.getresponse()
            answer.read()
            return int(answer.status)

    assert (status("127.0.0.1"), status(ELSEWHERE)) == (200, 301)
