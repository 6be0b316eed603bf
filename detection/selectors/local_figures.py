"""How good a model is on this installation's random audit, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from detection.models import LocalFigures, ModelVersion


@dataclass(frozen=True)
class Here:
    """What there is to say; `figures` as in `LocalFigures`, empty where nothing was measured."""

    sentence: str
    enough: bool
    figures: Mapping[str, Any]
    measured_at: datetime | None


def here(*, model: ModelVersion) -> Here:
    """Say how good the model is on the random audit, or that there are not enough labels yet."""
    row = LocalFigures.objects.filter(model_version=model, measured_at__isnull=False).first()
    if row is None or not isinstance(row.figures, Mapping) or not row.figures:
        sentence = (
            "How good it is here is not known yet. A worker of the queue “train” measures it within an hour, once"
            " labels of the random audit are settled."
        )
        return Here(sentence, False, {}, None)
    figures = row.figures
    n, fakes, reals = figures["n"], figures["n_fake"], figures["n_real"]
    if not figures["enough"]:
        sentence = (
            f"Not enough labels yet to say how good it is here: {reals} real and {fakes} fake"
            f" video{'s' if n != 1 else ''} of the random audit, of {figures['n_groups']} groups of people,"
            f" are settled; it takes {figures['needs_videos']} of {figures['needs_groups']} groups."
        )
        return Here(sentence, False, figures, row.measured_at)
    sentence = (
        f"Here it is right about {_share(figures['accuracy'])} of the videos, on {n:,} of the random audit"
        f" ({reals:,} real, {fakes:,} fake)."
    )
    recall = figures["recall_fake"]
    if recall["value"] is None:
        sentence += " No fake is among them, so nothing is known of those that it misses."
    else:
        sentence += f" Of the fakes it finds {_share(recall)}."
    return Here(sentence, True, figures, row.measured_at)


def _share(metric: Mapping[str, float | None]) -> str:
    """Render a metric in percent with its interval."""
    value, low, high = (metric[part] for part in ("value", "low", "high"))
    assert value is not None
    if low is None or high is None:
        return f"{100 * value:.1f} % (too few people for an interval)"
    return f"{100 * value:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f} %)"
