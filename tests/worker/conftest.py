"""A real embedded broker, in a folder that goes away."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from detection import dispatch
from ml.model import onnx_backbone
from ml.model.network import FaceSequenceClassifier
from worker.process import embedded_broker

EXPORTS: dict[str, bytes] = {}
"""By name: the hash of the weights."""


@pytest.fixture(scope="module", autouse=True)
def exports_made_once() -> Iterator[None]:
    """Each test has a cache of its own, and most have the same few weights: their export is made once.

    For the files of this folder only, which a fixture for the session would outlast.
    """
    export = onnx_backbone._export

    def remember(model: FaceSequenceClassifier, path: Path) -> None:
        if path.name in EXPORTS:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(EXPORTS[path.name])
        else:
            export(model, path)
            EXPORTS[path.name] = path.read_bytes()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_backbone, "_export", remember)
        yield


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
