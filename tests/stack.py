"""The product as separate processes, each to be started and killed by itself, in a folder of its own.

`Stack` is the one way in which tests start it: from a copy of the prepared installation (`tests.installation`), or over
a database of its own.  `Machine` (`tests.many.machines`) is a stack that shares nothing but what its settings name.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from demo.client import Client
from tests import installation
from tests.weights import save_tiny

ROOT = installation.ROOT
CLIPS = ROOT / "demo" / "clips"
TERMINAL = ("succeeded", "no_face", "failed")


class Processes:
    """Processes in sessions of their own, by name; the output of each in `<folder>/<name>.log`."""

    def __init__(self, folder: Path, *, cwd: Path, environment: dict[str, str]) -> None:
        self.folder, self.cwd, self.environment = folder, cwd, environment
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def run(self, command: list[str]) -> str:
        """To its end; what it printed."""
        done = self.ended(command)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ended(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.cwd, env=self.environment, capture_output=True, text=True, timeout=600, check=False
        )

    def manage(self, *arguments: str) -> str:
        return self.run([sys.executable, str(ROOT / "manage.py"), *arguments])

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        with self.log_path(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=self.cwd, env=self.environment, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=_hear_ctrl_c,
            )  # fmt: skip
        return self.processes[name]

    def serve(self, client: Client, *options: str) -> None:
        """On the client's port, and wait until it answers."""
        gunicorn = [sys.executable, "-m", "gunicorn", "dfdsite.wsgi", "-k", "gthread", "--threads", "4", *options]
        self.start("web", *gunicorn, "-b", f"127.0.0.1:{client.port}", "--no-control-socket")
        wait_for(client.is_up, "an answer of the web server", log=lambda: self.log("web"))

    def start_beat(self) -> None:
        self.start("beat", sys.executable, "-m", "celery", "-q", "-A", "worker.app", "beat")

    def kill(self, name: str) -> None:
        """kill -9, the process and its children."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def kill_all(self) -> None:
        for name in list(self.processes):
            if self.processes[name].poll() is None:
                self.kill(name)

    def log_path(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def log(self, name: str) -> str:
        path = self.log_path(name)
        return path.read_text(errors="replace") if path.is_file() else ""


class Product(Processes):
    """The product's processes, as its own commands start them, over the state in `var`.

    Args:
        name: of its worker, beside those of others on this machine.
        folder: where the logs lie.
        var: its `DFD_VAR`.
        cwd: where its processes run.
        settings: environment variables, over those that make an installation of SQLite and an embedded broker.
    """

    def __init__(self, name: str, *, folder: Path, var: Path, cwd: Path, settings: Mapping[str, object]) -> None:
        self.name, self.var, self.port = name, var, free_port()
        changes = {
            "DFD_PORT": self.port, "DFD_SWEEP_S": 1, "DFD_BACKOFF_S": 1, "PYTHONUNBUFFERED": 1,
            "DFD_MAX_REQUESTS_A_MINUTE": 1_000_000,  # tests ask and ask again, on a slow machine for minutes
            "REMAP_SIGTERM": "SIGQUIT", **settings,
        }  # fmt: skip
        environment = installation.environment(var) | {key: str(value) for key, value in changes.items()}
        super().__init__(folder, cwd=cwd, environment=environment)

    def broker(self, action: str) -> str:
        """Of the embedded broker: `start`, `stop` or `status`."""
        return self.run([sys.executable, "-m", "worker.broker", action])

    def start_worker(
        self,
        *,
        app: str = "worker.app",
        concurrency: int = 1,
        name: str = "worker",
        queues: str = "extract,classify,maintenance,webhooks",
        wait: bool = True,
    ) -> None:
        celery = [sys.executable, "-m", "celery", "-q", "-A", app]
        before = self.log(name).count(" ready.")
        node = f"{self.name}@%h" if name == "worker" else f"{self.name}-{name}@%h"
        self.start(name, *celery, "worker", "-Q", queues, "-c", str(concurrency), "-n", node)
        if wait:
            wait_for(lambda: self.log(name).count(" ready.") > before, "a ready worker", log=lambda: self.log(name))

    def close(self) -> None:
        self.kill_all()
        shutil.rmtree(self.folder, ignore_errors=True)


class Stack(Product):
    """Broker, worker, beat and web of one machine, in a copy of the prepared installation, with a client of its API.

    Args:
        model: start with the tiny model registered and active.
        static: start with the static files collected, which `up` asks for.
        settings: environment variables.  A database that `DATABASE_URL` names has its tables, and gets the client.
    """

    def __init__(self, *, model: bool = False, static: bool = False, **settings: object) -> None:
        var = Path(tempfile.mkdtemp(prefix="dfd-stack-"))
        super().__init__(var.name, folder=var, var=var, cwd=ROOT, settings={"DFD_LEASE_S": 8, **settings})
        if "DATABASE_URL" in settings:
            token = self.manage("create_token", installation.CLIENT).strip()
        else:
            token = installation.copy(var, model=model, static=static)
        self.token, self.client = token, Client(port=self.port, token=token)

    def register_tiny_model(self, *, name: str = "tiny", seed: int = 0) -> None:
        path = self.var / f"{name}.safetensors"
        save_tiny(path, name=name, seed=seed)
        self.manage("register_model", str(path), "--activate")

    def start_web(self) -> None:
        self.serve(self.client)

    def close(self) -> None:
        self.kill_all()
        self.broker("stop")
        shutil.rmtree(self.var)

    # --- looking ---------------------------------------------------------------------------------------------------

    def upload(self, name: str) -> dict[str, Any]:
        """The new video, as the API answers."""
        status, video = self.client.upload(CLIPS / name)
        assert status == 202
        return dict(video)

    def task(self, video: dict[str, Any]) -> dict[str, Any]:
        return dict(self.client.get(f"/api/v1/tasks/{video['task']['id']}/"))

    def wait_for_state(self, video: dict[str, Any], *states: str, timeout_s: float = 300) -> dict[str, Any]:
        wait_for(
            lambda: self.task(video)["state"] in states, " or ".join(states), timeout_s=timeout_s, every_s=0.2,
            log=lambda: f"{self.task(video)}\n{self.log('worker')}{self.log('up')}",
        )  # fmt: skip
        return self.task(video)

    def attempt_folders(self, video: dict[str, Any]) -> list[str]:
        """Names of the folders in which attempts have left files of this video."""
        return [path.name for path in (self.var / "media" / "videos" / video["id"]).iterdir() if path.is_dir()]


def _hear_ctrl_c() -> None:
    """As in a terminal; a shell that starts the tests in the background makes all below deaf to it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for(
    condition: Callable[[], bool],
    what: str,
    *,
    timeout_s: float = 300,
    every_s: float = 0.1,
    log: Callable[[], str] = lambda: "",
) -> None:
    """Poll until the condition holds; after `timeout_s` fail with what was waited for, and the end of a log.

    `every_s`: longer where to look costs what is waited for its processor, as a process that has to start does.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {timeout_s:.0f} s\n{log()[-4000:]}"
        time.sleep(every_s)


_reserved: list[socket.socket] = []


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing uses, and that no other test will be given as long as this process lives.

    The UDP port of the same number is held for a reservation.  It lies below the ports that the system gives to those
    who ask for any, so that no connection takes it before the server is there.
    """
    while True:
        port = random.SystemRandom().randrange(12_000, 32_000)
        reservation = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            reservation.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            reservation.close()
            continue
        _reserved.append(reservation)
        return port
