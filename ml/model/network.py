"""The classifier: ResNeXt-50 features of each face, an LSTM over the faces of one person, two logits.

Shapes: B sequences (one person in one video each), T faces in time order, 3 x S x S pixels, F = 2048 features.
"""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor, nn

from ml.config import ModelConfig


class FaceSequenceClassifier(nn.Module):
    """ResNeXt-50 + LSTM over one person's faces; logits are ordered (REAL, FAKE).

    Besides the sequence's logits it has a linear head on each frame's features.  The frame head is what the
    backbone is trained with first, and gives a reviewer the per-frame scores; the verdict is the sequence's.
    """

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config or ModelConfig()
        c = self.config
        self.backbone = torchvision.models.get_model(c.arch, weights=None)
        self.backbone.fc = nn.Identity()  # -> (N, F)
        self.frame_head = nn.Linear(c.feature_dim, 2)
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


def imagenet_backbone_state(path: str | None = None) -> dict[str, Tensor]:
    """ImageNet weights of torchvision's ResNeXt-50, without its classifier.

    From `path` (a torchvision state dict: .safetensors, or .pth read with weights_only) or, without one, from
    torchvision's hub.  Raises OSError when neither can be had: the caller says so and trains from scratch.
    """
    if path and path.endswith(".safetensors"):
        from safetensors.torch import load_file

        state = load_file(path)
    elif path:
        state = torch.load(path, map_location="cpu", weights_only=True)
    else:
        weights = torchvision.models.ResNeXt50_32X4D_Weights.DEFAULT
        state = dict(weights.get_state_dict(progress=False, check_hash=True))
    return {k: v for k, v in state.items() if not k.startswith("fc.")}
