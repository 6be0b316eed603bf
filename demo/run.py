"""`make demo`: start everything, analyse videos over REST, print what came out, and keep serving until Ctrl-C.

Environment: `VIDEOS` (files to analyse instead of the demo clips, quoted as in a shell), `DEMO_EXIT=1` (end after the
table), `DFD_PORT` (8000; a free one is taken when it is busy), `DFD_VAR` (where the state lives).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

from demo.client import Client, ClientError
from demo.screen import Progress, table
from worker.process.supervisor import end_with_parent

ROOT = Path(__file__).resolve().parent.parent
CLIPS = [ROOT / "demo" / "clips" / f"{name}.mp4" for name in ("one-person", "two-people", "no-face", "blended-fake")]
USER = "demo"
START_TIMEOUT_S = 90
POLL_S = 0.4
QUOTING = "Quote names with spaces: VIDEOS=\"'my clip.mp4'\""
FINAL = ("succeeded", "no_face", "failed", "refused")


class DemoError(Exception):
    """The demo cannot go on; the message is a sentence for the person at the terminal."""


@dataclass
class Job:
    """One file on its way.  `task` is the REST answer as it was read last."""

    path: Path
    task: dict[str, Any]

    @property
    def done(self) -> bool:
        return self.task["state"] in FINAL

    @property
    def waits_for_model(self) -> bool:
        return self.task["stage"] == "awaiting_model"


class Server:
    """`manage.py up` as a child process: broker, workers, beat and web, ended together."""

    def __init__(self, *, port: int, log: Path) -> None:
        self.port, self.log = port, log
        log.parent.mkdir(parents=True, exist_ok=True)
        self._out: IO[bytes] = log.open("wb")
        # A session of its own: Ctrl-C reaches this program only, which then ends the server in an orderly way.
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), "up", "--port", str(port)],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=self._out, stderr=subprocess.STDOUT,
            start_new_session=True, preexec_fn=end_with_parent,
        )  # fmt: skip

    def check(self) -> None:
        """Raises DemoError with the server's last words when it has ended."""
        if self.process.poll() is not None:
            words = self.log.read_text(errors="replace").strip().splitlines()[-8:]
            raise DemoError("The server has ended:\n  " + "\n  ".join(words))

    def stop(self) -> None:
        """Returns when every process it started is gone."""
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        self.process.wait()
        self._out.close()


def videos_to_analyse(wanted: str) -> list[Path]:
    """The files of `VIDEOS`; the demo clips when it is empty.  Raises DemoError naming what is not a file."""
    if not wanted.strip():
        return CLIPS
    if Path(wanted).is_file():
        return [Path(wanted)]
    try:
        paths = [Path(word).expanduser() for word in shlex.split(wanted)]
    except ValueError as error:
        raise DemoError(
            f"VIDEOS cannot be read ({error}). Quote names with spaces: VIDEOS=\"'my clip.mp4'\""
        ) from error
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise DemoError(f"Not a file: {', '.join(missing)}. {QUOTING}")
    return paths


def free_port(wanted: int) -> int:
    """`wanted` if this machine lets us have it, or else one that is free."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise DemoError("This machine has no free port on 127.0.0.1.")


def make_login() -> tuple[str, str]:
    """A random password for the user `demo`, an administrator, and a token that ends in a day."""
    password = secrets.token_urlsafe(12)
    made = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "create_token", USER,
         "--role", "admin", "--days", "1", "--password-stdin"],
        cwd=ROOT, input=password + "\n", capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if made.returncode:
        raise DemoError(f"The demo's login could not be made: {made.stderr.strip()}")
    return password, made.stdout.split()[-1]


def wait_until_up(server: Server, client: Client) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not client.is_up():
        server.check()
        if time.monotonic() > deadline:
            raise DemoError(f"The web server did not answer within {START_TIMEOUT_S} s.")
        time.sleep(0.2)


def submit(client: Client, path: Path) -> Job:
    """Upload one file.  One that is there from an earlier run is analysed again, faces and all.

    A refusal (not a video, too large, ...) is an answer like another: a row of the table.
    """
    try:
        status, video = client.upload(path)
    except ClientError as error:
        if "code" not in error.problem:
            raise
        return Job(path, refused(error.problem))
    if status == 202:
        return Job(path, video["task"])
    return Job(path, client.post(urllib.parse.urlsplit(video["url"]).path + "analyze/", {"reuse_faces": False}))


def refused(problem: dict[str, Any]) -> dict[str, Any]:
    """What stands in the place of a task that never was."""
    never = {"stage": None, "progress": 100, "verdict": None, "started_at": None, "finished_at": None}
    return never | {"state": "refused", "error": {"code": problem["code"], "detail": problem["detail"]}}


def follow(server: Server, client: Client, jobs: list[Job], out: IO[str]) -> None:
    """Poll until every task has ended, or waits for a model that nobody has registered."""
    progress = Progress(out)
    while True:
        for job in jobs:
            if not job.done:
                job.task = client.get(f"/api/v1/tasks/{job.task['id']}/")
        progress.show([(job.path.name, job.task) for job in jobs])
        if all(job.done or job.waits_for_model for job in jobs):
            return
        server.check()
        time.sleep(POLL_S)


def run(out: IO[str]) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dfdsite.settings")
    from django.conf import settings

    from dfdsite import environment

    paths = videos_to_analyse(os.environ.get("VIDEOS", ""))
    log = Path(settings.VAR_DIR) / "logs" / "up.log"
    wanted = environment.whole("DFD_PORT", 8000, most=65535)
    port = free_port(wanted)
    if port != wanted:
        say(out, f"Port {wanted} is busy; using {port}.")
    started = time.monotonic()
    say(out, f"Starting broker, workers, beat and web (their log: {log}) ...")
    server = Server(port=port, log=log)
    try:
        password, token = make_login()
        client = Client(port=port, token=token)
        wait_until_up(server, client)
        count = f"{len(paths)} file" + "s" * (len(paths) != 1)
        say(out, f"Up after {time.monotonic() - started:.0f} s. Uploading {count} over REST ...\n")
        jobs = [submit(client, path) for path in paths]
        follow(server, client, jobs, out)
        say(out, "\n" + table([(job.path.name, job.task) for job in jobs]))
        if any(job.waits_for_model for job in jobs):
            say(out, "No model is registered, so these wait: `manage.py register_model --activate` lets them go on.")
        say(out, f"Admin  http://127.0.0.1:{port}/admin/     login: {USER}     password: {password}")
        say(out, f"API    http://127.0.0.1:{port}/api/docs/  token: {token} (for a day)")
        if os.environ.get("DEMO_EXIT", "") not in ("", "0"):
            return
        say(out, "\nServing until Ctrl-C.")
        while True:
            server.check()
            time.sleep(0.5)
    except (DemoError, ClientError) as error:
        raise DemoError(f"{error}\nThe log is {log}") from error
    finally:
        # A second Ctrl-C must not leave processes behind.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        say(out, "\nStopping ...")
        server.stop()
        say(out, "Everything has ended.")


def say(out: IO[str], line: str) -> None:
    with contextlib.suppress(OSError):  # a closed terminal must not keep the server from being stopped
        out.write(line + "\n")
        out.flush()


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    try:
        run(sys.stdout)
    except DemoError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
