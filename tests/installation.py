"""An installation that is made once a run and copied: migrations and weights cost ten seconds, a copy costs none.

pytest's processes share it through `DFD_TESTS_SHARED` (set by `tests/conftest.py`); a program that runs by itself, as
`make chaos` does, makes one of its own.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CLIENT = "client"
"""The only user: whose token it is."""
_OURS = re.compile(r"DFD_|DATABASE_URL|REDIS_URL|DJANGO_|AWS_")


def environment(var: Path) -> dict[str, str]:
    """The product's own settings over `var` and SQLite, whatever the shell that started the tests has set."""
    inherited = {name: value for name, value in os.environ.items() if not _OURS.match(name)}
    return inherited | {
        "DJANGO_SETTINGS_MODULE": "dfdsite.settings",
        "DFD_VAR": str(var),
        "DATABASE_URL": f"sqlite:///{var}/db.sqlite3",
        "REDIS_URL": "",
    }


def copy(to: Path, *, model: bool = False, static: bool = False) -> str:
    """Make `to` the `DFD_VAR` of an installation as `make setup` leaves it, and return the client's token.

    Args:
        to: a folder, which may exist.
        model: with the tiny model of `tests.weights` registered and active.
        static: with the static files collected.  They are linked: nothing writes to them.
    """
    made = made_once("installation", _make)
    shutil.copytree(made / ("with_model" if model else "without_model"), to, dirs_exist_ok=True)
    if static:
        (to / "static").symlink_to(made / "static")
    return (made / "token").read_text()


def migrated() -> Path:
    """A database of SQLite with all tables and no user, to be copied."""
    return made_once("migrated", _migrate) / "db.sqlite3"


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """The folder that `make` has filled once a run, whichever process asked first."""
    folder = Path(os.environ.get("DFD_TESTS_SHARED") or _own_folder())
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = folder / name
        if not made.exists():
            making = Path(tempfile.mkdtemp(dir=folder))
            make(making)
            making.rename(made)
        return made


def _own_folder() -> str:
    folder = os.environ["DFD_TESTS_SHARED"] = tempfile.mkdtemp(prefix="dfd-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _migrate(folder: Path) -> None:
    _run(folder, "manage.py", "migrate", "-v0", "--skip-checks")


def _run(var: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT, env=environment(var), capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def _make(folder: Path) -> None:
    var = folder / "with_model"
    var.mkdir()
    shutil.copy(migrated(), var / "db.sqlite3")
    _run(var, "-m", "tests.prepare", str(folder), CLIENT)
