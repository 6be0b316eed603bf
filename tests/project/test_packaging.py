"""What a stranger gets: exact versions that fit the ranges, small clips, a licence."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in found}


def test_every_dependency_has_an_exact_version_within_its_range() -> None:
    exact = pins()
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for requirement in (Requirement(text) for group in groups for text in group):
        version = exact.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in constraints.txt"
        assert requirement.specifier.contains(version), f"{requirement} does not allow {version}"


def test_the_constraints_leave_the_build_of_torch_to_the_machine() -> None:
    exact = pins()
    assert not {name for name in exact if re.match(r"nvidia-|cuda-|triton", name)}
    assert not {name: version for name, version in exact.items() if "+" in version}


def test_the_demo_clips_are_small_enough_to_ship() -> None:
    clips = list((ROOT / "demo" / "clips").iterdir())
    assert {clip.name for clip in clips} == {"one-person.mp4", "two-people.mp4", "no-face.mp4", "blended-fake.mp4"}
    assert sum(clip.stat().st_size for clip in clips) <= 1_000_000


def test_the_licence_is_there_in_full() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert PROJECT["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_ci_script_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_pages_that_the_readme_points_to_exist() -> None:
    for page in ("README.md", "demo/README.md"):
        text = (ROOT / page).read_text()
        targets = re.findall(r"\]\(([^)#]+)\)", text)
        missing = [
            target for target in targets if ":" not in target and not (ROOT / page).parent.joinpath(target).exists()
        ]
        assert not missing, f"{page}: {missing}"
