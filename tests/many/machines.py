"""Machines: each a folder that is the whole disk of its processes.  What they share they are told by settings."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demo.client import Client
from tests import installation
from tests.stack import ROOT, Product, wait_for

LEASE_S = 12
SECRET = "the same on every machine, and nowhere else 0123456789"


class Machine(Product):
    """`DFD_VAR`, the working folder and the temporary files of its processes are its own.

    Args:
        name: of the machine, and of its worker.
        shared: environment variables: what it shares with others.
        prepared: start with a copy of the prepared installation, the tiny model active; `token` is its client's.
    """

    def __init__(self, name: str, shared: Mapping[str, str], *, prepared: bool = False) -> None:
        folder = Path(tempfile.mkdtemp(prefix=f"dfd-machine-{name}-"))
        (folder / "tmp").mkdir()
        alone = {
            "PYTHONPATH": ROOT, "TMPDIR": folder / "tmp", "DFD_SECRET_KEY": SECRET, "DFD_LEASE_S": LEASE_S,
        }  # fmt: skip
        super().__init__(name, folder=folder, var=folder / "var", cwd=folder, settings={**alone, **shared})
        self.token = installation.copy(self.var, model=True) if prepared else ""

    def ask(self, code: str) -> Any:
        """What the code, run with Django set up, leaves in `answer`."""
        program = f"import django; django.setup()\n{code}\nimport json; print(json.dumps(answer, default=str))"
        return json.loads(self.run([sys.executable, "-c", program]).splitlines()[-1])

    def select(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query, read from its database without a process that would have to start first."""
        address = self.environment["DATABASE_URL"]
        if address.startswith("sqlite"):
            path = address.removeprefix("sqlite:///").partition("?")[0]
            with contextlib.closing(sqlite3.connect(path, timeout=300)) as database:
                return database.execute(sql).fetchall()
        import psycopg

        with psycopg.connect(address) as connection:
            return connection.execute(sql.encode()).fetchall()

    def wait_for_worker(self) -> None:
        wait_for(lambda: " ready." in self.log("worker"), "a ready worker", log=lambda: self.log("worker"))

    def start_web(self, *, token: str = "") -> Client:
        client = Client(port=self.port, token=token or self.token)
        self.serve(client, "--graceful-timeout", "20")
        return client

    def finished(self) -> list[tuple[str, str]]:
        """(analysis, stage) for each that this machine's worker has finished."""
        lines = [line for line in self.log("worker").splitlines() if "stage_finished" in line]
        return [(_word(line, "analysis"), _word(line, "stage")) for line in lines if "analysis=" in line]


def _word(line: str, name: str) -> str:
    found = re.search(rf"\b{name}=(?:\x1b\[[0-9;]*m)*([\w-]+)", line)
    assert found is not None, line
    return found[1]
