"""Work steps back behind the web; a terminal that starts a worker by hand does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from worker.process import host

CODE = """
import os
from worker.process.host import lower_priority
lower_priority(); lower_priority()
group = open("/proc/self/autogroup").read().split()[-1] if os.path.exists("/proc/self/autogroup") else "-"
print(os.nice(0), group)
"""


def run(*, own_session: bool) -> tuple[int, str]:
    # A session of its own for the shell between, so that what happens to it happens to no other.
    command = [sys.executable, "-c", CODE]
    if not own_session:  # a process two below the head of the session, as a program started from a terminal
        inner = f"import subprocess, sys; subprocess.run({command!r}, check=True)"
        again = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}], check=True)"
        command = [sys.executable, "-c", again]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600, start_new_session=True)
    niceness, group = done.stdout.split()
    return int(niceness), group


def test_a_worker_steps_back_once_with_its_session() -> None:
    niceness, group = run(own_session=True)
    assert niceness == host.NICENESS
    assert group in ("-", str(host.NICENESS))


def test_the_session_of_a_terminal_stays_as_it_is() -> None:
    if not Path("/proc/self/autogroup").exists():
        pytest.skip("this system shares the cores by process alone")
    niceness, group = run(own_session=False)
    assert niceness >= host.NICENESS
    assert group == "0"


def test_the_machine_is_named() -> None:
    assert host.cores() >= 1
    assert host.cpu()
