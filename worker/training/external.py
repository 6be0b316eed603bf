"""Register a detector that others trained: check, calibrate on this installation's labelled videos, store."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from detection.errors import Refused
from detection.models import ModelKind, ModelVersion
from detection.services.learning import registry, snapshots
from ml.data.splits import VAL, split_rows
from ml.evaluation.promotion_gate import WORSE_THAN_CHANCE, compare_alone, enough
from ml.model.external.check import check_model, write_with_manifest
from ml.model.external.manifest import Manifest, ModelRefused, read_manifest
from ml.model.weights import file_sha256, load_weights
from ml.training.feature_cache import FeatureCache
from ml.training.fit import FitOptions, calibrate, scored_split
from worker.training import snapshot_pack

SUFFIX = ".onnx"


def register(
    file: Path, manifest_file: Path, *, name: str | None, activate: bool, say: Callable[[str], None]
) -> ModelVersion:
    """Register an ONNX file under its manifest.

    Raises:
        Refused: with the code of `ModelRefused` (`ml.model.external`), or `worse_than_chance` where the labelled videos
            say that FAKE is the other output.
        ml.data.crop_pack.PackError: when a labelled video's face is gone from storage.
    """
    with tempfile.TemporaryDirectory(prefix="dfd-register-") as folder:
        made = Path(folder) / f"model{SUFFIX}"
        try:
            manifest = read_manifest(manifest_file)
            if name:
                manifest = replace(manifest, name=name)
            check_model(file, manifest)
            write_with_manifest(file, manifest, made)
            calibrated = _calibrated(made, manifest, say)
        except ModelRefused as error:
            raise Refused(error.code, error.detail) from error
        write_with_manifest(file, calibrated, made)
        sha256 = file_sha256(made)
        _, info = load_weights(made, sha256=sha256)  # as every worker will
        return registry.register_model(
            file=made,
            name=info.name,
            sha256=sha256,
            config=info.config.to_dict() | {"manifest": _facts(calibrated)},
            metrics=info.metrics,
            threshold=info.threshold,
            temperature=info.temperature,
            shift=info.shift,
            experimental=info.experimental,
            training_data_sha256="",
            trained_on=info.trained_on,
            license=info.license,
            kind=ModelKind.ONNX_FACE,
            source=calibrated.source,
            activate=activate,
        )


def _facts(manifest: Manifest) -> dict[str, object]:
    """What of the manifest the model's page shows and the configuration does not have."""
    return {
        "input": manifest.input,
        "output": manifest.output,
        "output_kind": manifest.output_kind,
        "fake": manifest.fake,
        "colour": manifest.colour,
    }


def _calibrated(made: Path, manifest: Manifest, say: Callable[[str], None]) -> Manifest:
    """Return the manifest with temperature, threshold and borders that fit this installation's validation videos.

    With too few of them it is returned as it is.  Raises Refused: `worse_than_chance`.
    """
    seen = set(manifest.trained_on)
    items = snapshots.read_snapshot(snapshot=snapshot_pack.freeze(seed=0, seen=seen))
    items = [item for item in items if item.split == VAL and not {item.identity, item.donor} & seen]
    if not items:
        say("Not calibrated: there is no labelled video to do it on; the manifest's threshold holds.")
        return manifest
    network, info = load_weights(made)
    pack = snapshot_pack.pack_of(items)
    features, options = FeatureCache(snapshot_pack.feature_folder(), network), FitOptions()
    videos = scored_split(network, pack, VAL, features, options, temperature=info.temperature, shift=info.shift)
    if not enough(videos):
        say(f"Not calibrated: {len(videos)} labelled videos are too few for it; the manifest's threshold holds.")
        return manifest
    alone = compare_alone(videos, threshold=info.threshold)
    if alone.code == WORSE_THAN_CHANCE:
        auc = alone.figures["auc"]
        raise Refused(
            WORSE_THAN_CHANCE,
            f"On {len(videos)} labelled videos the model is worse than chance: its AUC is {auc['challenger']:.2f}, and"
            f" guessing has 0.50. Is FAKE the other output? The manifest says {manifest.fake!r}.",
        )
    temperature, threshold, borders = calibrate(network, pack, split_rows(pack), features, options, None)
    say(f"Calibrated on {len(videos)} labelled videos: fake from {threshold:.3f}, temperature {temperature:.2f}.")
    metrics = {"assessment": borders.to_metrics()} if borders else {}
    return replace(manifest, temperature=temperature, threshold=threshold, shift=0.0, metrics=metrics)
