"""From the released version to this one while its processes work on, and its messages are still understood."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from tests.many.clips import copies
from tests.many.machines import Machine
from tests.many.old_writer import RELEASED
from tests.many.servers import Redis
from tests.stack import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
ROWS = 300
LONGEST_S = 8.0
"""Of an upload with its verdict and its review beside the migrations; leases last a minute.  Its seven transactions may
each wait for another migration, and on a busy machine they wait for longer."""


@pytest.fixture(params=["sqlite", "postgres"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    shared = {}
    if request.param == "postgres":
        shared["DATABASE_URL"] = request.getfixturevalue("postgres").database("upgrade")
    machine = Machine("upgrade", shared)
    if not shared:
        # Whoever waits for SQLite's lock looks again now and then, and writers that never rest may come first for long.
        machine.environment["DATABASE_URL"] += "?timeout=300"
    yield machine
    machine.close()


def test_the_database_is_brought_up_to_date_while_the_version_before_works(machine: Machine) -> None:
    machine.ask(
        "from django.core.management import call_command\n"
        "from django.db import connection\n"
        "from django.db.migrations.loader import MigrationLoader\n"
        f"call_command('migrate', 'detection', {RELEASED[1]!r}, verbosity=0)\n"
        "call_command('migrate', 'auth', verbosity=0)\n"
        "call_command('migrate', 'contenttypes', verbosity=0)\n"
        f"apps = MigrationLoader(connection).project_state({RELEASED!r}).apps\n"
        "apps.get_model('auth', 'User').objects.create(username='old')\n"
        "apps.get_model('detection', 'ModelVersion').objects.create(\n"
        "    name='old', sha256='a' * 64, file='models/a', threshold=0.5, temperature=1.0, active=True)\n"
        "answer = None"
    )
    stop = machine.folder / "stop"
    first = machine.ended([sys.executable, "-m", "tests.many.old_writer", str(ROWS), str(stop)])
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["errors"] == []

    writers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.many.old_writer", "0", str(stop)],
            cwd=machine.folder, env=machine.environment, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    try:
        wait_for(lambda: videos(machine) > ROWS, "writing of the version before")
        started = time.monotonic()
        machine.manage("migrate", "-v0")
        took = time.monotonic() - started
        before = videos(machine)
        wait_for(lambda: videos(machine) > before, "writing of the version before, after the migrations")
    finally:
        stop.touch()
        told = [json.loads(writer.communicate(timeout=300)[0]) for writer in writers]
    print(f"migrations took {took:.1f} s; the version before wrote meanwhile: {told}")
    assert [each["errors"] for each in told] == [[], []]
    assert max(each["longest_s"] for each in told) < LONGEST_S + took
    assert videos(machine) == ROWS + sum(each["rounds"] for each in told)

    # What the old processes have written since is complete once they are gone.
    machine.manage("catch_up")
    wrong = machine.ask(
        "from django.db.models import F\n"
        "from detection.models import Video\n"
        "answer = Video.objects.exclude(verdict_model=F('current_verdict__model_version')).count()"
        " + Video.objects.filter(verdict_model=None).count()"
        " + Video.objects.exclude(name_key__startswith='clip ').count()"
    )
    assert wrong == 0


def test_messages_of_the_version_before_and_of_a_later_one_are_understood(redis_server: Redis, tmp_path: Path) -> None:
    """Of the one before: the task's name and an id.  A later one may say more; the row says what is to be done."""
    machine = Machine("messages", {"REDIS_URL": redis_server.url.replace("/0", "/1")}, prepared=True)
    try:
        client = machine.start_web()
        tasks = [str(client.upload(path)[1]["task"]["id"]) for path in copies(tmp_path / "clips", 3)]
        producer = Celery(broker=machine.environment["REDIS_URL"])
        with producer.connection_for_write() as connection:
            channel: Any = connection.default_channel  # kombu's types lack what every channel has
            wait_for(lambda: length(channel, "extract") == len(tasks), "the messages of this version")
            channel.queue_purge("extract")
        before, later, both = tasks
        send = partial(producer.send_task, queue="extract", ignore_result=True)
        send("worker.tasks.extract_faces", [before])
        send("worker.tasks.extract_faces", [later, "fast lane"], {"priority": 3})
        send("worker.tasks.of_a_later_version", [both])
        send("worker.tasks.extract_faces", [both])
        producer.send_task("worker.tasks.sweep", [], queue="maintenance", ignore_result=True)
        machine.start_worker(wait=False)
        wait_for(
            lambda: [client.get(f"/api/v1/tasks/{task}/")["state"] for task in tasks] == ["succeeded"] * 3,
            "three verdicts", timeout_s=300, every_s=0.5, log=lambda: machine.log("worker"),
        )  # fmt: skip
        assert sorted(machine.finished()) == sorted(
            (task, stage) for task in tasks for stage in ("extract", "classify")
        )
        log = machine.log("worker")
        assert "unknown_arguments" in log
        assert "'fast lane'" in log
        assert "of_a_later_version" in log
    finally:
        machine.close()


def length(channel: Any, queue: str) -> int:
    return int(channel.queue_declare(queue=queue, durable=True, auto_delete=False).message_count)


def videos(machine: Machine) -> int:
    return int(machine.select("SELECT count(*) FROM detection_video")[0][0])
