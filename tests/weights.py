"""A model so small that a test can afford to run it; its verdicts mean nothing."""

from __future__ import annotations

from pathlib import Path

import torch

from ml.config import Alignment, ModelConfig
from ml.model.network import FaceSequenceClassifier
from ml.model.weights import WeightsInfo, save_weights

# Its crops are drawn, and have no landmarks.
TINY = ModelConfig(backbone="resnet18", feature_dim=512, lstm_hidden=16, input_size=32, alignment=Alignment.NONE)


def save_tiny(path: Path, *, name: str = "tiny", seed: int = 0) -> str:
    """Write the weights; returns the file's sha256."""
    torch.manual_seed(seed)
    return save_weights(FaceSequenceClassifier(TINY), WeightsInfo(name=name, config=TINY), path)
