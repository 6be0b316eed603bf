"""No file is longer than one can read, no folder longer than a table of contents.

Migrations are left out, as nobody chooses how many there are; and the tests' own folders, which are searched by name.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("client", "demo", "detection", "dfdsite", "ml", "worker")
MOST_LINES = 400
MOST_FILES = 15


def files(package: str) -> list[Path]:
    found = [path.relative_to(ROOT) for path in sorted((ROOT / package).rglob("*.py"))]
    return [path for path in found if "migrations" not in path.parts]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_grows_beyond_what_one_can_read(package: str) -> None:
    lengths = {str(path): len((ROOT / path).read_text().splitlines()) for path in files(package)}
    assert lengths
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folder_holds_more_files_than_one_can_look_over(package: str) -> None:
    counts = Counter(str(path.parent) for path in files(package) if path.name != "__init__.py")
    assert counts
    assert {folder: count for folder, count in counts.items() if count > MOST_FILES} == {}
