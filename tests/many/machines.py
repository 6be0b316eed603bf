"""Machines: each a folder that is the whole disk of its processes.  What they share they are told by settings."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree
from typing import Any

from demo.client import Client
from tests.stack import ROOT, free_port, wait_for

LEASE_S = 6
SECRET = "the same on every machine, and nowhere else 0123456789"


class Machine:
    """`DFD_VAR`, the working folder and the temporary files of its processes are its own."""

    def __init__(self, name: str, shared: Mapping[str, str]) -> None:
        self.name, self.port = name, free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"dfd-machine-{name}-"))
        (self.folder / "tmp").mkdir()
        ours = re.compile(r"DFD_|DATABASE_URL|REDIS_URL|DJANGO_|AWS_")
        self.environment = {name: value for name, value in os.environ.items() if not ours.match(name)} | {
            "DJANGO_SETTINGS_MODULE": "dfdsite.settings",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "REMAP_SIGTERM": "SIGQUIT",
            "TMPDIR": str(self.folder / "tmp"),
            "DFD_VAR": str(self.folder / "var"),
            "DFD_SECRET_KEY": SECRET,
            "DFD_SWEEP_S": "1",
            "DFD_BACKOFF_S": "1",
            "DFD_LEASE_S": str(LEASE_S),
            **shared,
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    # --- commands and processes ------------------------------------------------------------------------------------

    def manage(self, *arguments: str) -> str:
        done = self.run([sys.executable, str(ROOT / "manage.py"), *arguments])
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, code: str) -> Any:
        """What the code, run with Django set up, leaves in `answer`."""
        program = f"import django; django.setup()\n{code}\nimport json; print(json.dumps(answer, default=str))"
        done = self.run([sys.executable, "-c", program])
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def run(self, command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.folder, env=self.environment | environment, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        with self.log_path(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *command], cwd=self.folder, env=self.environment, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        return self.processes[name]

    def start_worker(self, *, queues: str = "extract,classify,maintenance") -> None:
        celery = ("celery", "-q", "-A", "worker.app", "worker", "-Q", queues, "-c", "1")
        self.start("worker", *celery, "-n", f"{self.name}@%h")

    def wait_for_worker(self) -> None:
        wait_for(lambda: " ready." in self.log("worker"), "a ready worker", log=lambda: self.log("worker"))

    def start_beat(self) -> None:
        self.start("beat", "celery", "-q", "-A", "worker.app", "beat")

    def start_web(self, *, token: str = "") -> Client:
        gunicorn = ("gunicorn", "dfdsite.wsgi", "-k", "gthread", "--threads", "4", "--graceful-timeout", "20")
        self.start("web", *gunicorn, "-b", f"127.0.0.1:{self.port}", "--no-control-socket")
        client = Client(port=self.port, token=token)
        wait_for(client.is_up, "an answer of the web server", log=lambda: self.log("web"))
        return client

    def kill(self, name: str) -> None:
        """kill -9, the process and its children."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        for name in list(self.processes):
            if self.processes[name].poll() is None:
                self.kill(name)
        rmtree(self.folder, ignore_errors=True)

    # --- looking ---------------------------------------------------------------------------------------------------

    def log_path(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def log(self, name: str) -> str:
        path = self.log_path(name)
        return path.read_text(errors="replace") if path.is_file() else ""

    def finished(self) -> list[tuple[str, str]]:
        """(analysis, stage) for each that this machine's worker has finished."""
        lines = [line for line in self.log("worker").splitlines() if "stage_finished" in line]
        return [(_word(line, "analysis"), _word(line, "stage")) for line in lines if "analysis=" in line]


def _word(line: str, name: str) -> str:
    found = re.search(rf"\b{name}=(?:\x1b\[[0-9;]*m)*([\w-]+)", line)
    assert found is not None, line
    return found[1]
