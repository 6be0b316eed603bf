"""Render an evaluation report as one self-contained HTML file: no script, font or image from elsewhere.

It is safe to open whatever the videos are called: everything is escaped, and a content security policy in the page
forbids it to load or run anything.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Faces = Callable[[str], Sequence[NDArray[np.uint8]]]

FACES_PER_MISTAKE = 5
FACE_SIDE = 96
"""Pixels of a face's longer side."""

FIGURES = {
    "auc": ("AUC", "a fake ranks above a real; 0.5 is guessing"),
    "accuracy": ("Accuracy", "right answers among all videos"),
    "balanced_accuracy": ("Balanced accuracy", "mean of both recalls; 0.5 is guessing"),
    "recall_fake": ("Fake recall", "fakes that are found"),
    "precision_fake": ("Fake precision", "fakes among those called fake"),
    "f1_fake": ("Fake F1", "harmonic mean of the two"),
    "recall_real": ("Real recall", "reals that are left alone"),
    "precision_real": ("Real precision", "reals among those called real"),
    "f1_real": ("Real F1", "harmonic mean of the two"),
    "average_precision": ("Average precision", "area under precision over recall"),
    "eer": ("Equal error rate", "where misses equal false alarms; lower is better"),
    "ece": ("Calibration error", "distance of probability and truth; lower is better"),
    "brier": ("Brier score", "squared error of the probability; lower is better"),
}
TILES = ("auc", "accuracy", "balanced_accuracy", "recall_fake", "recall_real")
GROUPS = {
    "dataset": ("Data set", ""),
    "method": ("Method", "The fakes of each method against the reals of the data sets it occurs in."),
    "compression": ("Compression", ""),
    "resolution": ("Resolution", "Height of the frame, in pixels."),
    "face_size": ("Face size", "Longer side of the face, in pixels."),
}
COLUMNS = ("auc", "accuracy", "recall_fake", "recall_real")
STAGES = {"frames": "Stage 1: single frames", "sequence": "Stage 2: sequences of faces"}


def render(report: Mapping[str, Any], faces: Faces | None = None) -> str:
    """Return the page of a report from `ml.evaluation.report.build_report`.

    `faces(key)` returns RGB crops of a mistaken video, (H, W, 3) each; the first five are shown.
    """
    # Imported here: who only scores videos needs neither.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "fact": fact, "percent": percent}
    return environment.get_template("evaluation.html").render(
        report={"before": None, **report},
        figures=FIGURES,
        tiles=TILES,
        group_titles=GROUPS,
        columns=COLUMNS,
        groups={name: _worth_a_table(rows) for name, rows in report["groups"].items()},
        any_few=any(row["few"] for rows in report["groups"].values() for row in rows),
        charts=_charts(report),
        stages=_stages(report["history"]),
        mistakes=[dict(mistake, faces=_faces(mistake["key"], faces)) for mistake in report["mistakes"]],
    )


def number(value: float | None) -> str:
    """Render two digits, or three for small numbers."""
    if value is None:
        return "–"  # noqa: RUF001 - a dash for people
    return f"{value:.3f}" if 0 < abs(value) < 0.01 else f"{value:.2f}"


def percent(value: float | None) -> str:
    """Render a share in percent, or a dash."""
    return "–" if value is None else f"{100 * value:.0f} %"  # noqa: RUF001 - a dash for people


def fact(value: Any) -> str:
    """Render a fact of any shape as a line of text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {fact(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(fact(inner) for inner in value) or "none"
    if value is None or value == "":
        return "not given"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _worth_a_table(rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Return no rows for a breakdown that only says "unknown"."""
    return [] if [row["name"] for row in rows] == ["unknown"] else rows


def _charts(report: Mapping[str, Any]) -> dict[str, Any]:
    from ml.evaluation import charts as draw

    summary, curves = report["summary"], report["curves"]
    if not summary:
        return {}
    charts = {
        "reliability": draw.reliability_chart(curves["reliability"], summary["ece"]["value"]),
        "histogram": draw.histogram_chart(curves["histogram"], report["threshold"]),
    }
    if before := report.get("before"):
        bins, ece = before["curves"]["reliability"], before["summary"]["ece"]["value"]
        charts["reliability_before"] = draw.reliability_chart(bins, ece, "before")
    if curves["roc"]:
        charts["roc"] = draw.roc_chart(curves["roc"], summary["auc"]["value"])
        charts["pr"] = draw.pr_chart(curves["pr"], summary["average_precision"]["value"])
    return charts


def _stages(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the charts of each training stage, in the order the stages began."""
    from ml.evaluation.charts import history_charts

    stages: dict[str, list[Mapping[str, Any]]] = {}
    for entry in history:
        stages.setdefault(str(entry.get("stage", "")), []).append(entry)
    drawn = [
        {
            "title": STAGES.get(stage, stage or "Training"),
            "epochs": len(entries),
            "last": entries[-1],
            "charts": history_charts(f"stage{k}", entries),
        }
        for k, (stage, entries) in enumerate(stages.items())
    ]
    return [stage for stage in drawn if stage["charts"]]


def _faces(key: str, faces: Faces | None) -> list[str]:
    """Return a mistake's faces as data URIs."""
    from PIL import Image

    found = []
    for crop in list(faces(key))[:FACES_PER_MISTAKE] if faces else []:
        image = Image.fromarray(np.ascontiguousarray(crop)).convert("RGB")
        image.thumbnail((FACE_SIDE, FACE_SIDE))
        out = io.BytesIO()
        image.save(out, "JPEG", quality=85)
        found.append("data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode())
    return found
