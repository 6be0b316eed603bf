"""Check weights that others may have written; each fault is a sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from ml.model.weights import WeightsInfo


MAX_SHIFT = 50
"""Of log-odds: beyond it every score is 0 or 1."""


def info_fault(info: WeightsInfo) -> str | None:
    """Return what is wrong with the metadata, as words that follow the file's name, or None.

    The threshold must lie between 0 and 1 (both excluded, else every video gets the same label), the temperature above
    0, the shift within `MAX_SHIFT`.
    """
    if not _is_number(info.threshold) or not 0 < info.threshold < 1:
        return f"has the threshold {info.threshold!r}; it must be a number between 0 and 1."
    if not _is_number(info.temperature) or not info.temperature > 0:
        return f"has the temperature {info.temperature!r}; it must be a number above 0."
    if not _is_number(info.shift) or abs(info.shift) > MAX_SHIFT:
        return f"has the shift {info.shift!r}; it must be a number from -{MAX_SHIFT} to {MAX_SHIFT}."
    if not all(isinstance(text, str) for text in (info.name, info.training_data_sha256, info.license)):
        return "has a name, a license or a training data hash that is not text."
    if not isinstance(info.experimental, bool):
        return f"has experimental = {info.experimental!r}; it must be true or false."
    if not all(isinstance(identity, str) for identity in info.trained_on):
        return "has a list of identities that are not all text."
    if not isinstance(info.metrics, dict):
        return "has metrics that are not a JSON object."
    try:
        json.dumps(info.metrics, allow_nan=False)  # what a database takes as JSON
    except (TypeError, ValueError):
        return "has a metric that is NaN, infinite, or no JSON value."
    return None


def tensors_fault(state: Mapping[str, torch.Tensor]) -> str | None:
    """Return what is wrong with the tensors, or None if all numbers are finite."""
    bad = [name for name, tensor in state.items() if tensor.is_floating_point() and not bool(tensor.isfinite().all())]
    if not bad:
        return None
    return (
        f"holds NaN or infinite numbers ({len(bad)} of {len(state)} tensors, first {bad[0]}); no score comes of them."
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
