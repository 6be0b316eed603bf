"""The commands of docs/operations.md make a backup of a working installation, and another one of it elsewhere."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.client import Client
from tests.many.clips import copies
from tests.many.machines import SECRET, Machine
from tests.many.servers import S3, Postgres, Redis, postgres_program
from tests.many.test_machines import fetch, finished_tasks
from tests.stack import ROOT, wait_for
from tests.weights import save_tiny

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
DOCUMENT = (ROOT / "docs" / "operations.md").read_text()
SOON = {"DFD_REPUBLISH_S": "5"}
"""A restored row says that a worker was told of it; after this long the sweeper tells one again."""
MachineAt = Callable[[str], Machine]
"""`old` has tables, and on disk a model and a client; `new` has nothing."""


def commands(title: str) -> str:
    """The block of the document that begins with this comment."""
    found = re.search(rf"^```bash\n# {title}\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def run(title: str, machine: Machine, backup: Path) -> None:
    environment = machine.environment
    path = f"{Path(sys.executable).parent}:{Path(postgres_bin()).parent}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands(title)],
        cwd=ROOT, env=environment | {"BACKUP": str(backup), "PATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def postgres_bin() -> str:
    """pg_dump beside the server's own programs: an older one refuses."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"), key=lambda p: int(p.parts[4]))
    return str(found[-1]) if found else shutil.which("pg_dump") or "/"


@pytest.fixture
def made() -> Iterator[list[Machine]]:
    machines: list[Machine] = []
    yield machines
    for machine in machines:
        machine.ended([sys.executable, "-m", "worker.broker", "stop"])
        machine.close()


def test_sqlite_and_files_on_disk(made: list[Machine], tmp_path: Path) -> None:
    if shutil.which("sqlite3") is None:
        pytest.skip("The program sqlite3 is not installed here (Debian's package has that name)")

    def machine_at(name: str) -> Machine:
        made.append(Machine(name, {"DFD_SECRET_KEY": "", **SOON}, prepared=name == "old"))
        return made[-1]

    there_and_back(machine_at, "SQLite and files on disk", tmp_path)


def test_postgres_and_a_bucket(
    made: list[Machine], tmp_path: Path, postgres: Postgres, redis_server: Redis, s3: S3
) -> None:
    if shutil.which("aws") is None:
        pytest.skip("The program aws is not installed here (Debian's package is awscli)")
    postgres_program("pg_dump")

    def machine_at(name: str) -> Machine:
        s3.bucket(f"backup-{name}")
        number = 2 + len(made)
        shared = {
            **s3.environment,
            "AWS_ENDPOINT_URL": s3.url,
            "DATABASE_URL": (postgres.migrated if name == "old" else postgres.database)(f"backup_{name}"),
            "REDIS_URL": redis_server.url.replace("/0", f"/{number}"),
            "DFD_S3_BUCKET": f"backup-{name}",
            "DFD_SECRET_KEY": SECRET,
            **SOON,
        }
        made.append(Machine(name, shared))
        return made[-1]

    there_and_back(machine_at, "Postgres and a bucket", tmp_path)


def there_and_back(machine_at: MachineAt, what: str, tmp_path: Path) -> None:
    old = machine_at("old")
    if not old.token:
        save_tiny(tmp_path / "tiny.safetensors")
        old.manage("register_model", str(tmp_path / "tiny.safetensors"), "--activate")
    token = old.manage("create_token", "client", "--role", "admin").strip().splitlines()[-1]
    old.start_worker(wait=False)
    old.start_beat()
    client = old.start_web(token=token)
    videos = [dict(client.upload(path)[1]) for path in copies(tmp_path / "clips", 2)]
    finished_tasks(client, videos, log=old)
    client.post(f"/api/v1/videos/{videos[0]['id']}/reviews/", {"label": "fake", "comment": "mouth"})
    old.kill("beat")
    old.kill("worker")
    waiting = dict(client.upload(copies(tmp_path / "more", 1)[0])[1])
    before = everything(client, old, videos)

    backup = tmp_path / "backup"
    backup.mkdir()
    run(f"Back up {what}", old, backup)
    client.upload(copies(tmp_path / "later", 1)[0])  # not in the backup
    old.kill("web")

    new = machine_at("new")
    run(f"Restore {what}", new, backup)
    restored = new.start_web(token=token)
    assert everything(restored, new, videos) == before
    assert len(restored.get("/api/v1/videos/")["results"]) == 3
    assert "OK:" in new.manage("verify_audit")
    # What waited there is analysed here: the weights have come along.
    new.start_worker(wait=False)
    new.start_beat()
    wait_for(
        lambda: restored.get(f"/api/v1/tasks/{waiting['task']['id']}/")["state"] == "succeeded", "a verdict",
        timeout_s=300, log=lambda: new.log("worker"),
    )  # fmt: skip


def everything(client: Client, machine: Machine, videos: list[dict[str, Any]]) -> dict[str, Any]:
    """What the API says of the videos and the models, without the port; and hashes of media."""
    paths = ["/api/v1/models/", "/api/v1/models/active/"]
    for video in videos:
        at = f"/api/v1/videos/{video['id']}/"
        paths += [at, f"{at}faces/", f"{at}reviews/", f"/api/v1/tasks/{video['task']['id']}/"]
    said = {path: fetch(client, path)[1].decode().replace(f":{client.port}", "") for path in paths}
    for video in videos:
        for kind in ("original", "clip", "thumbnail"):
            path = f"/api/v1/videos/{video['id']}/media/{kind}"
            status, content = fetch(client, path)
            assert status == 200, path
            said[path] = hashlib.sha256(content).hexdigest()
    said["audit"] = machine.manage("verify_audit")
    return said
