"""A Postgres server of a test's own, in a temporary folder and on a port of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tests.stack import free_port

USER = "dfd"


def _binary(name: str) -> Path | None:
    """Debian keeps them out of the PATH."""
    found = shutil.which(name)
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return versions[-1] if versions else Path(found) if found else None


def missing() -> str:
    """Why there can be no server here, as a sentence; empty where there can."""
    if _binary("initdb") is None or _binary("pg_ctl") is None:
        return "Postgres is not installed here (Debian: postgresql)."
    if os.getuid() == 0 and shutil.which("setpriv") is None:
        return "Postgres does not run as root, and there is no setpriv to become somebody else."
    return ""


class Server:
    """Runs from its making until `close`.  `url` is a DATABASE_URL."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dfd-postgres-"))
        self._data, self._log = self.folder / "data", self.folder / "log"
        self._as = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.getuid() == 0 else []
        if self._as:
            shutil.chown(self.folder, "nobody", "nogroup")
        self._call("initdb", "-D", self._data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync")
        self.port = free_port()
        self.start()
        self._call("createdb", "-h", "127.0.0.1", "-p", self.port, "-U", USER, USER)
        self.url = f"postgres://{USER}@127.0.0.1:{self.port}/{USER}"

    def start(self) -> None:
        options = f"-k {self.folder} -h 127.0.0.1 -p {self.port} -c max_connections=60"
        self._call("pg_ctl", "-D", self._data, "-l", self._log, "-o", options, "-w", "start")

    def restart(self, *, down_s: float = 0) -> None:
        """As if its machine had been switched off: open transactions and connections are gone."""
        self._call("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")
        time.sleep(down_s)
        self.start()

    def close(self) -> None:
        self._call("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _call(self, name: str, *arguments: object) -> None:
        # pg_ctl's server would keep a pipe open for ever
        with (self.folder / "out").open("ab") as out:
            done = subprocess.run(
                [*self._as, str(_binary(name)), *map(str, arguments)],
                cwd="/", stdout=out, stderr=out, timeout=120, check=False,
            )  # fmt: skip
        assert done.returncode == 0, (self.folder / "out").read_text(errors="replace")[-2000:]
