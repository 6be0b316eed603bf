"""Drawings of the PDF: the scale of four words, and the timeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reportlab.graphics.shapes import Circle, Drawing, Line, Rect, String
from reportlab.lib.colors import HexColor, white

from worker.report.text import BOLD, REGULAR

INK, GREY, PALE, LINE = HexColor("#1f2430"), HexColor("#667085"), HexColor("#f1f3f7"), HexColor("#c9cfda")
STEPS = {
    "likely_real": HexColor("#18794e"),
    "unclear": HexColor("#5b6472"),
    "suspicious": HexColor("#b45309"),
    "likely_fake": HexColor("#b42318"),
}
UNJUDGED = HexColor("#98a2b3")


def scale(steps: Sequence[Mapping[str, str]], assessment: str, width: float) -> Drawing:
    """Draw the words side by side, that of the verdict filled."""
    height, gap = 26.0, 4.0
    drawing = Drawing(width, height)
    each = (width - gap * (len(steps) - 1)) / len(steps)
    for number, step in enumerate(steps):
        colour, chosen = STEPS.get(step["assessment"], UNJUDGED), step["assessment"] == assessment
        x = number * (each + gap)
        drawing.add(
            Rect(
                x, 0, each, height, rx=3, ry=3, fillColor=colour if chosen else PALE, strokeColor=colour, strokeWidth=1
            )
        )
        drawing.add(
            String(
                x + each / 2, 9, step["title"], textAnchor="middle", fontName=BOLD if chosen else REGULAR, fontSize=9.5,
                fillColor=white if chosen else GREY,
            )
        )  # fmt: skip
    return drawing


def timeline(document: Mapping[str, Any], width: float) -> Drawing | None:
    """Draw which parts were looked at and what each face scores; None where nothing was looked at."""
    segments = document["segments"]
    if not segments:
        return None
    whole = max(document["video"]["duration_s"] or 0.0, segments[-1]["end_s"], 0.001)
    verdict = document["verdict"]
    left, top, bottom = 26.0, 96.0, 22.0
    inner = width - left - 8

    def x_of(seconds: float) -> float:
        return left + inner * min(1.0, max(0.0, seconds / whole))

    def y_of(score: float) -> float:
        return bottom + (top - bottom) * score

    drawing = Drawing(width, top + 8)
    drawing.add(Rect(left, bottom, inner, top - bottom, fillColor=white, strokeColor=LINE, strokeWidth=0.5))
    for part in segments:
        start, end = x_of(part["start_s"]), x_of(part["end_s"])
        drawing.add(Rect(start, bottom, max(1.5, end - start), top - bottom, fillColor=PALE, strokeColor=None))
    for score in (0.0, 0.5, 1.0):
        drawing.add(
            String(
                left - 4, y_of(score) - 3, f"{score:g}", textAnchor="end", fontName=REGULAR, fontSize=7, fillColor=GREY
            )
        )
    if verdict:
        threshold = y_of(verdict["threshold"])
        drawing.add(
            Line(left, threshold, left + inner, threshold, strokeColor=GREY, strokeWidth=0.7, strokeDashArray=[3, 2])
        )
    for person in document["people"]:
        for face in person["faces"]:
            score = face["fake_probability"]
            if score is not None and verdict:
                colour = STEPS["likely_fake"] if score >= verdict["threshold"] else STEPS["likely_real"]
                drawing.add(Circle(x_of(face["timestamp_s"]), y_of(score), 1.7, fillColor=colour, strokeColor=None))
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        drawing.add(
            String(
                left + inner * share, bottom - 11, moment(whole * share), textAnchor=anchor, fontName=REGULAR,
                fontSize=7, fillColor=GREY,
            )
        )  # fmt: skip
    drawing.add(Line(left, bottom, left + inner, bottom, strokeColor=INK, strokeWidth=0.7))
    return drawing


def moment(seconds: float) -> str:
    """Return a moment in a video as people read it: 4.2 s, 1:03.5, 1:02:03."""
    seconds = round(seconds, 1)  # before it is taken apart, or 119.97 would be 1:60.0
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes:.0f}:{rest:04.1f}"
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{int(rest):02}"
