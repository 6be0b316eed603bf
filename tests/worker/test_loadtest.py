"""The load test measures the product's own stack, says what it found, and fails where it should."""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.weights import save_tiny
from worker.bench.load import report as loadtest_shown
from worker.bench.load import stack
from worker.bench.load.client import Load, Plan, _quantile

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / "demo" / "clips" / "blended-fake.mp4"


class Slow(BaseHTTPRequestHandler):
    """A server with one task that never ends; every third poll of it takes long, or fails."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    stall_s, broken = 0.0, False
    polls = 0
    deleted: list[str] = []

    def do_GET(self) -> None:
        status = 200
        if "/tasks/" in self.path:
            type(self).polls += 1
            if self.polls % 3 == 0:
                threading.Event().wait(self.stall_s)
                status = 500 if self.broken else 200
        self._answer(status, {"state": "running"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(202, {"id": "v", "task": {"id": "t"}})

    def do_DELETE(self) -> None:
        self.deleted.append(self.path)
        self._answer(200, {})

    def log_message(self, *_: Any) -> None:
        """Silent."""

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Slow, "polls", 0)
    monkeypatch.setattr(Slow, "deleted", [])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text("one\ntwo\n")
    return path


def run(*arguments: object) -> tuple[dict[str, Any], str]:
    """The report, and the complaint if there is one."""
    out, complaint = StringIO(), ""
    try:
        call_command("loadtest", *map(str, arguments), "--json", stdout=out, stderr=StringIO())
    except CommandError as error:
        complaint = str(error)
    return json.loads(out.getvalue() or "{}"), complaint


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_the_products_own_stack_answers_while_its_worker_is_busy(tmp_path: Path) -> None:
    weights = tmp_path / "tiny.safetensors"
    save_tiny(weights, name="tiny", seed=0)
    report, complaint = run(
        "--clients=6", "--seconds=3", "--warmup=1", "--pace=0.3", f"--weights={weights}", "--limit-ms=20000"
    )
    assert complaint == ""
    assert report["errors"] == {}
    assert report["uploaded"] >= 6
    polling = report["polling"]
    assert polling["requests"] == sum(f["requests"] for name, f in report["endpoints"].items() if name != "upload")
    assert 30 < polling["requests"] < 90  # six clients, three seconds, a third of a second
    assert 0 < polling["p50_ms"] <= polling["p95_ms"] <= polling["p99_ms"] <= polling["max_ms"] < 20_000
    assert report["memory"]["processes"] == 1 + min(2, report["machine"]["cores"])
    assert 20 < report["memory"]["start_mb"] <= report["memory"]["most_mb"] < 1000
    assert report["cores_used"]["worker"] > 0
    table = loadtest_shown.table(report)
    assert "errors: none" in table
    assert re.search(r"^task +\d", table, re.MULTILINE)


def test_a_request_that_waited_for_a_late_answer_waits_on_the_servers_account(
    slow: str, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Slow, "stall_s", 0.6)
    report, complaint = run(
        "--url", slow, "--token-file", token_file, "--clip", CLIP,
        "--clients=1", "--seconds=2", "--warmup=1", "--pace=0.1", "--limit-ms=500", "--pid", os.getpid(),
    )  # fmt: skip
    polling = report["polling"]
    assert polling["p50_ms"] > 500  # ten a second are due, five are answered
    assert polling["p99_ms"] > polling["p99_sent_ms"] + 200
    assert "over the limit of 500 ms" in complaint
    assert report["memory"]["start_mb"] > 10
    assert Slow.deleted == ["/api/v1/videos/v/"]


def test_what_could_never_be_sent_is_an_error_and_the_test_ends_in_time(
    slow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Slow, "stall_s", 2.0)
    plan = Plan(
        url=slow, tokens=["one"], clips=[str(CLIP)], clients=1, seconds=2, warmup_s=0, pace_s=0.05, uploads=1,
        grace_s=0.1,
    )  # fmt: skip
    began = time.monotonic()
    result = asyncio.run(Load(plan, lambda line: None).run())
    assert time.monotonic() - began < 60
    assert sum(n for name, n in result["errors"].items() if name.startswith("never sent")) > 10


def test_an_error_is_counted_and_fails_the_command(
    slow: str, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Slow, "broken", True)
    report, complaint = run(
        "--url", slow, "--token-file", token_file, "--clip", CLIP, "--limit-ms=20000",
        "--clients=3", "--seconds=2", "--warmup=1", "--pace=0.1",
    )  # fmt: skip
    assert report["errors"]["task 500"] > 3
    assert "requests failed" in complaint
    assert report["memory"] is None


def test_back_to_back_ends_after_so_many_requests(slow: str, token_file: Path) -> None:
    report, complaint = run(
        "--url", slow, "--token-file", token_file, "--clip", CLIP, "--pid", os.getpid(), "--limit-mb=10000",
        "--flat", "--requests=1500", "--seconds=100", "--warmup=1", "--clients=4",
    )  # fmt: skip
    assert complaint == ""
    assert report["mode"] == "flat"
    assert report["seconds"] < 60
    assert report["memory"]["most_mb"] >= report["memory"]["end_mb"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--url", "http://127.0.0.1:9"], "--token-file"),
        (["--token-file", "x"], "goes with --url"),
        (["--requests", "5"], "goes with --flat"),
        (["--pace", "0"], "--flat"),
        (["--clip", "nowhere.mp4"], "nowhere.mp4"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(arguments: list[str], said: str) -> None:
    assert said in run(*arguments)[1]


def test_a_server_that_does_not_answer_is_named(token_file: Path) -> None:
    assert (
        "http://127.0.0.1:9/healthz does not answer" in run("--url=http://127.0.0.1:9", "--token-file", token_file)[1]
    )


def test_the_slope_of_memory_is_that_of_the_points() -> None:
    steady = [(n, 100_000_000 + 25 * n) for n in range(0, 100_000, 1000)]
    assert stack.slope_of(steady) == pytest.approx(25)
    assert stack.slope_of([(0, 5), (500, 9), (900, 12)]) is None  # too few requests to tell
    report = {"errors": {}, "mode": "flat", "memory": {"mb_per_10000": 2.5}}
    (sentence,) = loadtest_shown.complaints(report, limit_mb=1.0)
    assert "2.50 MB per 10,000" in sentence
    assert loadtest_shown.complaints(report, limit_mb=3.0) == []


def test_a_quantile_is_a_value_that_was_seen() -> None:
    assert _quantile([], 0.99) == 0.0
    assert _quantile([1, 2, 3, 4], 0.5) == 2
    assert _quantile(range(1, 101), 0.99) == 99
    assert _quantile([7], 0.5) == 7
