"""A docstring that names a module of ours names one that exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("detection", "dfdsite", "ml", "worker")
REFERENCE = re.compile(rf"(?<![\w./@-])((?:{'|'.join(PACKAGES)})(?:\.[A-Za-z_]\w*)+)")
PERMISSION = re.compile(r"detection\.(view|add|change|delete)_\w+")
FILE_ENDINGS = {"py", "css", "html", "md", "json", "toml"}


def docstrings(path: Path) -> Iterator[str]:
    """Every string that stands alone: docstrings, and what is said below an attribute."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def exists(name: str) -> bool:
    """Whether the dotted name is a module, or something that is named in one."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:n])
        module = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
        if module.is_file():
            rest = parts[n:]
            return not rest or re.search(rf"\b{re.escape(rest[0])}\b", module.read_text()) is not None
    return False


def dangling(text: str) -> list[str]:
    names = (name for name in REFERENCE.findall(text) if name.rsplit(".", 1)[-1] not in FILE_ENDINGS)
    return [name for name in names if not exists(name) and not PERMISSION.fullmatch(name)]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_named_in_a_docstring_exists(package: str) -> None:
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for text in docstrings(path)
        for name in dangling(text)
    }
    assert not found


def test_a_dangling_one_would_be_found() -> None:
    assert dangling("see `detection.services.gates` and `ml.config.Label`") == ["detection.services.gates"]
    assert dangling("ml.evaluation.report.no_such_thing") == ["ml.evaluation.report.no_such_thing"]
    assert dangling("`ml.evaluation.promotion_gate`, detection.models, ml.data") == []
