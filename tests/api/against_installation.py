"""Run schemathesis against an installation of its own: `python -m tests.api.against_installation [ITS ARGUMENTS]`.

Nothing of an installation that is in use is touched.  Its limits are such that requests come through: a user has
20 unfinished uploads otherwise, and schemathesis begins more than that.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.stack import ROOT, TERMINAL, Stack

LIMITS: dict[str, Any] = {
    "DFD_MAX_WAITING": 0,  # a stream of a task that waits lasts ten minutes otherwise, and is read to its end
    "DFD_MAX_OPEN_UPLOADS": 1_000_000,
    "DFD_MAX_VIDEOS_IN_FLIGHT": 1_000_000,
    "DFD_MAX_BYTES_A_DAY": 10**18,
    "DFD_LEASE_S": 60,
}
CLIPS = ("one-person.mp4", "no-face.mp4")
"""Analysed before, so that there is something to follow."""


def main(arguments: list[str]) -> int:
    """Return schemathesis's exit status."""
    stack = Stack(model=True, **LIMITS)
    try:
        stack.broker("start")
        stack.start_web()
        stack.start_worker(concurrency=2)
        for name in CLIPS:
            stack.wait_for_state(stack.upload(name), *TERMINAL, timeout_s=1800)
        schemathesis = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", "schemathesis.toml"]
        address = ["run", f"http://127.0.0.1:{stack.port}/api/schema/", "-H", f"Authorization: Token {stack.token}"]
        return subprocess.call([*schemathesis, *address, *arguments], cwd=ROOT)
    finally:
        stack.close()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
