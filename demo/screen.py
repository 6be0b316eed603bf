"""What the demo shows: the tasks on their way, and the table at the end."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from datetime import datetime
from typing import IO, Any

BAR = 24
HEADINGS = ("clip", "state", "verdict", "score", "faces", "seconds", "note")

Named = tuple[str, dict[str, Any]]
"""A file's name and its task as the API answered it."""


class Progress:
    """A line for each task, redrawn in place on a terminal; elsewhere a plain line whenever a task moves on."""

    def __init__(self, out: IO[str]) -> None:
        self._out, self._live = out, out.isatty()
        self._drawn = 0
        self._last: dict[str, tuple[Any, ...]] = {}

    def show(self, tasks: Sequence[Named]) -> None:
        width = max((len(name) for name, _ in tasks), default=0)
        if self._live and self._drawn:
            self._out.write(f"\x1b[{self._drawn}A")
        for number, (name, task) in enumerate(tasks):
            stage = task["stage"] if task["state"] in ("queued", "running") else task["state"]
            if self._live:
                filled = BAR * task["progress"] // 100
                bar = "#" * filled + "." * (BAR - filled)
                self._out.write(f"\x1b[2K  {name:<{width}}  [{bar}] {task['progress']:>3} %  {stage}\n")
                continue
            now = (task["state"], task["stage"])
            if self._last.get(str(number)) != now:
                self._last[str(number)] = now
                self._out.write(f"  {name:<{width}}  {task['state']:<9}  {task['progress']:>3} %  {stage}\n")
        self._drawn = len(tasks)
        self._out.flush()


def table(tasks: Sequence[Named]) -> str:
    """The answers as an aligned table, with a sentence below for each person-sized matter."""
    rows = [HEADINGS, *(_row(name, task) for name, task in tasks)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    text = "\n".join(lines) + "\n"
    if any("experimental_model" in _reasons(task) for _, task in tasks):
        text += "\n" + textwrap.fill(
            "The model is experimental: its measured quality is too low to be relied on, so every verdict waits for a"
            " person. ml/pretrained/MODEL_CARD.md has the figures.",
            width=110,
        )
        text += "\n"
    return text


def _reasons(task: dict[str, Any]) -> list[str]:
    return list(task["verdict"]["review_reasons"]) if task["verdict"] else []


def _row(name: str, task: dict[str, Any]) -> tuple[str, ...]:
    verdict, error = task["verdict"], task["error"]
    label = score = "-"
    faces = "0" if task["state"] == "no_face" else "-"
    note = ""
    if verdict:
        label, score = verdict["label"], f"{verdict['fake_probability']:.2f}"
        faces = " + ".join(str(len(person["frames"])) for person in verdict["faces"])
        if len(verdict["faces"]) > 1:
            note = f"{len(verdict['faces'])} people, score of track {verdict['track']}; "
        if verdict["needs_review"]:
            note += "needs review: " + ", ".join(verdict["review_reasons"])
    elif task["state"] == "no_face":
        note = "needs review: a person has to look"
    elif error:
        note = f"{error['code']}: {error['detail']}"
    elif task["stage"] == "awaiting_model":
        note = "waits for a model"
    return (name, task["state"], label, score, faces, _seconds(task), note.rstrip("; "))


def _seconds(task: dict[str, Any]) -> str:
    """From a worker's start on it to its end."""
    if not (task["started_at"] and task["finished_at"]):
        return "-"
    started, finished = (datetime.fromisoformat(task[key]) for key in ("started_at", "finished_at"))
    return f"{(finished - started).total_seconds():.1f}"
