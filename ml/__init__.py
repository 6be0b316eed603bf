"""Video to faces to verdict, without Django or Celery.  Importing it sets OpenMP's wait policy and malloc's arenas.

Usable from a notebook.
"""

import ctypes
import os
import sys

# Before torch loads OpenMP: threads that wait must sleep.  Spinning ones slow everything on a machine with
# other work to do: docs/measurements.md#threads-that-spin.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

M_ARENA_MAX = -8
if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):
    # Each thread of FFmpeg and torch would have a heap of its own, and keep what it has freed: 30 MB at 1080p.
    ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)
