"""Files on disk that outlast a power cut: a name that `save` has returned may be written into a row."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.core.files.storage import FileSystemStorage


class DurableFileSystemStorage(FileSystemStorage):
    """Django's, with each new file and the folders that lead to it synced before `save` returns.

    Without it a rename may reach the disk long after the commit of the row that names the file.
    """

    def _save(self, name: str, content: Any) -> str:
        saved: str = super()._save(name, content)  # type: ignore[misc]  # django-stubs do not know it
        path, root = Path(self.path(saved)), Path(self.location)
        _sync(path)
        for folder in path.parents:
            _sync(folder)
            if folder == root.parent:
                break
        return saved


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
