"""Several registered versions as one: the mean of how far each one's log-odds lie from its own threshold.

The file is a zip archive of the members' files and `ensemble.json`, so that one version is one file with one hash, and
lives on when a member is removed.  Every member sees the stored crop in its own way.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ml.config import Alignment, FaceConfig, Label, ModelConfig
from ml.model.external.network import ExternalNetwork, Identity
from ml.model.network import FaceSequenceClassifier
from ml.model.onnx_backbone import onnx_backbone
from ml.model.preprocessing import crops_to_tensor

if TYPE_CHECKING:
    from ml.model.weights import WeightsInfo

SUFFIX = ".zip"
HEAD = "ensemble.json"
MIN_MEMBERS, MAX_MEMBERS = 2, 8
MAX_MEMBER_BYTES = 1024**3
_MEMBER = re.compile(r"[0-7]\.(safetensors|onnx)")

Loaded = tuple[FaceSequenceClassifier, "WeightsInfo"]


class EnsembleNetwork(FaceSequenceClassifier):
    """Takes stored crops (N, 3, S, S) from 0 to 1; its features are the members' one after another.

    It cannot be trained.
    """

    def __init__(self, members: Sequence[Loaded], sha256s: Sequence[str]) -> None:
        nn.Module.__init__(self)  # it has no layers but its members'
        self.networks = nn.ModuleList(network for network, _ in members)
        self.infos = [info for _, info in members]
        self.sha256s = tuple(sha256s)
        self.quick: dict[int, Callable[[Tensor], Tensor]] = {}
        """Backbones of members that compute elsewhere (`ml.model.onnx_backbone`), by the member's number."""
        self.config = ModelConfig(
            backbone="ensemble",
            members=len(members),
            feature_dim=sum(_views(info) * info.config.feature_dim for info in self.infos),
            lstm_hidden=1,
            frame_mean=True,
            input_size=FaceConfig.crop_size,
            alignment=Alignment.NONE,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
        )
        self.backbone = Identity(hashlib.sha256(" ".join(sha256s).encode()).hexdigest())
        self.place = nn.Parameter(torch.zeros(1), requires_grad=False)  # says which device the rest is on

    def features(self, frames: Tensor) -> Tensor:
        """Crops (N, 3, S, S) from 0 to 1 -> (N, F)."""
        crops = list((frames * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())
        found = []
        for k, (network, info) in enumerate(self._members()):
            compute = self.quick.get(k, network.features)
            shown = crops_to_tensor(crops, info.config).to(frames.device)
            found += [compute(view).float() for view in (shown, shown.flip(3))[: _views(info)]]
        return torch.cat(found, dim=1)

    def classify_features(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, F) padded at the end, true lengths (B,) -> logits (B, 2), frame logits (B, T, 2)."""
        sequences, faces, at = [], [], 0
        for network, info in self._members():
            width = info.config.feature_dim
            answers = [
                network.classify_features(features[..., at + k * width : at + (k + 1) * width], lengths)
                for k in range(_views(info))
            ]
            at += width * _views(info)
            sequences.append(_distance(torch.stack([sequence for sequence, _ in answers]).mean(0), info))
            faces.append(_distance(torch.stack([frames for _, frames in answers]).mean(0), info))
        return _logits(torch.stack(sequences).mean(0)), _logits(torch.stack(faces).mean(0))

    def compute_in_onnx(self, folder: Path) -> None:
        """Have the members that are networks of our own compute in ONNX Runtime, their exports kept in `folder`."""
        for k, (network, _) in enumerate(self._members()):
            if not isinstance(network, ExternalNetwork):
                backbone = onnx_backbone(network, folder, self.sha256s[k])
                if backbone is not None:
                    self.quick[k] = backbone

    def _members(self) -> list[tuple[Any, WeightsInfo]]:
        return list(zip(self.networks, self.infos, strict=True))


def _views(info: WeightsInfo) -> int:
    return 2 if info.config.mirror else 1


def _distance(logits: Tensor, info: WeightsInfo) -> Tensor:
    """Return how far the calibrated log-odds (...) of logits (..., 2) lie above those of the member's threshold."""
    margin = logits[..., Label.FAKE] - logits[..., Label.REAL]
    return margin / info.temperature + info.shift - math.log(info.threshold / (1 - info.threshold))


def _logits(margin: Tensor) -> Tensor:
    return torch.stack([torch.zeros_like(margin), margin], dim=-1)


def write_ensemble(members: Sequence[tuple[Path, str, str]], info: WeightsInfo, path: Path) -> None:
    """Write members (file, name, sha256) and what is said of them together; `info.config` is not kept."""
    head = {**asdict(info), "config": None}
    head["members"] = [
        {"file": f"{k}{file.suffix}", "name": name, "sha256": sha256} for k, (file, name, sha256) in enumerate(members)
    ]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for (file, _, _), entry in zip(members, head["members"], strict=True):
            with file.open("rb") as source, archive.open(zipfile.ZipInfo(entry["file"]), "w") as target:
                shutil.copyfileobj(source, target, 1024**2)
        archive.writestr(zipfile.ZipInfo(HEAD), json.dumps(head, sort_keys=True, allow_nan=False))


def rewrite_ensemble(source: Path, info: WeightsInfo, path: Path) -> None:
    """Write the same members under another `info`."""
    with tempfile.TemporaryDirectory(prefix="dfd-ensemble-") as folder:
        head, files = _unpacked(source, Path(folder))
        members = [(file, entry["name"], entry["sha256"]) for file, entry in zip(files, head["members"], strict=True)]
        write_ensemble(members, info, path)


def load_ensemble(
    path: Path, load: Callable[[Path, str], Loaded], info_of: Callable[[dict[str, Any], ModelConfig], WeightsInfo]
) -> Loaded:
    """Load every member by `load` (file, sha256), and what is said of them by `info_of` (`ml.model.weights`).

    Raises:
        ValueError: if it is no ensemble.
    """
    with tempfile.TemporaryDirectory(prefix="dfd-ensemble-") as folder:
        head, files = _unpacked(path, Path(folder))
        sha256s = [str(entry["sha256"]) for entry in head.pop("members")]
        members = [load(file, sha256) for file, sha256 in zip(files, sha256s, strict=True)]
    network = EnsembleNetwork(members, sha256s)
    return network, info_of(head, network.config)


def _unpacked(path: Path, folder: Path) -> tuple[dict[str, Any], list[Path]]:
    """Return what the archive says, and its members as files.  Raises ValueError."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(HEAD).file_size > 4 * 1024**2:
                raise ValueError("its description is too large")
            head = json.loads(archive.read(HEAD))
            names = [entry["file"] for entry in head["members"]]
            if not MIN_MEMBERS <= len(names) <= MAX_MEMBERS or not all(_MEMBER.fullmatch(name) for name in names):
                raise ValueError("its members are not what they should be")
            for name in names:
                if archive.getinfo(name).file_size > MAX_MEMBER_BYTES:
                    raise ValueError("a member is too large")
                with archive.open(name) as source, (folder / name).open("wb") as target:
                    shutil.copyfileobj(source, target, 1024**2)
    except (zipfile.BadZipFile, KeyError, TypeError, RuntimeError, EOFError) as error:
        raise ValueError(f"it is no archive of models: {error}") from error
    return head, [folder / name for name in names]
