"""From stored crops to a verdict: the one code path of first scoring, rescoring and the `analyze` command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ml.config import FrameView, Label
from ml.model.ensemble import EnsembleNetwork
from ml.model.network import FaceSequenceClassifier
from ml.model.onnx_backbone import OnnxBackbone, onnx_backbone
from ml.model.preprocessing import crops_to_tensor
from ml.model.weights import WeightsInfo, file_sha256, is_own, load_weights

Crop = NDArray[np.uint8]


@dataclass(frozen=True)
class TrackScore:
    """One person, or one segment's frames: calibrated fake probability of the sequence and of each picture in order.

    All are on the same scale; a picture has none where the network saw all of them together.
    """

    fake_probability: float
    frame_probabilities: tuple[float | None, ...]
    still: bool = False
    """A still picture (see `ml.faces.still`), which whoever has its faces says."""


def choose_device(wanted: str = "auto") -> torch.device:
    """Return the named device; `auto` is the first CUDA card, else the CPU."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def backbone_dtype(device: torch.device) -> torch.dtype:
    """Return the backbone's dtype: float16 on CUDA, float32 on CPUs, where bfloat16 moved scores by more than 0.01.

    See docs/measurements.md#the-network-alone-and-half-precision.
    """
    return torch.float16 if device.type == "cuda" else torch.float32


class Classifier:
    """A model ready to score.  Thread-safe: scoring changes nothing.

    The backbone computes in `dtype` (see `backbone_dtype`), everything after it in float32; on a processor in ONNX
    Runtime where `load` was told a folder for its export.
    """

    frame_view: FrameView | None = None
    """What it is shown where it looks at whole frames and not at faces."""

    def __init__(
        self,
        model: FaceSequenceClassifier,
        info: WeightsInfo,
        device: torch.device,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.dtype = dtype or backbone_dtype(device)
        self.model = model.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.info = info
        self.frame_view = model.frame_view
        self.device = device
        self.onnx: OnnxBackbone | None = None

    @classmethod
    def load(
        cls, path: Path, *, sha256: str | None = None, device: str = "auto", onnx_folder: Path | None = None
    ) -> Classifier:
        """Load weights.  Raises ml.model.weights.WeightsError.

        With `onnx_folder` a backbone on a processor computes in ONNX Runtime, if it can; its export is kept there.
        """
        sha256 = sha256 or file_sha256(path)
        model, info = load_weights(path, sha256=sha256)
        classifier = cls(model, info, choose_device(device))
        on_processor = classifier.device.type == "cpu" and classifier.dtype == torch.float32
        if onnx_folder is not None and on_processor:
            if is_own(path):
                classifier.onnx = onnx_backbone(model, onnx_folder, sha256)
            elif isinstance(model, EnsembleNetwork):
                model.compute_in_onnx(onnx_folder)
        return classifier

    @torch.inference_mode()
    def score(self, sequences: Sequence[Sequence[Crop]], *, batch_frames: int = 64) -> list[TrackScore]:
        """Score people; each sequence is one person's RGB crops in time order, 1 or more, or one segment's frames.

        All the pictures go through the backbone together, at most `batch_frames` at a time (a card that runs out of
        memory is asked again with fewer), but those of a sequence by themselves where the network sees them together;
        then each sequence has the recurrence to itself up to its own length, so a score does not depend on who else is
        scored.
        """
        lengths = [len(sequence) for sequence in sequences]
        if not lengths:
            return []
        if min(lengths) < 1:
            raise ValueError("a sequence needs at least one picture")
        batches: Sequence[Sequence[Crop]] = sequences
        if not self.model.together:
            crops = [crop for sequence in sequences for crop in sequence]
            batches = [crops[start : start + batch_frames] for start in range(0, len(crops), batch_frames)]
        features = torch.cat(
            [self._features(batch) for batch in batches], dim=1
        )  # (V, N, F): the faces, and their mirror images where the model wants them
        views = [torch.nn.utils.rnn.pad_sequence(list(v.split(lengths)), batch_first=True) for v in features]
        answers = [self.model.classify_features(view, torch.tensor(lengths)) for view in views]
        logits = torch.stack([sequence for sequence, _ in answers]).mean(0)  # (B, 2)
        frame_logits = torch.stack([frames for _, frames in answers]).mean(0)  # (B, T, 2)
        fake = self._fake(logits).cpu().tolist()
        frames = self._fake(frame_logits).cpu().tolist()
        return [
            TrackScore(float(p), tuple(None if self.model.together else float(x) for x in row[:length]))
            for p, row, length in zip(fake, frames, lengths, strict=True)
        ]

    def _fake(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the calibrated fake probabilities (...) of logits (..., 2)."""
        calibrated = logits / self.info.temperature
        if self.info.shift:
            calibrated[..., Label.FAKE] += self.info.shift
        return torch.softmax(calibrated, dim=-1)[..., Label.FAKE]

    def features_of(self, frames: torch.Tensor) -> torch.Tensor:
        """Return features (N, F) float32 of normalised RGB (N, 3, S, S); the backbone computes in `dtype`."""
        if self.onnx is not None:
            return self.onnx(frames)
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            return self.model.features(frames).float()

    def _features(self, crops: Sequence[Crop]) -> torch.Tensor:
        """Return features (V, N, F) float32 of N crops, V = 2 with mirror images.

        Halves the batch when a card is out of memory.
        """
        frames = crops_to_tensor(crops, self.info.config).to(self.device)  # (N, 3, S, S)
        views = [frames, frames.flip(3)] if self.info.config.mirror else [frames]
        try:
            return torch.stack([self.features_of(view) for view in views])
        except torch.cuda.OutOfMemoryError:
            if len(crops) == 1 or self.model.together:
                raise
            torch.cuda.empty_cache()
            half = len(crops) // 2
            return torch.cat([self._features(crops[:half]), self._features(crops[half:])], dim=1)
