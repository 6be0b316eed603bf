"""One machine with RabbitMQ for its broker, and what its probes say as it lives, hangs and ends."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.client import Client
from tests.many.clips import copies
from tests.many.machines import Machine
from tests.many.servers import RabbitMQ
from tests.stack import ROOT, TERMINAL, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
PROCESS_S = 1.0
"""Between looks for which a process has to start."""


@pytest.fixture(scope="module")
def machine(rabbitmq: RabbitMQ) -> Iterator[Machine]:
    machine = Machine("rabbit", {"DFD_BROKER_URL": rabbitmq.url}, prepared=True)
    try:
        yield machine
    finally:
        machine.close()


@pytest.fixture(scope="module")
def client(machine: Machine) -> Client:
    return machine.start_web()


def test_messages_wait_in_the_queue_and_are_counted_there(machine: Machine, client: Client, tmp_path: Path) -> None:
    assert backlog(machine) == 0
    for path in copies(tmp_path, 3):
        client.upload(path)
    three = "three messages in the queue"
    wait_for(lambda: backlog(machine) == 3, three, every_s=PROCESS_S, log=lambda: machine.log("web"))
    wait_for(lambda: ready(client) == "answers", "word of the broker")


def test_a_video_goes_through_from_end_to_end(machine: Machine, client: Client) -> None:
    machine.start_worker(wait=False)
    machine.start_beat()
    wait_for(
        lambda: [v["status"] for v in client.get("/api/v1/videos/")["results"]] == ["succeeded"] * 3,
        "three verdicts", timeout_s=300, every_s=0.5, log=lambda: machine.log("worker"),
    )  # fmt: skip
    assert backlog(machine) == 0
    said = machine.ended([sys.executable, str(ROOT / "manage.py"), "doctor"]).stdout
    assert "The broker (DFD_BROKER_URL, RabbitMQ 3." in said
    assert "1 workers answer and serve classify, extract, maintenance, webhooks" in said
    assert not (machine.folder / "var" / "broker").exists()  # nobody has started the embedded one


def test_the_probe_of_a_worker_that_hangs_fails_though_its_process_is_there(machine: Machine) -> None:
    assert probe(machine) == 0
    worker = machine.processes["worker"]
    worker.send_signal(signal.SIGSTOP)
    wait_for(lambda: probe(machine) == 1, "a probe that fails", every_s=PROCESS_S)
    assert worker.poll() is None
    worker.send_signal(signal.SIGCONT)
    succeeds = "a probe that succeeds"
    wait_for(lambda: probe(machine) == 0, succeeds, every_s=PROCESS_S, log=lambda: machine.log("worker"))


def test_a_worker_that_has_lost_its_broker_does_not_consume(
    machine: Machine, client: Client, rabbitmq: RabbitMQ
) -> None:
    assert rabbitmq.process is not None
    rabbitmq.process.send_signal(signal.SIGTERM)
    rabbitmq.process.wait(300)
    fails = "a probe that fails"
    wait_for(lambda: probe(machine) == 1, fails, every_s=PROCESS_S, log=lambda: machine.log("worker"))
    wait_for(lambda: ready(client) == "does not answer", "word of the broker", timeout_s=300)
    rabbitmq.run()
    succeeds = "a probe that succeeds"
    wait_for(lambda: probe(machine) == 0, succeeds, every_s=PROCESS_S, log=lambda: machine.log("worker"))


def test_web_and_worker_end_within_half_a_minute_of_sigterm(machine: Machine, client: Client, tmp_path: Path) -> None:
    tasks = [client.upload(path)[1]["task"]["id"] for path in copies(tmp_path, 2)]
    wait_for(
        lambda: any(client.get(f"/api/v1/tasks/{task}/")["state"] not in ("queued", *TERMINAL) for task in tasks),
        "a video at work", log=lambda: machine.log("worker"),
    )  # fmt: skip
    took: dict[str, float] = {}
    for name in ("worker", "web"):
        started = time.monotonic()
        process = machine.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        process.wait(300)
        took[name] = round(time.monotonic() - started, 1)
    print(f"seconds from SIGTERM to the end: {json.dumps(took)}")
    assert probe(machine) == 1
    assert ("running",) not in machine.select("SELECT state FROM detection_analysis")


def backlog(machine: Machine) -> int | None:
    answer: int | None = machine.ask("from detection import dispatch\nanswer = dispatch.backlog(stage='extract')")
    return answer


def probe(machine: Machine) -> int:
    command = [sys.executable, "-m", "worker.alive", "--name", f"{machine.name}@%h", "--within", "12"]
    return machine.ended(command).returncode


def ready(client: Client) -> str:
    return str(client.get("/readyz")["broker"])
