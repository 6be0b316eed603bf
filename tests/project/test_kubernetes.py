"""The manifests of docs/kubernetes.md: what they say of the program is so."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.urls import resolve

from tests.project.test_settings_listed import LISTED

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "kubernetes.md").read_text()
MANIFESTS: list[dict[str, Any]] = list(
    yaml.safe_load_all("".join(re.findall(r"^```yaml\n(.*?)^```", TEXT, re.M | re.S)))
)
DEPLOYMENTS = {each["metadata"]["name"]: each for each in MANIFESTS if each["kind"] == "Deployment"}


def pod(deployment: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_a_deployment_has_probes_that_exist_and_the_time_to_end(name: str) -> None:
    spec = pod(DEPLOYMENTS[name])
    container = spec["containers"][0]
    graceful_s = 20 if name == "dfd-web" else settings.CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT
    assert graceful_s < spec["terminationGracePeriodSeconds"] <= 30
    for kind in ("livenessProbe", "readinessProbe"):
        probe = container[kind]
        if "httpGet" in probe:
            assert resolve(probe["httpGet"]["path"]).view_name == f"api:{probe['httpGet']['path'].strip('/')}"
        else:
            assert probe["exec"]["command"][:2] == ["python", "-m"]
            assert importlib.util.find_spec(probe["exec"]["command"][2]) is not None
    assert container["resources"]["limits"]["memory"]
    assert all("emptyDir" in volume for volume in spec["volumes"])


def test_labels_and_selectors_are_the_same() -> None:
    for name, deployment in DEPLOYMENTS.items():
        assert deployment["spec"]["selector"]["matchLabels"] == {"app": name}
        assert deployment["spec"]["template"]["metadata"]["labels"] == {"app": name}


def test_all_that_is_configured_is_a_setting() -> None:
    values = [
        each.get("stringData") or each.get("data") for each in MANIFESTS if each["kind"] in ("Secret", "ConfigMap")
    ]
    names = {name for value in values for name in value or {}}
    assert {name for name in names if not name.startswith("AWS_")} <= set(LISTED)


def test_every_queue_is_served() -> None:
    queues = {route["queue"] for route in settings.CELERY_TASK_ROUTES.values()}
    served = {word for line in TEXT.splitlines() if line.startswith("| `dfd-") for word in re.findall(r"`(\w+)`", line)}
    assert queues <= served | {"extract"}
