"""Charts of a training's history as SVG coordinates; includes/charts.html draws them in the page's colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from detection.localized import numeral

WIDTH, HEIGHT = 320, 160
LEFT, RIGHT, TOP, BOTTOM = 38, 8, 8, 22
STAGES = {"frames": gettext_lazy("single frames"), "sequence": gettext_lazy("sequences of faces")}
FIGURES = (
    (
        gettext_lazy("Loss"),
        (("train_loss", gettext_lazy("training"), "train"), ("val_loss", gettext_lazy("validation"), "val")),
    ),
    (
        gettext_lazy("Accuracy"),
        (
            ("train_accuracy", gettext_lazy("training"), "train"),
            ("val_accuracy", gettext_lazy("validation"), "val"),
            ("val_auc", "AUC", "auc"),
        ),
    ),
)
MAX_EPOCHS = 1000
ABSURD = 1e9
"""A loss that has run away would press the rest of its line flat; it is left out, as is what is no number."""


@dataclass(frozen=True)
class Dot:
    """One epoch's value, in SVG pixels; `text` is its tooltip."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Line:
    """One metric over the epochs; `path` are the points of an SVG polyline."""

    name: str
    style: str
    path: str
    dots: tuple[Dot, ...]
    last: str


@dataclass(frozen=True)
class Tick:
    """A mark of an axis, in SVG pixels."""

    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """Lines on one pair of axes."""

    title: str
    lines: tuple[Line, ...]
    ys: tuple[Tick, ...]
    xs: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def charts(history: Any) -> list[Chart]:
    """Return a loss and an accuracy chart for each stage in the history; values that are no numbers are dropped."""
    entries = [entry for entry in history if isinstance(entry, Mapping)] if isinstance(history, list) else []
    found = []
    for stage, stage_title in STAGES.items():
        rows = [entry for entry in entries if entry.get("stage") == stage][:MAX_EPOCHS]
        for title, columns in FIGURES:
            series = {key: _series(rows, key) for key, _, _ in columns}
            if any(series.values()):
                names = {key: (str(name), style) for key, name, style in columns if series[key]}
                found.append(_chart(f"{title}: {stage_title}", series, names, shares="train_accuracy" in series))
    return found


def _series(rows: Sequence[Mapping[str, Any]], key: str) -> list[tuple[int, float]]:
    found = []
    for number, row in enumerate(rows, start=1):
        value, epoch = row.get(key), row.get("epoch")
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < ABSURD:
            found.append((epoch if isinstance(epoch, int) else number, float(value)))
    return found


def _chart(
    title: str, series: Mapping[str, list[tuple[int, float]]], names: Mapping[str, tuple[str, str]], *, shares: bool
) -> Chart:
    points = [point for values in series.values() for point in values]
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    ticks = [k / 10 for k in range(5, 11)] if shares and low >= 0.5 and high <= 1.0 else nice(min(low, 0.0), high)
    bottom, top = ticks[0], max(ticks[-1], high)

    def x_of(epoch: int) -> float:
        share = (epoch - first) / (last - first) if last > first else 0.5
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y_of(value: float) -> float:
        share = (value - bottom) / (top - bottom) if top > bottom else 0.5
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    lines = []
    for key, (name, style) in names.items():
        dots = tuple(
            Dot(x_of(x), y_of(y), _("epoch %(epoch)s") % {"epoch": x} + f", {name}: " + numeral(f"{y:.3f}"))
            for x, y in series[key]
        )
        path = " ".join(f"{dot.x},{dot.y}" for dot in dots)
        lines.append(Line(name, style, path, dots, numeral(f"{series[key][-1][1]:.3f}")))
    step = max(1, math.ceil((last - first) / 6))
    return Chart(
        title=title,
        lines=tuple(lines),
        ys=tuple(Tick(y_of(tick), numeral(f"{tick:.3g}")) for tick in ticks),
        xs=tuple(Tick(x_of(epoch), str(epoch)) for epoch in range(first, last + 1, step)),
    )


def nice(low: float, high: float) -> list[float]:
    """Return three to six round tick values that enclose `low` and `high`."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= span / 4 * 0.999)
    start = math.floor(low / step + 1e-9) * step
    return [round(start + k * step, 10) for k in range(math.ceil((high - start) / step - 1e-9) + 1)]
