"""A registered ONNX detector as a network of the product: a picture's only feature is its margin, FAKE minus REAL.

Where the pictures of a sequence are shown together, each of them has the sequence's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException
from torch import Tensor, nn

from ml.faces.mtcnn.networks import open_session
from ml.model.external.manifest import SPREAD, Manifest, ModelRefused, parse_manifest
from ml.model.external.rules import KEY
from ml.model.network import FaceSequenceClassifier
from ml.video.prefetch import parallel_map

SUFFIX = ".onnx"
SUREST = 1e-6
"""A probability nearer to 0 or 1 is taken for this."""


class Identity(nn.Module):
    """What the cache of features knows a network by."""

    def __init__(self, sha256: str) -> None:
        super().__init__()
        self.register_buffer("sha256", torch.frombuffer(bytearray(bytes.fromhex(sha256)), dtype=torch.uint8))


class ExternalNetwork(FaceSequenceClassifier):
    """Answers as our own network does; computes on the processor.  It cannot be trained.

    A person's margin is that of the faces together, or the mean of theirs where it looks at one at a time; so is a
    segment's of its frames.
    """

    def __init__(self, path: Path, sha256: str) -> None:
        """Load a file that `check_model` passed.  Raises ModelRefused where it has no manifest or cannot be loaded."""
        nn.Module.__init__(self)  # there are no layers
        try:
            self._session = open_session(path)
            self.manifest = parse_manifest(self._session.get_modelmeta().custom_metadata_map[KEY])
        except KeyError as error:
            raise ModelRefused(
                "invalid_manifest", "The file has no manifest; register it with --manifest FILE.json."
            ) from error
        except (MemoryError, ModelRefused):
            raise
        except Exception as error:  # ONNX Runtime has one of its own for each way in which a file may be damaged
            raise ModelRefused("unreadable", "ONNX Runtime cannot load the file.") from error
        self.config = self.manifest.config()
        self.together = self.manifest.together
        self.frame_view = self.manifest.frame_view
        self.backbone = Identity(sha256)
        self.place = nn.Parameter(torch.zeros(1), requires_grad=False)  # says which device the rest is on

    def features(self, frames: Tensor) -> Tensor:
        """(N, 3, S, S) normalised RGB -> margins (N, 1), all N of one sequence if `together`.  Raises MemoryError."""
        pixels = frames if self.manifest.colour == "RGB" else frames.flip(1)
        faces = np.ascontiguousarray(pixels.detach().float().cpu().numpy())
        if self.together:
            return torch.full((len(faces), 1), self._margin(as_shown(faces, self.manifest)), device=frames.device)
        each = parallel_map(self._margin, [faces[k : k + 1] for k in range(len(faces))], torch.get_num_threads())
        return torch.tensor(list(each), dtype=torch.float32, device=frames.device)[:, None]

    def classify_features(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Margins (B, T, 1) padded at the end, true lengths (B,) -> logits (B, 2), frame logits (B, T, 2)."""
        lengths = lengths.to(features.device)
        frame_logits = torch.cat([torch.zeros_like(features), features], dim=2)
        inside = torch.arange(features.shape[1], device=features.device) < lengths[:, None]
        logits = (frame_logits * inside[:, :, None]).sum(1) / inside.sum(1, keepdim=True)
        return logits, frame_logits

    def _margin(self, shown: NDArray[np.float32]) -> float:
        try:
            (answer,) = self._session.run([self.manifest.output], {self.manifest.input: shown})
        except RuntimeException as error:
            if "bad_alloc" in str(error) or "allocate memory" in str(error):
                raise MemoryError(f"{self.manifest.name} did not get the memory for a picture") from error
            raise
        return margin(answer.reshape(-1).astype(np.float64), self.manifest)


def as_shown(pictures: NDArray[np.float32], manifest: Manifest) -> NDArray[np.float32]:
    """Return what a network of sequences is shown of pictures (N, 3, S, S): (1, T, 3, S, S) or (1, 3, T, S, S).

    T is the manifest's, else N.  Of more than T pictures T are taken, evenly; what stands for missing ones is in
    `Manifest.fewer`.
    """
    have, want = len(pictures), manifest.pictures or len(pictures)
    if have >= want:
        chosen = np.linspace(0, have - 1, want).round().astype(int) if want > 1 else np.array([(have - 1) // 2])
    elif manifest.fewer == SPREAD:
        chosen = np.arange(want) * have // want
    else:
        chosen = np.minimum(np.arange(want), have - 1)
    shown = pictures[chosen][None]
    return np.ascontiguousarray(shown if manifest.shape == "BTCHW" else shown.swapaxes(1, 2))


def margin(answer: NDArray[np.float64], manifest: Manifest) -> float:
    """Return the logit difference FAKE minus REAL of an answer (classes,)."""
    low = manifest.fake == "low"
    if manifest.output_kind == "probabilities":
        p = float(np.clip(answer[0 if isinstance(manifest.fake, str) else manifest.fake], SUREST, 1 - SUREST))
        found = float(np.log(p / (1 - p)))
    elif isinstance(manifest.fake, str):
        found = float(answer[0])
    else:
        rest = np.delete(answer, manifest.fake)
        top = float(rest.max())
        found = float(answer[manifest.fake]) - top - float(np.log(np.exp(rest - top).sum()))
    return -found if low else found
