"""Sending to real receivers on this machine: what is followed, waited for and read, and to whom nothing is sent."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User

from detection import dispatch
from detection.models import DeliveryState, Webhook, WebhookDelivery
from detection.services.jobs import webhook_deliveries as rows
from worker.stages import webhook_delivery

pytestmark = pytest.mark.django_db
Answer = Callable[[Any], None]


class Receiver(ThreadingHTTPServer):
    """A client's server; `answer` is called with each request's handler."""

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.seen.append((self.path, dict(self.headers), body))
                with suppress(OSError):
                    answer(self)

            def log_message(self, *args: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


def status(code: int, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@contextmanager
def receiving(answer: Answer, settings: Any, *, trusted: bool = True) -> Iterator[Receiver]:
    receiver = Receiver(answer)
    thread = threading.Thread(target=receiver.serve_forever, daemon=True)
    thread.start()
    settings.DFD_WEBHOOK_ALLOW_HTTP = True
    settings.DFD_WEBHOOK_TRUSTED = [f"127.0.0.1:{receiver.server_port}"] if trusted else []
    try:
        yield receiver
    finally:
        receiver.shutdown()
        receiver.server_close()


@pytest.fixture(autouse=True)
def bell(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    rung: list[str] = []

    def publish(task: str, args: list[str]) -> bool:
        rung.append(task)
        return True

    monkeypatch.setattr(dispatch, "_publish", publish)
    return rung


def hook_to(port: int, path: str = "/hook?key=1", *, deliveries: int = 1, scheme: str = "http") -> Webhook:
    """Made past the checks of registering, as one would be whose name has been led elsewhere since."""
    owner = User.objects.create_user(f"owner {uuid4()}")
    url = f"{scheme}://127.0.0.1:{port}{path}"
    hook = Webhook.objects.create(owner=owner, url=url, secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    for number in range(deliveries):
        WebhookDelivery.objects.create(
            webhook=hook, event="task.finished", video_id=uuid4(), task_id=uuid4(), body=json.dumps({"n": number})
        )
    return hook


def newest_error() -> str:
    return str(WebhookDelivery.objects.get().log[-1]["error"])


def test_a_signed_body_arrives_once_and_is_taken_for_delivered(settings: Any) -> None:
    with receiving(status(204), settings) as receiver:
        hook = hook_to(receiver.server_port)
        webhook_delivery.send(str(hook.id))
        webhook_delivery.send(str(hook.id))  # a duplicate message
        webhook_delivery.send(str(hook.id), str(uuid4()))  # one whose copy came before
    ((path, headers, body),) = receiver.seen
    delivery = WebhookDelivery.objects.get()
    assert path == "/hook?key=1"
    assert headers["Host"] == f"127.0.0.1:{receiver.server_port}"
    assert headers["Content-Type"] == "application/json"
    assert body.decode() == delivery.body
    assert headers["webhook-id"] == str(delivery.id)
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert headers["webhook-signature"] == rows.sign(
        secret=hook.secret,
        delivery_id=delivery.id,
        timestamp=int(headers["webhook-timestamp"]),
        body=body.decode(),
    )
    assert (delivery.state, delivery.attempts, delivery.log[0]["status"]) == (DeliveryState.DELIVERED, 1, 204)


def test_all_that_waits_is_sent_in_order_until_one_fails(settings: Any) -> None:
    answers = iter([200, 200, 500])
    with receiving(lambda handler: status(next(answers))(handler), settings) as receiver:
        webhook_delivery.send(str(hook_to(receiver.server_port, deliveries=5).id))
    assert [json.loads(body)["n"] for _, _, body in receiver.seen] == [0, 1, 2]
    assert WebhookDelivery.objects.filter(state=DeliveryState.DELIVERED).count() == 2
    hook = Webhook.objects.get()
    assert (hook.failures, hook.last_error, hook.token) == (1, "The receiver answered 500.", None)


def test_a_redirect_is_not_followed(settings: Any) -> None:
    with receiving(status(200), settings) as inner:
        target = f"http://127.0.0.1:{inner.server_port}/inside"
        with receiving(status(307, Location=target), settings) as receiver:
            settings.DFD_WEBHOOK_TRUSTED += [f"127.0.0.1:{inner.server_port}"]
            webhook_delivery.send(str(hook_to(receiver.server_port).id))
    assert inner.seen == []
    assert newest_error() == "The receiver answered 307; redirects are not followed."


def test_nothing_is_sent_into_our_own_network(settings: Any) -> None:
    with receiving(status(200), settings, trusted=False) as receiver:
        for host in ("127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]", "0.0.0.0"):
            url = f"http://{host}:{receiver.server_port}/"
            found = webhook_delivery.post(url, b"{}", {})
            assert found[0] is None, url
            port_allowed = url.replace(str(receiver.server_port), "8080")
            status_, error = webhook_delivery.post(port_allowed, b"{}", {})
            assert (status_, error) == (None, "The host's address is not a public one."), url
    assert receiver.seen == []


def test_a_name_is_resolved_once_and_that_very_address_is_called(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that answers differently the second time (DNS rebinding) gains nothing."""
    asked: list[str] = []
    connected: list[Any] = []

    def getaddrinfo(host: str, port: int, *args: Any, flags: int = 0, **kwargs: Any) -> list[Any]:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror("a name")
        asked.append(host)
        address = "93.184.215.14" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def create_connection(address: tuple[str, int], **kwargs: Any) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket, "create_connection", create_connection)
    found = webhook_delivery.post("https://rebinding.example.org/", b"{}", {})
    assert found == (None, "The connection failed: Connection refused.")
    assert asked == ["rebinding.example.org"]
    assert connected == [("93.184.215.14", 443)]


@pytest.mark.parametrize("slow", ["silent", "head byte by byte", "body without end"])
def test_a_receiver_that_takes_its_time_is_left(settings: Any, monkeypatch: pytest.MonkeyPatch, slow: str) -> None:
    monkeypatch.setattr(webhook_delivery, "TIMEOUT_S", 30.0 if slow == "body without end" else 1.0)
    over = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if slow == "silent":
            over.wait(600)
            return
        line = b"HTTP/1.1 200 OK\r\nX: " if slow == "head byte by byte" else b"HTTP/1.1 200 OK\r\n\r\n"
        handler.wfile.write(line)
        while not over.wait(0.1):
            handler.wfile.write(b"x")

    with receiving(answer, settings) as receiver:
        started = time.monotonic()
        webhook_delivery.send(str(hook_to(receiver.server_port).id))
        took = time.monotonic() - started
        over.set()
    assert took < 60
    delivery = WebhookDelivery.objects.get()
    if slow == "body without end":  # the status is all that counts
        assert delivery.state == DeliveryState.DELIVERED
    else:
        assert newest_error() == "No answer within 1 s."


def test_of_an_endless_head_no_more_than_the_first_bytes_are_read(settings: Any) -> None:
    sent = 0

    def answer(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for _ in range(20_000):
            handler.wfile.write(b"X-Long: " + b"x" * 1000 + b"\r\n")
            sent += 1010
        handler.wfile.write(b"\r\n")

    with receiving(answer, settings) as receiver:
        webhook_delivery.send(str(hook_to(receiver.server_port).id))
    assert WebhookDelivery.objects.get().state == DeliveryState.DELIVERED
    assert sent < 15_000_000  # what is on its way fills the sockets' buffers; the rest was never taken


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "The answer is no HTTP, or its head is too long."),
        (b"", "The receiver closed the connection without an answer."),
    ],
)
def test_who_does_not_speak_http(settings: Any, said: bytes, error: str) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(said)
        handler.close_connection = True

    with receiving(answer, settings) as receiver:
        webhook_delivery.send(str(hook_to(receiver.server_port).id))
    assert newest_error() == error


def test_nobody_there(settings: Any) -> None:
    with receiving(status(200), settings) as receiver:
        port = receiver.server_port
    webhook_delivery.send(str(hook_to(port).id))
    assert newest_error() == "The connection failed: Connection refused."


@pytest.mark.parametrize("known", [True, False])
def test_over_tls_the_certificate_is_checked(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=hook",
            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate),
        ],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    if known:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with receiving(status(200), settings) as receiver:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
        webhook_delivery.send(str(hook_to(receiver.server_port, scheme="https").id))
    delivery = WebhookDelivery.objects.get()
    if known:
        assert delivery.state == DeliveryState.DELIVERED
    else:
        assert receiver.seen == []
        assert newest_error().startswith("The receiver's certificate is not valid: self-signed certificate")


def test_one_that_was_removed_is_sent_nothing(settings: Any) -> None:
    with receiving(status(200), settings) as receiver:
        hook = hook_to(receiver.server_port, deliveries=3)
        rows.remove(webhook=hook)
        webhook_delivery.send(str(hook.id))
    assert receiver.seen == []


def test_after_its_time_another_webhook_has_its_turn(
    settings: Any, monkeypatch: pytest.MonkeyPatch, bell: list[str], django_capture_on_commit_callbacks: Any
) -> None:
    monkeypatch.setattr(webhook_delivery, "BUDGET_S", 0.0)
    with receiving(status(200), settings) as receiver:
        webhook_delivery.send(str(hook_to(receiver.server_port, deliveries=2).id))
    assert receiver.seen == []
    assert bell == ["worker.tasks.send_webhooks"]  # the rest is told of again
