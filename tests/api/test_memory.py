"""A real web server, and what a large upload and its download cost it."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.api.conftest import mp4
from tests.stack import Stack, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.e2e]
MEGABYTE = 1024 * 1024
UPLOAD_BYTES = 300 * MEGABYTE
ALLOWED_BYTES = 60 * MEGABYTE
"""Far below the upload, so that a whole copy (or a third of one) in memory is seen."""


@dataclass(frozen=True)
class Server:
    port: int
    token: str
    process: psutil.Process
    media: Path

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)

    def peak_bytes(self) -> int:
        """The most memory that the worker has ever had (its high-water mark)."""
        (worker,) = self.process.children()
        status = Path(f"/proc/{worker.pid}/status").read_text()
        match = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert match is not None
        return int(match[1]) * 1024


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Gunicorn with one worker, as in production, on an own database; no broker."""
    if not Path("/proc/self/status").exists():
        pytest.skip("memory is read from /proc")
    stack = Stack()
    try:
        stack.start_web()
        yield Server(stack.port, stack.token, psutil.Process(stack.processes["web"].pid), stack.var / "media")
    finally:
        stack.close()


def upload(server: Server, size: int) -> tuple[int, dict[str, str]]:
    """Send a video of `size` bytes, made on the way; returns status and body."""
    start = mp4()
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="large.mp4"\r\n\r\n' + start
    tail = b"\r\n--b--\r\n"
    piece = b"\x00" * MEGABYTE

    def body() -> Iterator[bytes]:
        yield head
        left = size - len(start)
        while left > 0:
            yield piece[: min(left, MEGABYTE)]
            left -= MEGABYTE
        yield tail

    connection = server.connect()
    connection.request(
        "POST",
        "/api/v1/videos/",
        body=body(),
        headers={
            "Authorization": f"Token {server.token}",
            "Content-Type": "multipart/form-data; boundary=b",
            "Content-Length": str(len(head) + size - len(start) + len(tail)),
        },
    )
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def test_a_large_upload_and_its_download_cost_the_web_process_little_memory(server: Server) -> None:
    assert upload(server, MEGABYTE)[0] == 202  # everything is imported and warm
    before = server.peak_bytes()
    status, video = upload(server, UPLOAD_BYTES)
    assert status == 202
    assert int(video["size_bytes"]) == UPLOAD_BYTES
    assert server.peak_bytes() - before < ALLOWED_BYTES

    connection = server.connect()
    connection.request(
        "GET", f"/api/v1/videos/{video['id']}/media/original", headers={"Authorization": f"Token {server.token}"}
    )
    response = connection.getresponse()
    received = 0
    while piece := response.read(MEGABYTE):
        received += len(piece)
    assert received == UPLOAD_BYTES
    assert server.peak_bytes() - before < ALLOWED_BYTES


def test_a_client_that_hangs_up_in_the_middle_leaves_no_file_behind(server: Server) -> None:
    connection = server.connect()
    connection.putrequest("POST", "/api/v1/videos/")
    connection.putheader("Authorization", f"Token {server.token}")
    connection.putheader("Content-Type", "multipart/form-data; boundary=b")
    connection.putheader("Content-Length", str(50 * MEGABYTE))
    connection.endheaders()
    connection.send(
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n' + mp4(size=MEGABYTE)
    )
    incoming = server.media.parent / "incoming"
    videos = len(list(server.media.rglob("original*")))
    wait_for(lambda: len(list(incoming.iterdir())) == 1, "a file that is being received")
    connection.close()
    wait_for(lambda: not list(incoming.iterdir()), "the end of what was received")
    assert len(list(server.media.rglob("original*"))) == videos
