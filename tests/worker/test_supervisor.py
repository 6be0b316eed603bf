"""`up`'s children: prefixed lines, restarts, and an end that leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
SUPERVISE = """
import sys
from worker.process.supervisor import Child, ChildKeepsDyingError, Supervisor
children = [Child(name, [sys.executable, "-u", "-c", code]) for name, code in {children!r}.items()]
try:
    Supervisor(children, out=sys.stdout, each_second=lambda: None).run()
except ChildKeepsDyingError as error:
    sys.exit(f"gave up: {{error}}")
print("all ended")
"""


def supervise(children: dict[str, str]) -> subprocess.Popen[str]:
    code = textwrap.dedent(SUPERVISE).format(children=children)
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def first_lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().rstrip() for _ in range(count)]


def is_gone(pid: int) -> bool:
    """Ended; an orphan may wait a moment for init to bury it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def test_lines_are_prefixed_and_sigterm_ends_every_process() -> None:
    sleeper = "import os, time; print('pid', os.getpid()); time.sleep(600)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-u', '-c', {sleeper!r}])"
    process = supervise({"web": sleeper, "worker": parent})
    lines = sorted(first_lines(process, 2))
    assert [line.split(" pid")[0] for line in lines] == ["web    |", "worker |"]
    pids = [int(line.split()[-1]) for line in lines]
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=300)
    assert out == "all ended\n"
    assert all(is_gone(pid) for pid in pids)


def test_a_child_that_ignores_sigterm_is_killed_by_a_second_ctrl_c() -> None:
    process = supervise({"stubborn": "import signal, time; signal.signal(15, 1); print('up'); time.sleep(600)"})
    first_lines(process, 1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=300) == 0


def test_a_child_that_dies_is_started_again() -> None:
    process = supervise({"web": "import os, time; print(os.getpid()); time.sleep(600)"})
    pid = int(first_lines(process, 1)[0].split()[-1])
    os.kill(pid, signal.SIGKILL)
    said, again = first_lines(process, 2)
    assert "ended with code -9; it is started again" in said
    assert int(again.split()[-1]) != pid
    process.terminate()
    process.communicate(timeout=300)


def test_a_child_that_keeps_dying_ends_everything_with_a_sentence() -> None:
    process = supervise({"web": "import time; time.sleep(600)", "worker": "raise SystemExit(3)"})
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "gave up: 'worker' ended 5 times within a minute, the last time with code 3" in errors


@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals are Linux's")
def test_children_end_even_when_the_supervisor_is_killed_with_9() -> None:
    process = supervise({"web": "import os, time; print(os.getpid()); time.sleep(600)"})
    pid = int(first_lines(process, 1)[0].split()[-1])
    process.kill()
    process.communicate(timeout=300)
    assert is_gone(pid)
