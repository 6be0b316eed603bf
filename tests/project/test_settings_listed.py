""".env.example lists every setting, and the defaults that it states are the defaults."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = (ROOT / ".env.example").read_text()
LISTED: dict[str, str] = dict(re.findall(r"^# ([A-Z][A-Z0-9_]*)=(.*)$", EXAMPLE, re.MULTILINE))

DUMP = """
import json, re
from django.conf import settings
names = [name for name in dir(settings) if name.isupper() and name != "SECRET_KEY" and name[:6] != "LOGIN_"]
print(json.dumps({name: re.sub(" at 0x[0-9a-f]+", "", repr(getattr(settings, name))) for name in names}))
"""


def settings_under(environment: dict[str, str], var: Path) -> dict[str, Any]:
    ours = re.compile(r"DFD_|DATABASE_URL|REDIS_URL|DJANGO_")
    clean = {name: value for name, value in os.environ.items() if not ours.match(name)}
    dumped = subprocess.run(
        [sys.executable, "-c", DUMP],
        cwd=ROOT, env={**clean, "DJANGO_SETTINGS_MODULE": "dfdsite.settings", **environment, "DFD_VAR": str(var)},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert dumped.returncode == 0, dumped.stderr
    result: dict[str, Any] = json.loads(dumped.stdout)
    return result


def test_every_variable_that_the_program_reads_is_listed_and_no_other() -> None:
    read: set[str] = set()
    for package in ("dfdsite", "detection", "ml", "worker"):
        for path in (ROOT / package).rglob("*.py"):
            read |= set(
                re.findall(
                    r"(?:env(?:\.\w+)?\(|environ\.get\(|getenv\(|environ\[)\s*"
                    r'"((?:DFD_|DATABASE_URL|REDIS_URL)\w*)"',
                    path.read_text(),
                )
            )
    assert read == set(LISTED)


def test_the_defaults_it_states_are_the_defaults(tmp_path: Path) -> None:
    stated = {name: value for name, value in LISTED.items() if value and name != "DFD_VAR"}
    assert len(stated) > 10
    assert settings_under(stated, tmp_path) == settings_under({}, tmp_path)


def test_every_setting_has_a_line_or_a_heading_that_explains_it() -> None:
    lines = EXAMPLE.splitlines()
    for name in LISTED:
        index = next(i for i, line in enumerate(lines) if line.startswith(f"# {name}="))
        assert lines[index - 1].startswith("# "), name
