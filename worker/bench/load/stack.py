"""The load test: the product as `up` runs it or a server elsewhere, and clients in a process of their own.

The stack lives in a scratch folder; the configured database and files are not touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings

from worker.bench.load.client import Plan
from worker.process import host
from worker.process.supervisor import end_with_parent

READY_S = 120
STEP = 10_000
LEAST = 1_000
WARM_SHARE = 0.25
"""Of a flat run, before its memory counts: caches and allocators fill up first."""
NOTHING_OF_OURS = ("DATABASE_URL", "REDIS_URL", "DFD_S3_BUCKET", "DFD_HTTPS", "DFD_DEBUG", "DFD_ALLOWED_HOSTS")


class LoadTestError(Exception):
    """The load test cannot be done; the message is a sentence."""


@dataclass(frozen=True)
class Server:
    """What is measured.  `web` and `worker` are the processes at the head of each, where they run on this machine."""

    url: str
    tokens: list[str]
    web: psutil.Process | None = None
    worker: psutil.Process | None = None


@dataclass
class ResourceMonitor:
    """Memory of the web processes (resident bytes) by requests done, and processor seconds of web, worker, others."""

    server: Server
    memory: list[tuple[int, int]] = field(default_factory=list)
    warm_at: int | None = None
    """Of `memory`, the first after warming up."""
    _used: list[tuple[float, float, float, float]] = field(default_factory=list)

    def sample(self, line: dict[str, Any]) -> None:
        """Before the clients begin, and once a second with what they say."""
        self.memory.append((int(line["done"]), sum(_resident(p) for p in family(self.server.web))))
        if line["warm"]:
            if self.warm_at is None:
                self.warm_at = len(self.memory) - 1
            web, worker, ours = (
                _seconds(family(head)) for head in (self.server.web, self.server.worker, psutil.Process())
            )
            self._used.append((time.monotonic(), web, worker, _machine_seconds() - ours))

    def cores(self) -> dict[str, float] | None:
        """Cores used on the mean since the warm-up: by web, by the worker and its children, by what is none of this.

        With a server that was there already, it is among the others.
        """
        if len(self._used) < 2:
            return None
        first, last = self._used[0], self._used[-1]
        passed = last[0] - first[0]
        return {
            name: round((last[k] - first[k]) / passed, 2) for k, name in enumerate(("web", "worker", "others"), start=1)
        }

    def memory_report(self) -> dict[str, Any] | None:
        """Resident bytes of the web processes, and how they grew by requests; None where they do not run here."""
        if self.server.web is None or not self.memory:
            return None
        warm = self.memory[self.warm_at] if self.warm_at is not None else self.memory[-1]
        rest = [(done, size) for done, size in self.memory if done >= warm[0]]
        slope = slope_of(rest)
        return {
            "processes": len(family(self.server.web)),
            "start_mb": _mb(self.memory[0][1]),
            "warm_mb": _mb(warm[1]),
            "end_mb": _mb(self.memory[-1][1]),
            "most_mb": _mb(max(size for _, size in self.memory)),
            "requests_since_warm": self.memory[-1][0] - warm[0],
            "mb_per_10000": None if slope is None else round(slope * STEP / 1e6, 3),
        }


def slope_of(points: Sequence[tuple[int, int]]) -> float | None:
    """Least squares over (requests, bytes), in bytes a request; None where there are too few requests to tell."""
    if len(points) < 3 or points[-1][0] - points[0][0] < LEAST:
        return None
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def measure(server: Server, plan: Plan, *, limit_ms: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Let the clients loose on the server; the report as the command prints it.  Raises LoadTestError."""
    monitor, flat = ResourceMonitor(server), plan.pace_s == 0
    monitor.sample({"done": 0, "warm": False})
    result = _clients(plan, monitor, say)
    if flat and monitor.memory:
        enough = monitor.memory[-1][0] * WARM_SHARE
        monitor.warm_at = next(k for k, (done, _) in enumerate(monitor.memory) if done >= enough)
    return {
        "url": plan.url,
        "mode": "flat" if flat else "polling",
        "clients": plan.clients,
        "pace_s": plan.pace_s,
        "limit_ms": limit_ms,
        **result,
        "memory": monitor.memory_report(),
        "cores_used": monitor.cores(),
        "machine": host.facts(),
    }


def _clients(plan: Plan, monitor: ResourceMonitor, say: Callable[[str], None]) -> dict[str, Any]:
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.bench.load.client"],
        cwd=settings.BASE_DIR, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=end_with_parent,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(asdict(plan)))
        process.stdin.close()
        for text in process.stdout:
            line = json.loads(text)
            if "result" in line:
                return dict(line["result"])
            if "error" in line:
                raise LoadTestError(line["error"])
            monitor.sample(line)
            say(f"{line['done']:,} requests, {line['ended']} videos done")
    finally:
        process.kill()
        process.wait()
    raise LoadTestError(f"The process of the clients has ended with {process.returncode}; what it said is above.")


# --- the product's own stack ------------------------------------------------------------------------------------------


@contextmanager
def own_stack(*, users: int, say: Callable[[str], None], weights: Path | None = None, **more: str) -> Iterator[Server]:
    """Broker, worker, beat and web by `manage.py up`, in a scratch folder, with `users` tokens of as many users.

    `more` are further environment variables.  Raises LoadTestError with the stack's last words.
    """
    with tempfile.TemporaryDirectory(prefix="dfd-load-") as scratch:
        env = {name: value for name, value in os.environ.items() if name not in NOTHING_OF_OURS} | {
            "DJANGO_SETTINGS_MODULE": "dfdsite.settings", "DFD_VAR": scratch, "DFD_LOG_LEVEL": "INFO",
            "DATABASE_URL": f"sqlite:///{scratch}/db.sqlite3", "REDIS_URL": "", "DFD_S3_BUCKET": "",
            "DFD_HTTPS": "false", "DFD_DEBUG": "false", "DFD_ALLOWED_HOSTS": "127.0.0.1", **more,
        }  # fmt: skip
        say("preparing a scratch folder")
        tokens = prepare(env, users=users, weights=weights)
        port = _free_port()
        say("starting the product")
        log = Path(scratch) / "up.log"
        with log.open("wb") as out:
            up = subprocess.Popen(
                [sys.executable, "manage.py", "up", "--port", str(port)],
                cwd=settings.BASE_DIR, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True, preexec_fn=end_with_parent,
            )  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_until(lambda: answers(url) and b" ready." in log.read_bytes(), up, log)
            yield Server(url, tokens, web=_child(up.pid, "gunicorn"), worker=_child(up.pid, "celery", "worker"))
            if up.poll() is not None:
                raise LoadTestError(f"The product has ended while it was measured:\n{_last_words(log)}")
        finally:
            with contextlib.suppress(ProcessLookupError):
                up.terminate()
            up.wait()


def prepare(env: dict[str, str], *, users: int, weights: Path | None) -> list[str]:
    """Make the `DFD_VAR` of `env` an installation with an active model; return the tokens of as many users."""
    _manage(env, "migrate", "-v0", "--skip-checks")
    _manage(env, "collectstatic", "--noinput", "-v0")
    _manage(env, "register_model", *([str(weights)] if weights else []), "--activate")
    return _manage(env, "loadtest", "--make-tokens", str(users)).split()


def running(url: str, tokens: list[str], pid: int | None) -> Server:
    """A server that runs already; `pid` is its web server's here.  Raises LoadTestError."""
    url = url.rstrip("/")
    if not url.startswith(("http://", "https://")) or not answers(url):
        raise LoadTestError(f"{url}/healthz does not answer.")
    try:
        return Server(url, tokens, web=None if pid is None else psutil.Process(pid))
    except psutil.NoSuchProcess as error:
        raise LoadTestError(f"There is no process {pid}.") from error


def answers(url: str) -> bool:
    """Whether /healthz does."""
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=2) as answer:  # nosec B310 # the operator's
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def family(head: psutil.Process | None) -> list[psutil.Process]:
    """A process and all below it; none where there is none or it has ended."""
    if head is None:
        return []
    try:
        return [head, *head.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _manage(env: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=settings.BASE_DIR, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise LoadTestError(f"`manage.py {arguments[0]}` failed in the scratch folder:\n{done.stderr[-2000:]}")
    return done.stdout


def _wait_until(ready: Callable[[], bool], up: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while not ready():
        if up.poll() is not None or time.monotonic() > deadline:
            raise LoadTestError(f"The product does not start:\n{_last_words(log)}")
        time.sleep(0.2)


def _last_words(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-12:])


def _child(pid: int, *words: str) -> psutil.Process:
    """The process just below `pid` whose command has all these words."""
    for process in psutil.Process(pid).children():
        if set(words) <= set(process.cmdline()):
            return process
    raise LoadTestError(f"`up` has no process {' '.join(words)}.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _seconds(processes: Sequence[psutil.Process]) -> float:
    """Processor time of these processes, and of children that have ended."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _machine_seconds() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def _mb(size: int) -> float:
    return round(size / 1e6, 1)
