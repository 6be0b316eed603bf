"""The backbone in ONNX Runtime, which takes half of eager torch's time on a processor for the same numbers.

It is exported once from the weights and kept as a file, named by their hash; without one torch computes as before.
One face goes through it at a time, several in parallel: so a score depends neither on what else is scored nor on how
many threads there are.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException
from torch import Tensor

from ml.faces.mtcnn.networks import open_session
from ml.model.network import FaceSequenceClassifier
from ml.video.prefetch import parallel_map

Floats = NDArray[np.float32]
log = logging.getLogger(__name__)

EXPORT_VERSION = 1
"""Part of the file's name: raise it when the export changes, and every file is made anew."""
OPSET = 17
TOLERANCE = 1e-4
"""Of the largest feature; more than this away from torch's, and an export is not used."""


class OnnxBackbone:
    """Maps frames to features as the torch backbone does.  Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._session = open_session(path)

    def __call__(self, frames: Tensor) -> Tensor:
        """(N, 3, S, S) float32 -> (N, F), on as many threads as torch may use.

        Raises MemoryError where there is too little memory.
        """
        faces = np.ascontiguousarray(frames.numpy())
        found = parallel_map(self._features, [faces[k : k + 1] for k in range(len(faces))], torch.get_num_threads())
        return torch.from_numpy(np.concatenate(list(found)))

    def _features(self, face: Floats) -> Floats:
        try:
            features: Floats
            (features,) = self._session.run(["features"], {"frames": face})
        except RuntimeException as error:
            if "bad_alloc" in str(error) or "allocate memory" in str(error):
                raise MemoryError(f"the backbone did not get the memory for {face.shape}") from error
            raise
        return features


def onnx_backbone(model: FaceSequenceClassifier, folder: Path, key: str) -> OnnxBackbone | None:
    """Return the backbone of a model on the CPU in ONNX Runtime, from `folder` or exported into it.

    Args:
        model: In eval mode, float32.
        folder: Where exports are kept; made if missing.
        key: The sha256 of the weights' file.

    Returns:
        None where it cannot be exported, kept, loaded, or gives other numbers than torch: the log says which.
    """
    path = folder / f"{key}.v{EXPORT_VERSION}.onnx"
    try:
        if path.is_file():
            found = _checked(model, path)
            if found is not None:
                return found
            log.warning("The cached %s does not fit its weights and is made again.", path.name)
        _export(model, path)
        found = _checked(model, path)
        why = "its export gives other numbers than torch"
    except Exception as error:  # whatever an exporter of any backbone may raise: torch computes the same, only slower
        found, why = None, f"{type(error).__name__}: {error}"
    if found is None:
        log.warning("The network computes in torch, at half of the speed, not in ONNX Runtime: %s.", why)
    return found


def _checked(model: FaceSequenceClassifier, path: Path) -> OnnxBackbone | None:
    """Load a file; None if it is damaged, or of other weights."""
    probe = _probe(model.config.input_size)
    try:
        backbone = OnnxBackbone(path)
        found = backbone(probe)
    except MemoryError:
        raise
    except Exception as error:  # ONNX Runtime has an exception for each way in which a file may be damaged
        log.warning("%s cannot be loaded: %s", path.name, error)
        return None
    with torch.inference_mode():
        expected = model.features(probe)
    if found.shape != expected.shape:
        return None
    apart = float((found - expected).abs().max())
    return backbone if apart <= TOLERANCE * max(1.0, float(expected.abs().max())) else None


def _probe(size: int) -> Tensor:
    """Make a picture (1, 3, S, S) from -1 to 1 that is alike nowhere."""
    waves = torch.sin(torch.arange(3 * size * size, dtype=torch.float32) * 0.37)
    return waves.view(1, 3, size, size)


@torch.inference_mode()
def _export(model: FaceSequenceClassifier, path: Path) -> None:
    """Write the backbone for one frame at a time.  Raises whatever the exporter or the disk does."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=path.parent, suffix=".partial") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: sizes are constants here
        made = Path(folder) / path.name
        torch.onnx.export(
            model.backbone,
            (_probe(model.config.input_size),),
            str(made),
            input_names=["frames"],
            output_names=["features"],
            opset_version=OPSET,
            dynamo=False,  # the other exporter needs two more packages
        )
        made.replace(path)
