"""Where the model looked: Grad-CAM (Selvaraju et al. 2017) of the FAKE logit, for each face of a sequence.

The maps are of the backbone's last convolutional stage, and the gradient comes back through the recurrence, so the map
of a face is its part in the score of the whole sequence.  It shows what moved the score, not what is forged.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from captum.attr import LayerGradCam
from numpy.typing import NDArray
from torch import Tensor

from ml.config import Label
from ml.model.inference import Classifier, Crop
from ml.model.preprocessing import crops_to_tensor

STRENGTH = 0.6
"""Share of the colour in a blended pixel where the map is 1."""


def face_heatmaps(classifier: Classifier, crops: Sequence[Crop]) -> list[NDArray[np.float32]]:
    """One map for each of one person's RGB crops, 1 or more in time order: float32 (H, W) of the crop's size, 0 to 1.

    The sequence shares one scale: 1 is the strongest place of all its faces, so a face that hardly counted stays dark.
    All are 0 where nothing speaks for FAKE.  Raises ValueError without a crop.
    """
    if not crops:
        raise ValueError("a sequence needs at least one face")
    model = classifier.model

    def logits(frames: Tensor) -> Tensor:
        """(T, 3, S, S) -> (1, 2)."""
        features = model.features(frames)
        # cuDNN's recurrence has no way back in eval mode; torch's own has, and the sequence is short.
        with torch.backends.cudnn.flags(enabled=False):
            return model.classify_features(features[None], torch.tensor([len(crops)]))[0]

    frames = crops_to_tensor(crops, classifier.info.config).to(classifier.device).requires_grad_()
    with torch.enable_grad():
        maps = LayerGradCam(logits, model.backbone.layer4).attribute(
            frames, target=int(Label.FAKE), relu_attributions=True
        )  # (T, 1, h, w)
    raw = maps.detach()[:, 0].float().cpu().numpy()
    top = float(raw.max())
    scaled = raw / top if np.isfinite(top) and top > 0 else np.zeros_like(raw)
    return [_enlarged(one, crop) for one, crop in zip(scaled, crops, strict=True)]


def blend(crop: Crop, heatmap: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The map as colour over its RGB crop: (H, W, 3) uint8 RGB; untouched where the map is 0.

    Raises ValueError when the two differ in size.
    """
    if crop.shape[:2] != heatmap.shape:
        raise ValueError(f"a map of {heatmap.shape} does not lie over a crop of {crop.shape[:2]}")
    levels = np.rint(heatmap * 255).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    share = STRENGTH * heatmap[..., None]
    return np.asarray(np.rint(crop * (1 - share) + colours * share), dtype=np.uint8)


def _enlarged(small: NDArray[np.float32], crop: Crop) -> NDArray[np.float32]:
    """A map of a few cells as smooth as the crop; cubic, as straight lines would draw edges that are not there."""
    height, width = crop.shape[:2]
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.asarray(large, dtype=np.float32), 0.0, 1.0)
