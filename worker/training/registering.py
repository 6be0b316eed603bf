"""Register a file of weights with what the file says of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from detection.models import ModelKind, ModelVersion
from detection.services.learning import registry
from ml.model.weights import load_weights


def register_file(
    file: Path,
    *,
    sha256: str,
    activate: bool,
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    kind: str = ModelKind.NETWORK,
    source: str = "",
    parent: ModelVersion | None = None,
    fence: Callable[[], object] = lambda: None,
) -> ModelVersion:
    """Load a file as every worker will, and store it as a model version.

    Args:
        file: Weights, a detector of others or an ensemble.
        sha256: Its hash.
        activate: As an installation's first model; this and what follows `facts` is `registry.register_model`'s.
        name: Instead of the one in the file.
        config: Instead of the one in the file.
        facts: Added to the configuration.
        kind: What it is; the caller has checked the file.
        source: Where a detector of others comes from.
        parent: The version that it was made from.
        fence: Called in the transaction that adds the version.

    Raises:
        ml.model.weights.WeightsError: when it cannot be loaded; a number too large for float16 is infinite only there.
        Refused: see `registry.register_model`.
    """
    _, info = load_weights(file, sha256=sha256)
    return registry.register_model(
        file=file,
        name=name or info.name,
        sha256=sha256,
        config={**(info.config.to_dict() if config is None else config), **(facts or {})},
        metrics=info.metrics,
        threshold=info.threshold,
        temperature=info.temperature,
        shift=info.shift,
        experimental=info.experimental,
        training_data_sha256=info.training_data_sha256,
        trained_on=info.trained_on,
        license=info.license,
        kind=kind,
        source=source,
        parent=parent,
        activate=activate,
        fence=fence,
    )
