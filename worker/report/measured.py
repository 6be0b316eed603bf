"""A model's metrics as sentences for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MOST = 6


def measured_quality(metrics: Any) -> list[str]:
    """Return what was measured of a model, at most `MOST` sentences; metrics may have any shape."""
    return list(_sentences(metrics))[:MOST]


def _sentences(metrics: Any) -> Iterator[str]:
    if not isinstance(metrics, Mapping):
        return
    for name, unit in (("videos", "videos"), ("frames", "single face pictures")):
        part = metrics.get(name)
        if not isinstance(part, Mapping):
            continue
        each = [("", part)] if "auc" in part else [(str(source), part[source]) for source in part]
        for source, measured in each:
            if isinstance(measured, Mapping) and (sentence := _sentence(measured, unit, source)):
                yield sentence


def _sentence(measured: Mapping[str, Any], unit: str, source: str) -> str:
    auc, real, fake = _value(measured, "auc"), measured.get("n_real"), measured.get("n_fake")
    if auc is None:
        return ""
    of = f" of {source}" if source else ""
    counted = (
        f" ({real} real and {fake} fake {unit}{of})"
        if isinstance(real, int) and isinstance(fake, int)
        else f" ({unit}{of})"
    )
    text = (
        f"On people whom it had not seen in training{counted} it ranks a fake above a real one in {auc:.0%} of all"
        f" pairs{_interval(measured.get('auc'))}; chance would be 50 %."
    )
    accuracy = _value(measured, "balanced_accuracy")
    return (
        text if accuracy is None else f"{text} It judges {accuracy:.0%} of them rightly, both kinds weighing the same."
    )


def _value(measured: Mapping[str, Any], name: str) -> float | None:
    value = measured.get(name)
    if isinstance(value, Mapping):
        value = value.get("value")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _interval(value: Any) -> str:
    if not isinstance(value, Mapping):
        return ""
    low, high = value.get("low"), value.get("high")
    numbers = isinstance(low, int | float) and isinstance(high, int | float)
    return f" (95 % interval {low:.0%} to {high:.0%})" if numbers else ""
