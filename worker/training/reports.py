"""The report of a run, in storage or in a folder, and what it means that there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from ml.data.crop_pack import Pack
from ml.evaluation.html import render
from worker.training import snapshot_pack


class NotEnough(Exception):
    """The labels do not make a training set; the message says what is missing."""


def store_report(folder: str, report: dict[str, Any], pack: Pack | None = None) -> str:
    """Writes `report.html` and `report.json` below `folder` in storage; returns the HTML's name."""
    html = render(report, snapshot_pack.faces_in(pack) if pack else None)
    for name, content in (("report.json", json.dumps(report, indent=1)), ("report.html", html)):
        stored = default_storage.save(f"{folder}/{name}", ContentFile(content.encode()))
    return stored


def write_report(folder: Path, report: dict[str, Any], pack: Pack | None) -> Path:
    """The same two files in a folder of the caller's; returns the HTML's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=1))
    (folder / "report.html").write_text(render(report, snapshot_pack.faces_in(pack) if pack else None))
    return folder / "report.html"
