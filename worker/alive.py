"""Whether a worker on this machine takes messages: `python -m worker.alive`, for a container's probes.

The loop that takes messages touches a file (see `process.heartbeat`); a worker whose loop hangs, or that has lost its
broker, stops doing so, though its process is there.  The database is not asked: its failures are not the worker's.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
from pathlib import Path

from django.conf import settings

FRESH_S = 60.0
"""The loop turns every two seconds; a machine with too much to do may hold it up."""
EVERY_S = 5.0


def mark(name: str) -> Path:
    """The file of the worker of that name (`NAME@HOST`)."""
    folder: Path = settings.VAR_DIR / "alive"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder / name.replace("/", "_")


def age_s(name: str) -> float | None:
    """Seconds since the loop last turned; None before its first turn and after the worker's end."""
    try:
        return max(0.0, time.time() - mark(name).stat().st_mtime)
    except FileNotFoundError:
        return None


def main() -> int:
    """Exit with 0 if the worker has taken messages lately, else with 1."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dfdsite.settings")
    parser = argparse.ArgumentParser(prog="python -m worker.alive", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--name", default="celery@%h", help="as the worker's -n; %%h is this host (celery@%%h)")
    parser.add_argument("--within", type=float, default=FRESH_S, metavar="SECONDS", help=f"{FRESH_S:.0f}")
    options = parser.parse_args()
    name = options.name.replace("%h", socket.gethostname())
    age = age_s(name)
    if age is None:
        print(f"{name} does not take messages: it has not begun, or it has ended.")
    else:
        print(f"{name} took messages {age:.0f} s ago.")
    return 0 if age is not None and age <= options.within else 1


if __name__ == "__main__":
    sys.exit(main())
