"""The files that a process works on: a temporary folder, and the stored video, fetched as far as it is read."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from django.conf import settings
from django.core.files.storage import default_storage

from detection.services.stored_files import read_range

if TYPE_CHECKING:
    from ml.video.ranged_file import VideoFile

log = structlog.get_logger(__name__)

LEFTOVER_AGE_S = 24 * 3600
TIDY_EVERY_S = 3600.0


@contextmanager
def work_folder() -> Iterator[Path]:
    """Yield a temporary folder for the work on one file."""
    with tempfile.TemporaryDirectory(dir=_work_root()) as folder:
        yield Path(folder)


@contextmanager
def stored_file(name: str, folder: Path) -> Iterator[VideoFile]:
    """The stored file: its path where storage is a disk, else one of which only what is asked for is fetched.

    Raises FileNotFoundError when storage does not have it: that is not the file's fault.
    """
    from ml.video.ranged_file import RangedFile

    if not default_storage.exists(name):
        raise FileNotFoundError(f"storage has no {name}")
    try:
        path = Path(default_storage.path(name))
    except NotImplementedError:
        cache = folder / f"original{Path(name).suffix}"
        with RangedFile(default_storage.size(name), partial(read_range, name), cache) as file:
            yield file
    else:
        yield path


def remove_leftovers() -> None:
    """What processes that were killed have left in the work folder.  Never raises."""
    try:
        for path in _work_root().iterdir():
            with suppress(FileNotFoundError):  # its process, or another's tidying, was quicker
                if time.time() - path.stat().st_mtime > LEFTOVER_AGE_S:
                    shutil.rmtree(path, ignore_errors=True)
    except OSError as error:
        log.warning("leftovers_not_removed", error=str(error))


_tidied_at = -TIDY_EVERY_S


def tidy_now_and_then() -> None:
    """Call `remove_leftovers` at most once an hour per process, where work is done."""
    global _tidied_at
    if time.monotonic() - _tidied_at > TIDY_EVERY_S:
        _tidied_at = time.monotonic()
        remove_leftovers()


def _work_root() -> Path:
    root: Path = settings.VAR_DIR / "work"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    return root
