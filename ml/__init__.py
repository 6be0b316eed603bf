"""Video to faces to verdict, without Django or Celery.

Importing it sets OpenMP's wait policy and malloc's arenas, and keeps ONNX Runtime from reporting to its maker.  Usable
from a notebook.
"""

import ctypes
import os
import sys

# Before torch loads OpenMP: threads that wait must sleep.  Spinning ones slow everything on a machine with
# other work to do: docs/measurements.md#threads-that-spin.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# ONNX Runtime (1.32) gives each machine an identifier and sends events about models and sessions to Microsoft
# unless this is set before it is loaded.  Nothing here leaves the machine.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

M_ARENA_MAX = -8
if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):
    # Each thread of FFmpeg and torch would have a heap of its own, and keep what it has freed: 30 MB at 1080p.
    ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)
