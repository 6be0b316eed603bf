"""Weights on disk: safetensors with metadata, checked on reading, never pickle."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ml.config import LABEL_MAP, ModelConfig
from ml.model import ensemble
from ml.model.external.manifest import ModelRefused
from ml.model.network import FaceSequenceClassifier
from ml.model.weights_check import info_fault, tensors_fault

FORMAT_VERSION = 1
BASELINE = Path(__file__).parent.parent / "pretrained" / "baseline.safetensors"


class WeightsError(Exception):
    """The file is not a set of weights this version can use; the message says why."""


@dataclass(frozen=True)
class WeightsInfo:
    """Metadata of a set of weights, as stored in the file's header."""

    name: str
    config: ModelConfig
    threshold: float = 0.5
    """A calibrated fake probability at or above it is FAKE."""
    temperature: float = 1.0
    """Sequence logits are divided by it before the softmax."""
    shift: float = 0.0
    """Added to the log-odds of FAKE after that; other than 0 only where an installation recalibrated the weights."""
    experimental: bool = True
    training_data_sha256: str = ""
    trained_on: tuple[str, ...] = ()
    """Identities (targets and donors) that training or validation has seen: nobody of them may judge these weights."""
    metrics: dict[str, Any] = field(default_factory=dict)
    license: str = ""
    """SPDX name of the terms that the weights are under, the strictest of their start's and their data's."""
    created_at: str = ""
    format_version: int = FORMAT_VERSION

    def to_header(self) -> dict[str, str]:
        """Return the metadata as the file's header."""
        body = asdict(self)
        if not self.shift:
            del body["shift"]  # so that programs of before there were shifts can read what has none
        return {"dfd": json.dumps(body, sort_keys=True), "format": "pt"}


def strictest(*licenses: str) -> str:
    """Return the SPDX name that binds most: what forbids commercial use before what does not, any before none."""
    return max(licenses, key=lambda name: ("-NC" in name, bool(name)), default="")


def file_sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def save_weights(model: FaceSequenceClassifier, info: WeightsInfo, path: Path, *, half: bool = True) -> str:
    """Write the weights atomically, as float16 unless `half` is false; return the file's sha256."""
    dtype = torch.float16 if half else torch.float32
    state = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous().cpu()
        for name, tensor in model.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(path.suffix + ".partial")
    save_file(state, str(partial), metadata=info.to_header())
    partial.replace(path)
    return file_sha256(path)


def save_with_info(source: Path, info: WeightsInfo, path: Path) -> str:
    """Write the tensors of `source`, byte for byte, under other metadata; return the new file's sha256.

    Or the ONNX model of `source`, under a manifest with what `info` says of name, calibration and figures; or the
    members of an ensemble.
    """
    if source.suffix == ensemble.SUFFIX:
        ensemble.rewrite_ensemble(source, info, path)
        return file_sha256(path)
    if not is_own(source):
        from ml.model.external.check import write_with_manifest
        from ml.model.external.network import ExternalNetwork

        manifest = replace(
            ExternalNetwork(source, file_sha256(source)).manifest,
            name=info.name,
            threshold=info.threshold,
            temperature=info.temperature,
            shift=info.shift,
            trained_on=info.trained_on,
            metrics=info.metrics,
        )
        write_with_manifest(source, manifest, path)
        return file_sha256(path)
    with safe_open(str(source), framework="pt") as handle:
        state = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a dict)
    partial = path.with_suffix(path.suffix + ".partial")
    save_file(state, str(partial), metadata=info.to_header())
    partial.replace(path)
    return file_sha256(path)


def read_info(path: Path) -> WeightsInfo:
    """Read the header only, without any tensor; what is no weights of our own is loaded.  Raises WeightsError."""
    if not is_own(path):
        return load_weights(path)[1]
    try:
        with safe_open(str(path), framework="pt") as handle:
            header = (handle.metadata() or {}).get("dfd")
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path.name} cannot be read as safetensors: {error}") from error
    if header is None:
        raise WeightsError(f"{path.name} has no metadata of this project; it was not written by ml.train.")
    try:
        body = json.loads(header)
        body["config"] = ModelConfig.from_dict(body["config"])
        body["trained_on"] = tuple(body.get("trained_on", ()))
        info = WeightsInfo(**body)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path.name}: its metadata cannot be understood: {error}") from error
    if info.format_version != FORMAT_VERSION:
        raise WeightsError(
            f"{path.name} has format version {info.format_version}; this program reads {FORMAT_VERSION}."
        )
    if info.config.label_map != LABEL_MAP:
        raise WeightsError(f"{path.name} has label map {info.config.label_map}; it must be {LABEL_MAP}.")
    fault = info_fault(info)
    if fault is not None:
        raise WeightsError(f"{path.name} {fault}")
    return info


def load_weights(path: Path, *, sha256: str | None = None) -> tuple[FaceSequenceClassifier, WeightsInfo]:
    """Return a float32 model in eval mode and its metadata.  Raises WeightsError, also if the hash is not `sha256`."""
    if sha256 is not None:
        found = file_sha256(path) if path.is_file() else "no file"
        if found != sha256:
            raise WeightsError(f"{path.name} has sha256 {found}; {sha256} was registered. Register the file again.")
    if path.suffix == ensemble.SUFFIX:
        return _load_ensemble(path)
    if not is_own(path):
        return _load_external(path, sha256 or file_sha256(path))
    info = read_info(path)
    model = FaceSequenceClassifier(info.config)
    with safe_open(str(path), framework="pt") as handle:
        state = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a dict)
    state = {name: t.float() if t.is_floating_point() else t for name, t in state.items()}
    fault = tensors_fault(state)
    if fault is not None:
        raise WeightsError(f"{path.name} {fault}")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{path.name} does not fit its own configuration: {error}") from error
    return model.eval(), info


def is_own(path: Path) -> bool:
    """Tell whether the file is no detector of others (`ml.model.external`) and no ensemble, by its name."""
    return path.suffix not in (".onnx", ensemble.SUFFIX)


def _load_ensemble(path: Path) -> tuple[FaceSequenceClassifier, WeightsInfo]:
    def info_of(head: dict[str, Any], config: ModelConfig) -> WeightsInfo:
        return WeightsInfo(**{**head, "config": config, "trained_on": tuple(head.get("trained_on", ()))})

    try:
        network, info = ensemble.load_ensemble(path, lambda file, sha256: load_weights(file, sha256=sha256), info_of)
    except (ValueError, TypeError, OSError) as error:
        raise WeightsError(f"{path.name} is no ensemble of this program: {error}") from error
    fault = info_fault(info)
    if fault is not None:
        raise WeightsError(f"{path.name} {fault}")
    return network.eval(), info


def _load_external(path: Path, sha256: str) -> tuple[FaceSequenceClassifier, WeightsInfo]:
    from ml.model.external.network import ExternalNetwork

    try:
        network = ExternalNetwork(path, sha256)
    except ModelRefused as error:
        raise WeightsError(f"{path.name}: {error.detail}") from error
    manifest = network.manifest
    info = WeightsInfo(
        name=manifest.name,
        config=network.config,
        threshold=manifest.threshold,
        temperature=manifest.temperature,
        shift=manifest.shift,
        trained_on=manifest.trained_on,
        metrics=manifest.metrics,
        license=manifest.license,
    )
    fault = info_fault(info)
    if fault is not None:
        raise WeightsError(f"{path.name} {fault}")
    return network.eval(), info
