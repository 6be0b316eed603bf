"""Bait, and whether anything has taken it: an address that nobody has reason to call, files that nobody should open."""

from __future__ import annotations

import ctypes
import os
import selectors
import shutil
import socket
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from ml.bench.fuzz.scripts import Bait

_IN_ACCESS, _IN_OPEN = 0x1, 0x20
_EVENT_BYTES = 4096


class Canary:
    """Listens on a port of 127.0.0.1 (TCP and UDP), and to the kernel's word on who opens the two files (Linux)."""

    def __init__(self, folder: Path, video: Path) -> None:
        """Puts `canary.mp4`, a copy of `video`, and `canary.txt` into the folder."""
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        port = int(self._tcp.getsockname()[1])
        self._udp.bind(("127.0.0.1", port))
        self.bait = Bait(port=port, video=folder / "canary.mp4", text=folder / "canary.txt")
        shutil.copyfile(video, self.bait.video)
        self.bait.text.write_text("Nobody should read this.\n")
        self._notify = _watch_files((self.bait.video, self.bait.text))
        self._selector = selectors.DefaultSelector()
        for source in (self._tcp, self._udp, self._notify):
            if source is not None:
                self._selector.register(source, selectors.EVENT_READ)

    @property
    def watches_files(self) -> bool:
        """Whether the system tells of files that are read."""
        return self._notify is not None

    def touched(self) -> list[str]:
        """What has been touched since the last call: `tcp`, `udp`, `file`."""
        found = []
        for key, _ in self._selector.select(timeout=0):
            if key.fileobj is self._tcp:
                connection, _ = self._tcp.accept()
                connection.close()
                found.append("tcp")
            elif key.fileobj is self._udp:
                self._udp.recv(_EVENT_BYTES)
                found.append("udp")
            elif self._notify is not None:
                os.read(self._notify, _EVENT_BYTES)
                found.append("file")
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._selector.close()
        self._tcp.close()
        self._udp.close()
        if self._notify is not None:
            os.close(self._notify)


def _watch_files(paths: tuple[Path, ...]) -> int | None:
    """A descriptor that has something to read once one of the files has been opened or read; None without inotify."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if descriptor < 0:
        return None
    for path in paths:
        if libc.inotify_add_watch(descriptor, os.fsencode(path), _IN_OPEN | _IN_ACCESS) < 0:
            os.close(descriptor)
            return None
    return descriptor
