"""MTCNN's three networks (Zhang et al. 2016, arXiv 1604.02878) in ONNX Runtime, with facenet-pytorch's weights.

tests/ml/mtcnn_export.py writes the files.  Without torch a process that only detects faces starts two seconds sooner,
needs 480 MB less, and detection takes a third less time.
"""

from __future__ import annotations

from pathlib import Path

import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

from ml.faces.mtcnn.boxes import Floats

FOLDER = Path(__file__).parents[2] / "pretrained" / "mtcnn"
OUTPUTS = {
    "pnet": ("regression", "scores"),
    "rnet": ("regression", "scores"),
    "onet": ("regression", "scores", "landmarks"),
}
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
ORT_LOG_FATAL = 4


class Networks:
    """P-Net, R-Net and O-Net.  Each takes (N, h, w, 3) float32 RGB of 0 to 255.

    Each call keeps to one thread, and several threads may call at once: two pictures in parallel take three quarters of
    the time of one after the other with two threads each.  `device` is cpu, or cuda where ONNX Runtime is built for it;
    RuntimeError where it is not.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._sessions = {name: open_session(FOLDER / f"{name}.onnx", device) for name in OUTPUTS}

    def pnet(self, pixels: Floats) -> tuple[Floats, Floats]:
        """Any size -> regression (N, 4, h', w') and probabilities (N, h', w')."""
        regression, scores = self._run("pnet", pixels)
        return regression, scores[:, 0]

    def rnet(self, pixels: Floats) -> tuple[Floats, Floats]:
        """(N, 24, 24, 3) -> regression (N, 4) and probabilities (N,)."""
        regression, scores = self._run("rnet", pixels)
        return regression, scores[:, 0]

    def onet(self, pixels: Floats) -> tuple[Floats, Floats, Floats]:
        """(N, 48, 48, 3) -> regression (N, 4), probabilities (N,), landmarks (N, 10): five x, then five y."""
        regression, scores, landmarks = self._run("onet", pixels)
        return regression, scores[:, 0], landmarks

    def _run(self, name: str, pixels: Floats) -> list[Floats]:
        try:
            outputs: list[Floats] = self._sessions[name].run(OUTPUTS[name], {"pixels": pixels})
        except RuntimeException as error:
            if "bad_alloc" in str(error):
                raise MemoryError(f"{name} did not get the memory for {pixels.shape}") from error
            raise
        return outputs


def open_session(path: Path, device: str = "cpu") -> onnxruntime.InferenceSession:
    """Load a network that keeps to one thread a call.  RuntimeError where ONNX Runtime is not built for `device`."""
    provider = PROVIDERS[device]
    if provider not in onnxruntime.get_available_providers():
        raise RuntimeError(
            f"The face detector cannot run on {device}: install onnxruntime-gpu instead of onnxruntime, or use cpu."
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # no faster with one, and it never shrinks
    options.log_severity_level = ORT_LOG_FATAL  # what fails is raised
    return onnxruntime.InferenceSession(path, options, providers=[provider])
