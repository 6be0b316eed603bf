"""Everything in one terminal: broker (if none is configured), worker, beat and web.  Ctrl-C ends them all."""

from __future__ import annotations

import fcntl
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from dfdsite import environment as env
from worker.process import embedded_broker
from worker.process.host import cores
from worker.process.supervisor import Child, ChildKeepsDyingError, Supervisor

WORKERS = {
    "worker": ("extract,classify,train", []),
    # Of their own: neither a long video nor a slow receiver of webhooks keeps the sweeper waiting.
    "sweeper": ("maintenance", ["--concurrency=1"]),
    "webhooks": ("webhooks", ["--concurrency=2"]),
}
"""The queues of each, and its size where it is not DFD_CONCURRENCY."""
READY_TIMEOUT_S = 60
MOST_WEB_PROCESSES = 2
PATIENCE_S = 1.0
"""With a broker that is silent: the children and a Ctrl-C have to wait meanwhile."""


class Command(BaseCommand):
    help = "Run broker (if none is configured), worker, beat and web in this terminal; Ctrl-C ends them all."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--port", type=int, default=env.whole("DFD_PORT", 8000, most=65535), help="of the web server (DFD_PORT)"
        )

    def handle(self, *args: Any, port: int, **options: Any) -> None:
        with (settings.VAR_DIR / "up.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CommandError(f"Another `up` already runs on {settings.VAR_DIR}. End it first.") from None
            _check_preparations()
            _check_port(port)
            try:
                try:
                    self._run(port)
                finally:
                    if embedded_broker.is_embedded():
                        embedded_broker.stop()
            except (ChildKeepsDyingError, embedded_broker.BrokerError) as error:
                raise CommandError(str(error)) from error
        self.stdout.write("Everything has ended.")

    def _run(self, port: int) -> None:
        started = time.monotonic()
        ready = False

        def look() -> None:
            nonlocal ready
            if embedded_broker.is_embedded():
                broker.look()
            if not ready and _answers(port):
                ready = True
                supervisor.say(f"Ready after {time.monotonic() - started:.0f} s: http://127.0.0.1:{port}/admin/")
                supervisor.say(f"API: http://127.0.0.1:{port}/api/docs/   Ctrl-C ends everything.")
            elif not ready and time.monotonic() - started > READY_TIMEOUT_S:
                raise ChildKeepsDyingError(f"The web server did not answer within {READY_TIMEOUT_S} s.")

        supervisor = Supervisor(_children(port), out=sys.stdout, each_second=look)
        broker = BrokerWatch(supervisor.say)
        if embedded_broker.is_embedded():
            supervisor.say(f"The embedded broker runs as process {embedded_broker.ensure()}.")
        supervisor.run()


class BrokerWatch:
    """Keeps the embedded broker running, and says when it falls silent and when it answers again."""

    def __init__(self, say: Callable[[str], object]) -> None:
        """`say` writes a line."""
        self._say, self._silent = say, False

    def look(self) -> None:
        """Start it where it has ended; one that is silent is left alone until the next look.  Raises BrokerError."""
        try:
            pid = embedded_broker.ensure(patience_s=PATIENCE_S)
        except embedded_broker.BrokerSilentError as error:
            if not self._silent:
                self._say(str(error))
            self._silent = True
            return
        if self._silent:
            self._say(f"The embedded broker (process {pid}) answers again.")
        self._silent = False


def _children(port: int) -> list[Child]:
    python = [sys.executable, "-m"]
    # See worker.app: a worker that is stopped puts its work down.
    celery = {"REMAP_SIGTERM": "SIGQUIT"}
    address = f"127.0.0.1:{port}"
    # One process does no more than a core's work: 200 clients that poll want nearly that (`loadtest`).
    processes = f"--workers={min(MOST_WEB_PROCESSES, cores())}"
    web = ["gunicorn", "dfdsite.wsgi", "--worker-class=gthread", processes, "--threads=8", f"--bind={address}"]
    web.append("--limit-request-line=8190")  # as most proxies have it; gunicorn's own is half of that
    worker = ["celery", "-q", "-A", "worker.app", "worker"]
    return [
        *(
            Child(name, [*python, *worker, "-Q", queues, "-n", f"up-{name}@%h", *options], celery)
            for name, (queues, options) in WORKERS.items()
        ),
        Child("beat", [*python, "celery", "-q", "-A", "worker.app", "beat"], celery),
        Child("web", [*python, *web, "--timeout=120", "--graceful-timeout=10", "--no-control-socket"]),
    ]


def _check_preparations() -> None:
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise CommandError("The database is not prepared. Run `make setup`, or `python manage.py migrate`.")
    if not (Path(settings.STATIC_ROOT) / "staticfiles.json").is_file():
        raise CommandError(
            "Static files are not collected. Run `make setup`, or `python manage.py collectstatic --noinput`."
        )
    connection.close()


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise CommandError(
                f"Port {port} cannot be used ({error.strerror}). Choose another with DFD_PORT."
            ) from None


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1):  # nosec B310 # our own address
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
