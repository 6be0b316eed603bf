"""What weighs on the product in a storm: receivers that hang, a user who may send no more, a disk that is full."""

from __future__ import annotations

import contextlib
import itertools
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from demo.client import Client, ClientError
from tests.stack import CLIPS, TERMINAL, Stack
from worker.bench.load.client import as_new

REFUSED_AS = "daily_bytes_exceeded"


class HangingReceiver:
    """Where a webhook leads: takes each connection, and never answers nor closes it."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._taken: list[socket.socket] = []
        threading.Thread(target=self._take, daemon=True).start()

    @property
    def calls(self) -> int:
        return len(self._taken)

    def close(self) -> None:
        for taken in (self._listening, *self._taken):
            with contextlib.suppress(OSError):
                taken.shutdown(socket.SHUT_RDWR)  # or `accept` would go on waiting
            taken.close()

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._taken.append(self._listening.accept()[0])


class UserAtQuota:
    """Has one video taken, then sends others all the time though the day's bytes are used up.

    `accepted` names the clip of each video that was taken; `answers` counts the codes of the refusals, and
    `no_answer` where the server could not say.
    """

    NAME = "at-quota"
    PAUSE_S = 1.0

    def __init__(self, stack: Stack) -> None:
        self._client = Client(port=stack.port, token=stack.manage("create_token", self.NAME).strip(), timeout_s=30)
        self._numbers = itertools.count()
        self._ending = threading.Event()
        self.accepted: dict[str, str] = {}
        self.answers: Counter[str] = Counter()
        self._send("one-person.mp4")
        stack.manage("shell", "-c", _USE_UP_THE_DAY)
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends when at least one upload was refused."""
        self._ending.set()
        self._thread.join()

    def has_all_ended(self) -> bool:
        """Whether the API says so of all that was accepted; False when nobody answers."""
        try:
            return all(self._client.get(f"/api/v1/videos/{video}/")["status"] in TERMINAL for video in self.accepted)
        except ClientError:
            return False

    def wrong_answers(self) -> dict[str, int]:
        return {code: count for code, count in self.answers.items() if code not in (REFUSED_AS, "no_answer")}

    def _go_on(self) -> None:
        while not (self.answers[REFUSED_AS] and self._ending.is_set()):
            self._send("two-people.mp4")
            self._ending.wait(self.PAUSE_S)

    def _send(self, name: str) -> None:
        number = next(self._numbers)
        self._client.headers["Idempotency-Key"] = f"{self.NAME}-{number}"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{number}-{name}"
            path.write_bytes(as_new((CLIPS / name).read_bytes()))
            try:
                _, video = self._client.upload(path)
            except ClientError as error:
                status = error.problem.get("status", 503)
                self.answers["no_answer" if status >= 500 else str(error.problem.get("code"))] += 1
            else:
                if number:
                    self.answers["accepted"] += 1
                self.accepted[video["id"]] = name


class SmallDisk:
    """A disk of its own for the stored files, so that it can be filled without harm."""

    def __init__(self, folder: Path, uploads: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        size = f"size={100 + 2 * uploads}m"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=True, capture_output=True)

    def fill(self, *, for_s: float) -> None:
        filler = self.folder / "filler"
        try:
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(1024 * 1024)):
                    pass
            time.sleep(for_s)
        finally:
            filler.unlink(missing_ok=True)

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    @staticmethod
    def missing() -> str:
        """Why there can be none here, as a sentence; empty where there can."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                SmallDisk(Path(folder), 0).close()
            except (OSError, subprocess.CalledProcessError):
                return "A disk of its own cannot be mounted here (that takes root)."
        return ""


# Tomorrow's as well: a storm may go on beyond midnight.
_USE_UP_THE_DAY = f"""
from datetime import UTC, datetime, timedelta
from django.conf import settings
from django.contrib.auth import get_user_model
from detection.models import UploadDay
owner = get_user_model().objects.get(username={UserAtQuota.NAME!r})
today = datetime.now(UTC).date()
for day in (today, today + timedelta(days=1)):
    UploadDay.objects.update_or_create(owner=owner, day=day, defaults={{"bytes": settings.DFD_MAX_BYTES_A_DAY}})
"""
