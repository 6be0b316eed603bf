"""A real embedded broker, in a folder that goes away."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from detection import dispatch
from worker.process import embedded_broker


@pytest.fixture
def embedded(settings: Any) -> Iterator[Path]:
    """Settings that name a broker which does not run yet; whatever runs at the end is ended."""
    folder = Path(tempfile.mkdtemp(prefix="dfd-broker-"))  # short: a socket's path has little room
    settings.REDIS_URL = ""
    settings.EMBEDDED_BROKER_DIR = folder
    settings.EMBEDDED_BROKER_SOCKET = folder / "valkey.sock"
    settings.CELERY_BROKER_URL = f"redis+socket://{folder / 'valkey.sock'}"
    dispatch._app.cache_clear()
    yield folder
    embedded_broker.stop()
    dispatch._app.cache_clear()
    shutil.rmtree(folder)
