"""Render a model's metrics as tables; `{"value", "low", "high"}` is one metric with its confidence interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from detection.localized import numeral

SEPARATOR = " / "
# Where an evaluation keeps the figures that speak for the whole model, the best known first.
HEADLINE_SECTIONS = ("summary", "videos", "test")


@dataclass(frozen=True)
class Section:
    """A titled table of (name, text) rows."""

    title: str
    pairs: tuple[tuple[str, str], ...]


def flatten(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Return nested metrics as (name, text) rows; long lists (curves) are only counted."""
    if isinstance(value, dict) and not is_interval(value):
        names = {key: f"{prefix}{SEPARATOR}{key}" if prefix else str(key) for key in value}
        return [row for key, item in value.items() for row in flatten(item, names[key])]
    return [(prefix, metric_text(value))]


def metric_text(value: Any) -> str:
    """Render one metric as text."""
    if is_interval(value):
        texts = {part: metric_text(value[part]) for part in ("value", "low", "high")}
        return _("%(value)s (%(low)s to %(high)s)") % texts
    if isinstance(value, list | tuple):
        if len(value) > 6 or any(isinstance(item, dict) for item in value):
            return _("%(n)s values") % {"n": len(value)}
        return "  |  ".join(
            " ".join(map(metric_text, item)) if isinstance(item, list) else metric_text(item) for item in value
        )
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, float):
        return numeral(f"{value:.3g}")
    return "-" if value is None else str(value)[:200]


def is_interval(value: Any) -> bool:
    """Return whether a value is a metric with its interval."""
    return isinstance(value, dict) and {"value", "low", "high"} <= set(value)


def headline(metrics: Any, name: str = "auc") -> str | None:
    """Return the metric `name` of the whole model as text, or None where it has none."""
    if not isinstance(metrics, dict):
        return None
    for section in (metrics, *(metrics.get(title) for title in HEADLINE_SECTIONS)):
        if isinstance(section, dict) and name in section:
            return metric_text(section[name])
    return None


def sections(metrics: Any) -> tuple[Section, ...]:
    """Group the metrics into tables, those of the whole model first."""
    if not isinstance(metrics, dict):
        return ()
    groups = {key: value for key, value in metrics.items() if isinstance(value, dict) and not is_interval(value)}
    whole = {key: value for key, value in metrics.items() if key not in groups}
    ordered = [title for title in HEADLINE_SECTIONS if title in groups]
    ordered += [title for title in groups if title not in ordered]
    found = [Section(title, tuple(flatten(groups[title]))) for title in ordered]
    return tuple([Section(_("model"), tuple(flatten(whole))), *found] if whole else found)
