"""Who may know whom.  The contracts are in pyproject.toml; here they are held against the code and the real process."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.weights import save_tiny

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("detection", "dfdsite", "ml", "worker")
# Import name -> name on the package index, where they differ.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "av": "av",
    "csp": "django-csp",
    "cv2": "opencv-python-headless",
    "django_filters": "django-filter",
    "environ": "django-environ",
    "c2pa": "c2pa-python",
    "facenet_pytorch": "facenet-pytorch",
    "jwt": "pyjwt",
    "knox": "django-rest-knox",
    "rest_framework": "djangorestframework",
    "sklearn": "scikit-learn",
    "unfold": "django-unfold",
}


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def test_the_import_contracts_hold() -> None:
    linted = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()", "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert "0 broken" in linted.stdout


WEB_PROCESS = """
import sys
from dfdsite.wsgi import application
from django.test import Client
from django.urls import get_resolver
def visit(resolver):
    for pattern in resolver.url_patterns:
        visit(pattern) if hasattr(pattern, "url_patterns") else pattern.callback
visit(get_resolver())
answer = Client(headers={"host": "127.0.0.1"}).get("/healthz")
assert answer.status_code == 200, answer.status_code
heavy = {"torch", "torchvision", "facenet_pytorch", "onnxruntime", "cv2", "av", "sklearn", "ml"} & set(sys.modules)
print("served, with", sorted(heavy))
"""


def test_the_web_process_serves_without_what_only_workers_need(tmp_path: Path) -> None:
    served = subprocess.run(
        [sys.executable, "-c", WEB_PROCESS],
        cwd=ROOT, env={**os.environ, "DJANGO_SETTINGS_MODULE": "dfdsite.settings", "DFD_VAR": str(tmp_path)},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert served.stdout.splitlines()[-1:] == ["served, with []"], served.stderr


WORKER = """
import sys, django
django.setup()
from worker.bench.memory_probe import process
process("extract", "", sys.argv[1])
print("extracted, with", sorted({"torch", "torchvision", "facenet_pytorch", "sklearn"} & set(sys.modules)))
import numpy as np
from pathlib import Path
from ml.model.inference import Classifier
Classifier.load(Path(sys.argv[2])).score([[np.zeros((64, 64, 3), np.uint8)]])
print("scored, with", sorted({"torch._dynamo", "sympy", "sklearn"} & set(sys.modules)))
import torch
from torchvision.ops import roi_align
roi_align(torch.zeros(1, 1, 4, 4), [torch.ones(1, 4)], 1)
assert torch.compiler.disable(lambda: 1)() == 1 and "torch._dynamo" in sys.modules
print("the compiler is there for who needs it")
"""


def test_faces_are_extracted_and_scored_without_what_only_others_need(tmp_path: Path) -> None:
    """torch is two thirds of the memory that one who extracts would have; its compiler a fifth of one's who scores."""
    save_tiny(tmp_path / "tiny.safetensors")
    worker = subprocess.run(
        [sys.executable, "-c", WORKER, ROOT / "demo" / "clips" / "one-person.mp4", tmp_path / "tiny.safetensors"],
        cwd=ROOT, env={**os.environ, "DJANGO_SETTINGS_MODULE": "dfdsite.settings", "DFD_VAR": str(tmp_path)},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    told = ["extracted, with []", "scored, with []", "the compiler is there for who needs it"]
    assert worker.stdout.splitlines()[-3:] == told, worker.stderr


def imported_by(path: Path) -> set[str]:
    """Top-level names of the absolute imports of a file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
    return names


def declared(key: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = project["dependencies"] if key == "runtime" else project["optional-dependencies"][key]
    return {re.split(r"[\[<>=~!; ]", requirement, maxsplit=1)[0].lower() for requirement in requirements}


def test_what_the_program_imports_is_declared_as_a_dependency() -> None:
    known = declared("runtime").union(*(declared(extra) for extra in ("postgres", "s3", "load")))
    ours = {*PACKAGES, *sys.stdlib_module_names}
    undeclared = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in modules()
        for name in imported_by(path) - ours
        if DISTRIBUTIONS.get(name, name.replace("_", "-")).lower() not in known
    }
    assert not undeclared
