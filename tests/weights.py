"""A model so small that a test can afford to run it; its verdicts mean nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ml.config import Alignment, ModelConfig
from ml.model.network import FaceSequenceClassifier
from ml.model.weights import WeightsInfo, save_weights

SMALL = ModelConfig(backbone="test_resnet", feature_dim=96, lstm_hidden=16, input_size=32)
"""timm has the backbone for tests: a real ResNet in all but its width."""
TINY = replace(SMALL, alignment=Alignment.NONE)
"""For crops that are drawn, and have no landmarks."""


def save_tiny(path: Path, *, name: str = "tiny", seed: int = 0) -> str:
    """Write the weights; returns the file's sha256."""
    torch.manual_seed(seed)
    return save_weights(FaceSequenceClassifier(TINY), WeightsInfo(name=name, config=TINY), path)
