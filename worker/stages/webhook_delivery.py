"""Sends what waits for a webhook: one worker at a time, and only to addresses that were looked at.

No redirect is followed, no proxy asked, and of the answer only the status counts.
"""

from __future__ import annotations

import io
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, RemoteDisconnected
from typing import Any
from uuid import UUID

import structlog
from django.utils import timezone

from detection import outbound_urls
from detection.errors import Refused
from detection.models import WebhookDelivery
from detection.services.jobs import webhook_deliveries
from detection.services.jobs.leases import LeaseLost
from detection.services.jobs.webhook_deliveries import Attempt, WebhookClaim

log = structlog.get_logger(__name__)

TIMEOUT_S = 10.0
"""Of a whole attempt, name server and all."""
ANSWER_BYTES = 64 * 1024
BUDGET_S = 10.0
"""After this long another webhook has its turn."""
USER_AGENT = "deepfake-desk-webhook/1"


def send(webhook_id: str, doorbell: str | None = None) -> None:
    """Send what is due to the webhook, until something fails or the time is up."""
    claim = webhook_deliveries.claim(webhook_id=UUID(webhook_id), doorbell=UUID(doorbell) if doorbell else None)
    if claim is None:
        return
    started = time.monotonic()
    try:
        while time.monotonic() - started < BUDGET_S:
            delivery = webhook_deliveries.next_due(claim=claim)
            if delivery is None:
                break
            attempt = attempted(claim, delivery)
            log.info("webhook_attempt", delivery=str(delivery.id), status=attempt.status, error=attempt.error)
            if not webhook_deliveries.record(claim=claim, delivery=delivery, attempt=attempt):
                break
    except LeaseLost:
        log.info("webhook_lost", webhook=webhook_id)
    finally:
        webhook_deliveries.release(claim=claim)


def attempted(claim: WebhookClaim, delivery: WebhookDelivery) -> Attempt:
    """One attempt.  Never raises for what the other side does."""
    at, started = timezone.now(), time.monotonic()
    timestamp = int(at.timestamp())
    signature = webhook_deliveries.sign(
        secret=claim.secret, delivery_id=delivery.id, timestamp=timestamp, body=delivery.body
    )
    headers = {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "Connection": "close",
        "webhook-id": str(delivery.id),
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature,
    }
    status, error = post(claim.url, delivery.body.encode(), headers)
    if status is not None and not 200 <= status < 300:
        unfollowed = "; redirects are not followed" if 300 <= status < 400 else ""
        error = f"The receiver answered {status}{unfollowed}."
    return Attempt(at=at.isoformat(), seconds=round(time.monotonic() - started, 3), status=status, error=error)


def post(url: str, body: bytes, headers: dict[str, str]) -> tuple[int | None, str]:
    """(status, "") or (None, a sentence), after `TIMEOUT_S` at the latest.

    A name server and a receiver that sends a byte now and then know of no time limit of ours, so it happens in a
    thread that is left to itself when the time is up, with its connection closed.
    """
    exchange = _Exchange(url, body, headers)
    thread = threading.Thread(target=exchange.run, name="webhook", daemon=True)
    thread.start()
    thread.join(TIMEOUT_S)
    if thread.is_alive():
        exchange.abandon()
        return None, f"No answer within {TIMEOUT_S:.0f} s."
    return exchange.status, exchange.error


class _Exchange:
    def __init__(self, url: str, body: bytes, headers: dict[str, str]) -> None:
        self.url, self.body, self.headers = url, body, headers
        self.status: int | None = None
        self.error = ""
        self._abandoned = threading.Event()
        self._socket: socket.socket | None = None

    def run(self) -> None:
        try:
            self.status = self._talk()
        except Refused as refusal:
            self.error = refusal.detail
        except ssl.SSLCertVerificationError as error:
            self.error = f"The receiver's certificate is not valid: {error.verify_message}."
        except TimeoutError:
            self.error = f"No answer within {TIMEOUT_S:.0f} s."
        except RemoteDisconnected:
            self.error = "The receiver closed the connection without an answer."
        except HTTPException:
            self.error = "The answer is no HTTP, or its head is too long."
        except OSError as error:
            self.error = f"The connection failed: {error.strerror or type(error).__name__}."
        finally:
            self._close()

    def abandon(self) -> None:
        self._abandoned.set()
        self._close()

    def _talk(self) -> int:
        target = outbound_urls.parse(self.url)  # the operator may have changed what is allowed
        found = outbound_urls.resolve(target)
        connection = _Pinned(target, lambda: self._connected(target, found))
        connection.request("POST", target.path, self.body, self.headers | {"Host": target.authority})
        return connection.getresponse().status

    def _connected(self, target: outbound_urls.Target, found: list[str]) -> socket.socket:
        """To one of the addresses that were looked at: they are numbers, so nothing is resolved again."""
        for index, address in enumerate(found):
            try:
                self._socket = socket.create_connection((address, target.port), timeout=TIMEOUT_S)
                break
            except OSError:
                if index == len(found) - 1 or self._abandoned.is_set():
                    raise
        assert self._socket is not None
        if target.scheme == "https":
            context = ssl.create_default_context()
            # Known to `abandon` before the handshake, which a receiver may draw out.
            secured = context.wrap_socket(self._socket, server_hostname=target.host, do_handshake_on_connect=False)
            self._socket = secured
            secured.do_handshake()
        if self._abandoned.is_set():
            raise TimeoutError
        return self._socket

    def _close(self) -> None:
        sock = self._socket
        if sock is None:
            return
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)  # wakes a thread that is reading
        sock.close()


class _Answer(HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(_Bounded(sock), *args, **kwargs)  # type: ignore[arg-type]


class _Bounded:
    """What HTTPResponse asks of a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_FirstBytes(self._sock))


class _FirstBytes(io.RawIOBase):
    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._left = sock, ANSWER_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._sock.recv_into(memoryview(buffer)[: self._left]) if self._left else 0
        self._left -= count
        return count


class _Pinned(HTTPConnection):
    """Speaks HTTP over the connection that it is given, and reads no more than the first bytes of an answer."""

    response_class = _Answer

    def __init__(self, target: outbound_urls.Target, connected: Callable[[], socket.socket]) -> None:
        super().__init__(target.host, target.port)
        self._connected = connected

    def connect(self) -> None:
        self.sock = self._connected()
