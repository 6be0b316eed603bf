"""Video to faces to verdict, without Django and without Celery: usable from a notebook."""

import os

# Before torch loads OpenMP: threads that wait must sleep.  Spinning ones, on a machine with other work to do, made the
# detection of one short clip take 23 s where it takes 2.4 s asleep (2 cores, measured).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
