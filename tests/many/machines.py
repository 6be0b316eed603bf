"""Machines: each a folder that is the whole disk of its processes.  What they share they are told by settings."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree
from typing import Any

from demo.client import Client
from tests.stack import ROOT, Processes, free_port, wait_for

LEASE_S = 6
SECRET = "the same on every machine, and nowhere else 0123456789"


class Machine(Processes):
    """`DFD_VAR`, the working folder and the temporary files of its processes are its own."""

    def __init__(self, name: str, shared: Mapping[str, str]) -> None:
        self.name, self.port = name, free_port()
        folder = Path(tempfile.mkdtemp(prefix=f"dfd-machine-{name}-"))
        (folder / "tmp").mkdir()
        ours = re.compile(r"DFD_|DATABASE_URL|REDIS_URL|DJANGO_|AWS_")
        environment = {name: value for name, value in os.environ.items() if not ours.match(name)} | {
            "DJANGO_SETTINGS_MODULE": "dfdsite.settings",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "REMAP_SIGTERM": "SIGQUIT",
            "TMPDIR": str(folder / "tmp"),
            "DFD_VAR": str(folder / "var"),
            "DFD_SECRET_KEY": SECRET,
            "DFD_SWEEP_S": "1",
            "DFD_BACKOFF_S": "1",
            "DFD_LEASE_S": str(LEASE_S),
            **shared,
        }
        super().__init__(folder, cwd=folder, environment=environment)

    # --- commands and processes ------------------------------------------------------------------------------------

    def ask(self, code: str) -> Any:
        """What the code, run with Django set up, leaves in `answer`."""
        program = f"import django; django.setup()\n{code}\nimport json; print(json.dumps(answer, default=str))"
        return json.loads(self.run([sys.executable, "-c", program]).splitlines()[-1])

    def start_worker(self, *, queues: str = "extract,classify,maintenance,webhooks") -> None:
        celery = (sys.executable, "-m", "celery", "-q", "-A", "worker.app", "worker", "-Q", queues, "-c", "1")
        self.start("worker", *celery, "-n", f"{self.name}@%h")

    def wait_for_worker(self) -> None:
        wait_for(lambda: " ready." in self.log("worker"), "a ready worker", log=lambda: self.log("worker"))

    def start_web(self, *, token: str = "") -> Client:
        client = Client(port=self.port, token=token)
        self.serve(client, "--graceful-timeout", "20")
        return client

    def close(self) -> None:
        self.kill_all()
        rmtree(self.folder, ignore_errors=True)

    def finished(self) -> list[tuple[str, str]]:
        """(analysis, stage) for each that this machine's worker has finished."""
        lines = [line for line in self.log("worker").splitlines() if "stage_finished" in line]
        return [(_word(line, "analysis"), _word(line, "stage")) for line in lines if "analysis=" in line]


def _word(line: str, name: str) -> str:
    found = re.search(rf"\b{name}=(?:\x1b\[[0-9;]*m)*([\w-]+)", line)
    assert found is not None, line
    return found[1]
