"""Charts of an evaluation report as inline SVG that follows the page's colours, light and dark.

Matplotlib draws in stand-in colours, which become CSS variables; text stays text in the page's own font.  No name that
comes from data (methods, keys, stages) is ever drawn here: those belong to the template, which escapes them.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

INK, MUTED, LINE = "#010101", "#020202", "#030303"
REAL, FAKE, MAIN = "#040404", "#050505", "#060606"
VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line", REAL: "real", FAKE: "fake", MAIN: "main"}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "evaluation",
    "font.size": 10.0,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "xtick.major.pad": 6.0,
    "ytick.major.pad": 6.0,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
WIDE, SQUARE = (5.0, 3.2), (5.0, 4.4)


def chart(name: str, alt: str, size: tuple[float, float], draw: Callable[[Axes], None]) -> str:
    """Return one chart as an <svg> element; `name` keeps its ids apart from other charts of the page."""
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, "backend": "svg", **STYLE}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        out = io.StringIO()
        # As `savefig` ends up doing, which lays the chart out twice; the style has no background already.
        FigureCanvasSVG(figure).print_svg(out)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    body = svg[svg.index(">") + 1 :]
    box = re.search(r'viewBox="([-0-9. ]+)"', svg)
    # the fonts of whoever looks, not of the machine that drew
    body = re.sub(r"(font: [0-9.]+px )[^;\"]+", r"\1var(--font)", body)
    body = re.sub(r"font-family: [^;\"]+", "font-family: var(--font)", body)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var(--{variable})")
    body = body.replace("xlink:href", "href")
    body = re.sub(r'\bid="', f'id="{name}-', body).replace("url(#", f"url(#{name}-")
    body = body.replace('href="#', f'href="#{name}-')
    view = box[1] if box else ""
    return f'<svg class="chart" viewBox="{view}" role="img" aria-label="{html.escape(alt)}">{body}'


def history_charts(name: str, entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return accuracy and loss per epoch of one stage, training against validation; empty charts are left out."""
    found = []
    for what, series in (
        (
            "accuracy",
            (("train_accuracy", "training", "-"), ("val_accuracy", "validation", "-"), ("val_auc", "val. AUC", ":")),
        ),
        ("loss", (("train_loss", "training", "-"), ("val_loss", "validation", "-"))),
    ):
        lines = []
        for key, label, style in series:
            points = [
                (float(entry.get("epoch") or k), float(entry[key]))
                for k, entry in enumerate(entries, start=1)
                if entry.get(key) is not None
            ]
            if points:
                lines.append((label, style, MAIN if key.startswith("train") else FAKE, points))
        if lines:
            last = ", ".join(f"{label} {points[-1][1]:.3f}" for label, _, _, points in lines)
            alt = f"{what.capitalize()} per epoch; at the end {last}."
            found.append(chart(f"{name}-{what}", alt, WIDE, _lines(what, lines)))
    return found


def _lines(what: str, lines: Sequence[tuple[str, str, str, list[tuple[float, float]]]]) -> Callable[[Axes], None]:
    def draw(ax: Axes) -> None:
        for label, style, colour, points in lines:
            marker = "o" if len(points) <= 15 else ""
            ax.plot(
                *zip(*points, strict=True), style, color=colour, label=label, marker=marker, markersize=4, clip_on=False
            )
        ax.set_title(what.capitalize(), loc="left", fontsize=11)
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if what == "accuracy":
            low = min(value for *_, points in lines for _, value in points)
            ax.set_ylim(min(0.45, low - 0.05), 1.0)
        else:
            ax.set_ylim(bottom=0.0)
        # above the plot, where no curve can run through it
        ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(lines), handlelength=1.6, borderaxespad=0.2)

    return draw


def _unit(ax: Axes, x: str, y: str) -> None:
    ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel=x, ylabel=y, xticks=ticks, yticks=ticks)


def roc_chart(roc: Mapping[str, Any], auc: float) -> str:
    """Draw the ROC curve."""

    def draw(ax: Axes) -> None:
        ax.plot(roc["fpr"], roc["tpr"], color=MAIN, label=f"model, AUC {auc:.2f}", clip_on=False, zorder=3)
        ax.plot([0, 1], [0, 1], color=MUTED, linestyle=(0, (4, 3)), linewidth=1.2, label="guessing, AUC 0.50")
        _unit(ax, "reals called fake", "fakes found")
        ax.legend(loc="lower right")

    return chart("roc", f"ROC curve; the area under it is {auc:.2f}.", SQUARE, draw)


def pr_chart(pr: Mapping[str, Any], average_precision: float) -> str:
    """Draw precision over recall."""
    share = pr["share_fake"]

    def draw(ax: Axes) -> None:
        ax.step(
            pr["recall"], pr["precision"], color=MAIN, where="pre", label=f"model, AP {average_precision:.2f}", zorder=3
        )
        ax.plot(
            [0, 1], [share, share], color=MUTED, linestyle=(0, (4, 3)), linewidth=1.2, label=f"guessing, {share:.2f}"
        )
        _unit(ax, "recall: share of the fakes that is found", "precision: share that is fake of those called fake")
        ax.set_ylim(0, 1.02)
        ax.legend(loc="lower left")

    return chart("pr", f"Precision and recall; average precision is {average_precision:.2f}.", SQUARE, draw)


def reliability_chart(bins: Sequence[Mapping[str, Any]], ece: float, name: str = "reliability") -> str:
    """Draw the share of fakes over the fake probability, with intervals."""
    filled = [b for b in bins if b["n"]]
    most = max((b["n"] for b in filled), default=1)

    def draw(ax: Axes) -> None:
        ax.plot([0, 1], [0, 1], color=MUTED, linestyle=(0, (4, 3)), linewidth=1.2, label="what it should be")
        for b in filled:
            if b["low"] is not None:
                ax.plot([b["mean_score"]] * 2, [b["low"], b["high"]], color=MAIN, linewidth=1.6, alpha=0.45)
        ax.plot(
            [b["mean_score"] for b in filled], [b["share_fake"] for b in filled], color=MAIN, linewidth=1, alpha=0.4
        )
        ax.scatter(
            [b["mean_score"] for b in filled],
            [b["share_fake"] for b in filled],
            s=[24 + 90 * b["n"] / most for b in filled],
            color=MAIN,
            zorder=3,
            clip_on=False,
            label="videos (size: how many)",
        )
        _unit(ax, "fake probability given", "share that is fake")
        legend = ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.02), ncols=2, columnspacing=1.4)
        legend.legend_handles[-1].set_sizes([40])  # type: ignore[union-attr]

    return chart(name, f"Reliability diagram; the expected calibration error is {ece:.2f}.", SQUARE, draw)


def histogram_chart(histogram: Mapping[str, Any], threshold: float) -> str:
    """Draw the histogram of scores by label."""
    edges = histogram["edges"]
    width = edges[1] - edges[0]

    def draw(ax: Axes) -> None:
        middles = [(a + b) / 2 for a, b in pairwise(edges)]
        # fakes above the axis, reals below it: nothing hides behind anything
        ax.bar(middles, histogram["fake"], width=width * 0.86, color=FAKE, label="fake videos")
        ax.bar(middles, [-n for n in histogram["real"]], width=width * 0.86, color=REAL, label="real videos")
        ax.axhline(0, color=MUTED, linewidth=1)
        ax.axvline(threshold, color=INK, linestyle=(0, (4, 3)), linewidth=1.2, label=f"threshold {threshold:.2f}")
        most = max(1, *histogram["fake"], *histogram["real"])
        ax.set(xlim=(0, 1), xlabel="fake probability given", ylabel="videos", ylim=(-1.08 * most, 1.08 * most))
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
        ax.yaxis.set_major_formatter(lambda value, _: f"{abs(value):.0f}")
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.02), ncols=3, handlelength=1.2, columnspacing=1.4)

    return chart("histogram", "How many real and fake videos got which fake probability.", SQUARE, draw)
