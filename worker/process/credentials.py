"""Read a C2PA manifest in a process of its own, which may die of it: `python -m worker.process.credentials FILE`.

The library is native code that parses what strangers made.  The process has limits of memory, processor time and wall
clock, no Django, and gives back one line of JSON; whatever else happens is "cannot be read".
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger(__name__)

WALL_S = 60
LIMITS = (
    (resource.RLIMIT_CORE, 0),
    (resource.RLIMIT_CPU, 60),
    (resource.RLIMIT_AS, 2 * 1024**3),
    (resource.RLIMIT_FSIZE, 0),
)
ENVIRONMENT = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "VIRTUAL_ENV")
"""All that the process is told of ours: no password, no key."""
MAX_ANSWER_BYTES = 256 * 1024


def read_in_child(path: Path, trust_anchors: str = "") -> dict[str, Any]:
    """Return what `ml.video.provenance.content_credentials.describe` says of the file, whatever the file does."""
    from ml.video.provenance.content_credentials import unreadable

    command = [sys.executable, "-m", "worker.process.credentials", str(path.resolve())]
    try:
        done = subprocess.run(
            command, input=trust_anchors.encode(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=WALL_S,
            check=False, cwd=Path(__file__).resolve().parents[2],
            env={name: value for name, value in os.environ.items() if name in ENVIRONMENT},
        )  # fmt: skip
        answer = json.loads(done.stdout[:MAX_ANSWER_BYTES]) if done.returncode == 0 else None
    except (subprocess.TimeoutExpired, OSError, ValueError) as error:
        log.warning("credentials_unreadable", error=type(error).__name__)
        return unreadable()
    if not isinstance(answer, dict):
        log.warning("credentials_unreadable", exit_code=done.returncode)
        return unreadable()
    return answer


def main() -> None:
    """Read the file named on the command line; trust anchors (PEM) come on standard input."""
    for what, most in LIMITS:
        hard = resource.getrlimit(what)[1]
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (value, value))
    from ml.video.provenance.content_credentials import read_manifest

    print(json.dumps(read_manifest(Path(sys.argv[1]), sys.stdin.read())))


if __name__ == "__main__":
    main()
