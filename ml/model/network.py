"""The classifier: features of each face, an LSTM over the faces of one person, two logits.

Shapes: B sequences (one person in one video each), T faces in time order, 3 x S x S pixels, F features a face.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ml.config import Alignment, FrameView, ModelConfig
from ml.model.lean_timm import timm


class BackboneEnsemble(nn.Module):
    """Backbones side by side: a linear layer on their features can be the mean of a linear layer on each."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        widths: list[Any] = [member.num_features for member in members]
        self.num_features = sum(map(int, widths))

    def forward(self, frames: Tensor) -> Tensor:
        """(N, 3, S, S) -> (N, F), the members' features one after another."""
        return torch.cat([member(frames) for member in self.members], dim=1)


def create_backbone(name: str, members: int = 1) -> Any:
    """Create an untrained timm backbone without a classifier, or several of them side by side."""
    if members == 1:
        return timm.create_model(name, num_classes=0)
    return BackboneEnsemble([timm.create_model(name, num_classes=0) for _ in range(members)])


class FrameHead(nn.Linear):
    """Features of a face (..., F) -> logits (..., 2): a linear layer and, with `hidden` units, a hidden one beside it.

    What the hidden layer adds begins at 0, so a head that is given one answers as it did.
    """

    def __init__(self, features: int, hidden: int = 0, *, dropout: float = 0.2) -> None:
        super().__init__(features, 2)
        layers = (nn.Linear(features, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, 2)) if hidden else ()
        self.hidden = nn.Sequential(*layers)
        self.reset_hidden()

    def reset_parameters(self) -> None:
        """Forget what was learnt."""
        super().reset_parameters()
        self.reset_hidden()

    def reset_hidden(self) -> None:
        """Forget what the hidden layer has learnt: it adds 0 again."""
        layers = list(getattr(self, "hidden", ()))  # nn.Linear resets itself before there are any
        if layers:
            layers[0].reset_parameters()
            nn.init.zeros_(layers[-1].weight)
            nn.init.zeros_(layers[-1].bias)

    def linear_state(self) -> dict[str, Tensor]:
        """Return the state of the linear layer alone, for one of nn.Linear."""
        return {"weight": self.weight, "bias": self.bias}

    def forward(self, features: Tensor) -> Tensor:
        """(..., F) -> (..., 2)."""
        logits = super().forward(features)
        return logits + self.hidden(features) if self.hidden else logits


class FaceSequenceClassifier(nn.Module):
    """A timm backbone (ResNeXt-50 unless told otherwise) and an LSTM over one person's faces; logits are (REAL, FAKE).

    Besides the sequence's logits it has a head on each frame's features.  The frame head is what the
    backbone is trained with first, and gives a reviewer the per-frame scores; the verdict is the sequence's.
    """

    together = False
    """Whether a sequence goes through `features` as a whole, since no picture has features of its own."""
    frame_view: FrameView | None = None
    """What is shown where the pictures are whole frames and not faces."""

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config or ModelConfig()
        c = self.config
        self.backbone = create_backbone(c.backbone, c.members)  # -> (N, F)
        found = int(self.backbone.num_features)
        if found != c.feature_dim:
            raise ValueError(f"{c.backbone} gives {found} features, not {c.feature_dim}.")
        self.frame_head = FrameHead(c.feature_dim, c.frame_hidden)
        # Keywords only: the 4th positional argument of nn.LSTM is `bias`, not `bidirectional`.  batch_first, or the
        # recurrence would run across the videos of a batch.
        self.lstm = nn.LSTM(
            input_size=c.feature_dim, hidden_size=c.lstm_hidden, num_layers=c.lstm_layers, batch_first=True
        )
        self.dropout = nn.Dropout(c.dropout)
        self.head = nn.Linear(c.lstm_hidden, 2)

    def features(self, frames: Tensor) -> Tensor:
        """(N, 3, S, S) normalised RGB -> (N, F)."""
        out: Tensor = self.backbone(frames)
        return out

    def classify_features(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, F) padded at the end, (B,) true lengths >= 1 -> sequence logits (B, 2), frame logits (B, T, 2).

        The output is read at each sequence's own last face, so padding and batch mates cannot change it.
        """
        frame_logits = self.frame_head(features)  # (B, T, 2)
        outputs, _ = self.lstm(features)  # (B, T, H)
        rows = torch.arange(features.shape[0], device=features.device)
        last = outputs[rows, lengths.to(features.device) - 1]  # (B, H)
        logits = self.head(self.dropout(last))  # (B, 2)
        if self.config.frame_mean:
            inside = torch.arange(features.shape[1], device=features.device) < lengths.to(features.device)[:, None]
            logits = logits + (frame_logits * inside[:, :, None]).sum(1) / inside.sum(1, keepdim=True)
        return logits, frame_logits

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, 3, S, S), (B,) -> sequence logits (B, 2), frame logits (B, T, 2)."""
        b, t = frames.shape[:2]
        features = self.features(frames.flatten(0, 1))  # (B*T, F)
        return self.classify_features(features.view(b, t, -1), lengths)


def model_config(backbone: str, *, input_size: int, mirror: bool = False, members: int = 1) -> ModelConfig:
    """Describe a new classifier on this backbone, with the backbone's own width, mean and deviation.

    Raises ValueError for a name that timm does not know.
    """
    if not timm.is_model(backbone):
        raise ValueError(f"timm knows no backbone {backbone!r}.")
    with torch.device("meta"):
        network: Any = timm.create_model(backbone, num_classes=0)
    return ModelConfig(
        backbone=backbone,
        members=members,
        feature_dim=members * int(network.num_features),
        frame_mean=True,
        input_size=input_size,
        alignment=Alignment.LANDMARKS_68,
        mirror=mirror,
        mean=tuple(network.default_cfg["mean"]),
        std=tuple(network.default_cfg["std"]),
    )
