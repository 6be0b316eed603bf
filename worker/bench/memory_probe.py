"""The process whose memory `worker.bench.pipeline` measures: what a worker has imported, and no more."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from worker import app as celery  # noqa: F401 (a worker has it in memory, too)
from worker.bench.in_process import Product, extract
from worker.process import host, runtime


def process(stages: str, weights: str, *paths: str) -> None:
    """Do the files one after another, by `extract` alone or by `both` stages; prints the peak as JSON."""
    runtime.share_cores(processes=1)
    work: Callable[[Path, Path], object]
    if stages == "both":
        runtime.prepare()
        work = Product(Path(weights)).run
    else:
        runtime.prepare_vision()
        work = partial(extract, runtime.detector(), stages={})
    with tempfile.TemporaryDirectory() as name:
        for path in map(Path, paths):
            work(path, Path(name))
    peak, libraries = host.peak_bytes(), host.status_bytes("RssFile") or 0
    print(json.dumps({"peak_mb": round(peak / 1024**2, 1), "libraries_mb": round(libraries / 1024**2, 1)}))
