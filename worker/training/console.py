"""Held-out figures as lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def lines(figures: Mapping[str, Any]) -> list[str]:
    """One figure a line with its interval, then the confusion matrix and the naive answer where they are known."""
    found = []
    for name, value in figures.items():
        if isinstance(value, dict) and "value" in value:
            number = "-" if value["value"] is None else f"{value['value']:.3f}"
            interval = "" if value["low"] is None else f"({value['low']:.3f} to {value['high']:.3f})"
            found.append(f"  {name:20} {number} {interval}".rstrip())
    if "confusion_matrix" in figures:
        (rr, rf), (fr, ff) = figures["confusion_matrix"]
        found.append(f"  real: {rr} called real, {rf} called fake;  fake: {fr} called real, {ff} called fake")
    if figures.get("majority_accuracy") is not None:
        found.append(f"  always the commoner answer: accuracy {figures['majority_accuracy']:.3f}")
    return found
