"""docker-compose.yml: valid, complete, and serving every queue that something is put on."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from django.conf import settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {"migrate"}


def schema() -> dict[str, Any]:
    """The compose-spec schema, as check-jsonschema ships it."""
    text = files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json").read_text()
    result: dict[str, Any] = json.loads(text)
    return result


def test_it_is_valid_by_the_compose_specification() -> None:
    jsonschema.validate(COMPOSE, schema())


def test_the_schema_would_notice_a_mistake() -> None:
    wrong = {**COMPOSE, "services": {"web": {"image": "x", "helthcheck": {}}}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema())


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONE_SHOT))
def test_a_service_that_runs_on_says_when_it_is_well_and_how_it_ends(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"]
    assert service["restart"] == "unless-stopped"
    assert re.fullmatch(r"\d+s", service["stop_grace_period"])


def queues(service: dict[str, Any]) -> set[str]:
    found = re.search(r"worker -Q (\S+)", str(service.get("command", "")))
    return set(found[1].split(",")) if found else set()


def test_every_queue_has_a_worker_without_a_gpu_too() -> None:
    used = {route["queue"] for route in settings.CELERY_TASK_ROUTES.values()}
    used |= {settings.CELERY_TASK_DEFAULT_QUEUE, "train"}
    served = {queue for service in SERVICES.values() if not service.get("profiles") for queue in queues(service)}
    assert served == used


def test_workers_get_longer_to_end_than_they_take_to_give_work_back() -> None:
    workers = {name: service for name, service in SERVICES.items() if queues(service)}
    assert len(workers) >= 4
    for name, service in workers.items():
        grace_s = int(service["stop_grace_period"].removesuffix("s"))
        assert grace_s > settings.CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT + 10, name


def test_there_is_no_password_that_everybody_knows() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert set(re.findall(r"\$\{POSTGRES_PASSWORD(.)", text)) == {":"}
    assert "${POSTGRES_PASSWORD:-" not in text


def test_images_are_targets_of_the_dockerfile_and_their_files_get_past_dockerignore() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", dockerfile, re.MULTILINE))
    wanted = {service["build"]["target"] for service in SERVICES.values() if "build" in service}
    assert wanted == {"cpu", "cuda"}
    assert wanted <= targets
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(?:--chown=\S+ )?(.+) \S+$", dockerfile, re.MULTILINE)
        for word in line.split()
    }
    assert copied == let_through
    assert all((ROOT / name).exists() for name in copied)


def test_what_watches_the_workers_is_asked_for_and_published_to_this_machine_only() -> None:
    flower = SERVICES["flower"]
    assert flower["profiles"] == ["observe"]
    assert all(port.startswith("127.0.0.1:") for port in flower["ports"])
    assert "redis://valkey:6379/0" in flower["command"]
    assert "env_file" not in flower  # it needs none of the program's secrets
