"""Register a detector that others trained, or the mean of versions: check, calibrate on the labelled videos, store."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from detection.errors import Refused
from detection.models import ModelKind, ModelVersion
from detection.services.learning import registry, snapshots
from ml.config import LooksAt, ModelConfig
from ml.data.splits import VAL, split_rows
from ml.evaluation.promotion_gate import WORSE_THAN_CHANCE, compare_alone, enough
from ml.model.ensemble import MAX_MEMBERS, MIN_MEMBERS, write_ensemble
from ml.model.external.check import check_model, write_with_manifest
from ml.model.external.manifest import Manifest, ModelRefused, read_manifest
from ml.model.weights import WeightsInfo, file_sha256, load_weights, strictest
from ml.training.feature_cache import FeatureCache
from ml.training.fit import FitOptions, calibrate, scored_split
from worker.training import snapshot_pack
from worker.training.registering import register_file

SUFFIX = ".onnx"
KINDS = {
    LooksAt.FACE: ModelKind.ONNX_FACE,
    LooksAt.SEQUENCE: ModelKind.ONNX_SEQUENCE,
    LooksAt.FRAMES: ModelKind.ONNX_FRAMES,
}
TAKES_ONE_FACE = (ModelKind.NETWORK, ModelKind.ONNX_FACE)


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
        except ModelRefused as error:
            raise Refused(error.code, error.detail) from error
        polarity = f"Is FAKE the other output? The manifest says {manifest.fake!r}."
        found = _calibrated(made, set(manifest.trained_on), polarity, say)
        calibrated = manifest
        if found is not None:
            calibrated = replace(
                manifest, temperature=found.temperature, threshold=found.threshold, shift=0.0, metrics=found.metrics
            )
        write_with_manifest(file, calibrated, made)
        return register_file(
            made,
            sha256=file_sha256(made),
            facts={"manifest": _facts(calibrated)},
            kind=KINDS[LooksAt(calibrated.looks_at)],
            source=calibrated.source,
            activate=activate,
        )


def register_mean(
    references: Sequence[str], *, name: str | None, activate: bool, say: Callable[[str], None]
) -> ModelVersion:
    """Register the mean of versions, each named by id, name or hash.

    Raises:
        Refused: `invalid_ensemble`, `unknown_model`, `ambiguous_model`, `worse_than_chance`.
        ml.model.weights.WeightsError: when a member cannot be loaded.
        ml.data.crop_pack.PackError: when a labelled video's face is gone from storage.
    """
    versions = list({v.id: v for v in (registry.find_model(reference=r) for r in references)}.values())
    if not MIN_MEMBERS <= len(versions) <= MAX_MEMBERS or any(v.kind == ModelKind.ENSEMBLE for v in versions):
        raise Refused(
            "invalid_ensemble", f"An ensemble has {MIN_MEMBERS} to {MAX_MEMBERS} different members, none an ensemble."
        )
    if others := [v for v in versions if v.kind not in TAKES_ONE_FACE]:
        raise Refused(
            "invalid_ensemble",
            f"{others[0]} looks at whole sequences or frames; an ensemble is of models that look at one face at a"
            " time.",
        )
    files = [(registry.local_weights(model=v), v.name, v.sha256) for v in versions]
    infos = [load_weights(file, sha256=sha256)[1] for file, _, sha256 in files]
    info = WeightsInfo(
        name=name or f"mean of {', '.join(v.name for v in versions)}"[:100],
        config=ModelConfig(),  # the members' own
        trained_on=tuple(sorted({who for one in infos for who in one.trained_on})),
        license=strictest(*(one.license for one in infos)),
    )
    with tempfile.TemporaryDirectory(prefix="dfd-register-") as folder:
        made = Path(folder) / f"model{registry.SUFFIXES[ModelKind.ENSEMBLE]}"
        write_ensemble(files, info, made)
        found = _calibrated(made, set(info.trained_on), "The mean of the members is.", say)
        if found is not None:
            info = replace(info, temperature=found.temperature, threshold=found.threshold, metrics=found.metrics)
            write_ensemble(files, info, made)
        return register_file(
            made,
            sha256=file_sha256(made),
            facts={"of": [{"name": v.name, "sha256": v.sha256} for v in versions]},
            kind=ModelKind.ENSEMBLE,
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
        "looks_at": manifest.looks_at,
        "shape": manifest.shape,
        "pictures": manifest.pictures,
        "crop": manifest.crop,
    }


@dataclass(frozen=True)
class _Calibration:
    temperature: float
    threshold: float
    metrics: dict[str, Any]


def _calibrated(made: Path, seen: set[str], polarity: str, say: Callable[[str], None]) -> _Calibration | None:
    """Fit temperature, threshold and borders on this installation's validation videos; None with too few of them.

    Raises Refused: `worse_than_chance`, whose sentence ends with `polarity`.
    """
    items = snapshots.read_snapshot(snapshot=snapshot_pack.freeze(seed=0, seen=seen))
    items = [item for item in items if item.split == VAL and not {item.identity, item.donor} & seen]
    network, info = load_weights(made)
    items = snapshot_pack.judged_by(network, items)
    if not items:
        say("Not calibrated: there is no labelled video to do it on.")
        return None
    pack = snapshot_pack.shown_to(network, items)
    features, options = FeatureCache(snapshot_pack.feature_folder(), network), FitOptions()
    videos = scored_split(network, pack, VAL, features, options, temperature=info.temperature, shift=info.shift)
    if not enough(videos):
        say(f"Not calibrated: {len(videos)} labelled videos are too few for it.")
        return None
    alone = compare_alone(videos, threshold=info.threshold)
    if alone.code == WORSE_THAN_CHANCE:
        auc = alone.figures["auc"]
        raise Refused(
            WORSE_THAN_CHANCE,
            f"On {len(videos)} labelled videos the model is worse than chance: its AUC is {auc['challenger']:.2f}, and"
            f" guessing has 0.50. {polarity}",
        )
    temperature, threshold, borders = calibrate(network, pack, split_rows(pack), features, options, None)
    say(f"Calibrated on {len(videos)} labelled videos: fake from {threshold:.3f}, temperature {temperature:.2f}.")
    return _Calibration(temperature, threshold, {"assessment": borders.to_metrics()} if borders else {})
