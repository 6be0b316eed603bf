"""Real servers, as Debian installs them, each in a throw-away folder on a free port; and an S3-compatible one."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests import installation
from tests.stack import free_port

START_S = 300.0
BUCKET = "videos"


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class Server:
    """A process in a folder of its own.  `close` ends it and removes the folder."""

    def __init__(self, name: str) -> None:
        self.name, self.port = name, free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"dfd-{name}-"))
        self.process: subprocess.Popen[bytes] | None = None

    def start(
        self, command: Sequence[str], *, ready: Callable[[], bool], user: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                list(command), cwd=self.folder, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **(environment or {})}, **as_user(user),
            )  # fmt: skip
        deadline = time.monotonic() + START_S
        while not ready():
            said = self.log.read_text(errors="replace")[-3000:]
            assert self.process.poll() is None, f"{self.name} ended at once: {said}"
            assert time.monotonic() < deadline, f"{self.name} does not answer: {said}"
            time.sleep(0.05)

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def close(self) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def as_user(name: str | None) -> dict[str, Any]:
    """For subprocess: another user, its groups left behind."""
    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []} if name else {}


# --- Postgres --------------------------------------------------------------------------------------------------------


def postgres_program(name: str) -> str:
    """Skips the test where it is not installed."""
    newest_first = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda p: int(p.parts[4]))[::-1]
    found = str(newest_first[0]) if newest_first else shutil.which(name)
    if found is None:
        pytest.skip(f"Postgres is not installed here ({name} is missing; Debian's package is postgresql)")
    return found


TABLES = "tables"
"""The database that others are copied from: it has all tables and no row but those of migrations."""


class Postgres(Server):
    """A server over a copy of a cluster that is made once a run and has the database `TABLES`; `anew`: an empty one."""

    def __init__(self, *, anew: bool = False) -> None:
        initdb, server, user = self.can_run()
        made = None if anew else installation.made_once("postgres", _make_cluster) / "data"
        super().__init__("postgres")
        self.data, self._user = self.folder / "data", user
        if made is not None:
            shutil.copytree(made, self.data)
        if user:
            for path in (self.folder, *self.folder.rglob("*")):
                shutil.chown(path, user)
        if made is None:
            subprocess.run(
                [initdb, "-D", str(self.data), "-U", "dfd", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
                cwd=self.folder, check=True, capture_output=True, **as_user(user),
            )  # fmt: skip
        options = {"listen_addresses": "127.0.0.1", "fsync": "off", "max_connections": "60"}
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        self._command = [server, "-D", str(self.data), "-p", str(self.port), "-k", str(self.folder), *words]
        self.start(self._command, ready=self._answers, user=user)

    @staticmethod
    def can_run() -> tuple[str, str, str | None]:
        """Its programs initdb and postgres, and the user to run them as; skips the test where one is missing."""
        programs = postgres_program("initdb"), postgres_program("postgres")
        if os.getuid() != 0:
            return *programs, None
        # It refuses to run as root.
        user = next((name for name in ("postgres", "nobody") if _exists(name)), None)
        if user is None:
            pytest.skip("Postgres does not run as root, and there is no other user here")
        return *programs, user

    def restart(self, *, down_s: float) -> None:
        """Killed with all its processes, and back after so long: open transactions and connections are gone."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        time.sleep(down_s)
        self.start(self._command, ready=self._answers, user=self._user)

    def database(self, name: str) -> str:
        """A new, empty one; its address."""
        subprocess.run([postgres_program("createdb"), *self.where, name], check=True, capture_output=True)
        return self.url(name)

    def migrated(self, name: str) -> str:
        """A new one with all tables; its address."""
        command = [postgres_program("createdb"), *self.where, "--template", TABLES, name]
        subprocess.run(command, check=True, capture_output=True)
        return self.url(name)

    def stop(self) -> None:
        """In order, so that its files are whole."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(START_S) == 0

    def url(self, name: str) -> str:
        return f"postgres://dfd@127.0.0.1:{self.port}/{name}"

    @property
    def where(self) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(self.port), "-U", "dfd"]

    def _answers(self) -> bool:
        asked = [postgres_program("pg_isready"), *self.where, "-d", "postgres"]
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0


def _make_cluster(folder: Path) -> None:
    with contextlib.closing(Postgres(anew=True)) as server, tempfile.TemporaryDirectory() as var:
        environment = installation.environment(Path(var)) | {"DATABASE_URL": server.database(TABLES)}
        command = [sys.executable, "manage.py", "migrate", "-v0", "--skip-checks"]
        subprocess.run(command, cwd=installation.ROOT, env=environment, check=True, timeout=600)
        server.stop()
        shutil.copytree(server.data, folder / "data")


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


# --- brokers ---------------------------------------------------------------------------------------------------------


class Redis(Server):
    def __init__(self) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("Redis is not installed here (Debian's package is redis-server)")
        super().__init__("redis")
        options = ["--bind", "127.0.0.1", "--appendonly", "yes", "--save", "", "--dir", str(self.folder)]
        self.start([program, "--port", str(self.port), *options], ready=lambda: listens(self.port))
        self.url = f"redis://127.0.0.1:{self.port}/0"


class RabbitMQ(Server):
    """Debian's, with a node, a port mapper (epmd) and a cookie of its own."""

    def __init__(self) -> None:
        # Not /usr/sbin's, which would run it as the system's own node.
        program = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
        if not program.is_file():
            pytest.skip("RabbitMQ is not installed here (Debian's package is rabbitmq-server)")
        super().__init__("rabbitmq")
        folder, self.mapper = str(self.folder), free_port()
        (self.folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\n")
        self.environment = {
            "HOME": folder,
            "RABBITMQ_HOME": "/usr/lib/rabbitmq",
            "RABBITMQ_NODENAME": f"dfd{self.port}@localhost",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/none",
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": folder,
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "ERL_EPMD_PORT": str(self.mapper),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self.program = str(program)
        self.run()

    def run(self) -> None:
        self.start([self.program], ready=lambda: listens(self.port), environment=self.environment)

    def close(self) -> None:
        super().close()
        epmd = shutil.which("epmd")
        if epmd:  # it is a daemon, and only this one listens on this port
            subprocess.run([epmd, "-port", str(self.mapper), "-kill"], capture_output=True, check=False)


# --- object storage --------------------------------------------------------------------------------------------------


class S3(Server):
    """moto's server: the protocol of Amazon's S3, kept in memory."""

    def __init__(self) -> None:
        pytest.importorskip("moto", reason="moto is not installed here")
        super().__init__("s3")
        self.start(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            ready=lambda: listens(self.port),
        )
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "DFD_S3_ENDPOINT": self.url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def bucket(self, name: str = BUCKET) -> Any:
        """A boto3 Bucket, made if need be."""
        import boto3

        resource = boto3.resource(
            "s3", endpoint_url=self.url, aws_access_key_id="testing", aws_secret_access_key="testing",  # nosec B106
            region_name="us-east-1",
        )  # fmt: skip
        return resource.create_bucket(Bucket=name)
