"""When sweeps ended, as the product notes it: `python -m tests.chaos.sweep_times` prints each until it is killed.

A line is the moment (seconds since 1970) and how many sweeps there have been.  While the database is away nothing is
printed; a sweep that ended meanwhile is seen afterwards, unless another one has followed it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import pairwise

import django

LOOK_S = 0.2


def sweeps() -> Iterator[tuple[float, int]]:
    from django.db import Error, connection

    from detection.models import ChoreRun
    from detection.services.ops.chores import SWEEP

    seen = 0
    while True:
        try:
            row = ChoreRun.objects.filter(name=SWEEP).values_list("ran_at", "runs").first()
        except Error:
            connection.close()
        else:
            if row and row[0] and row[1] != seen:
                seen = row[1]
                yield row[0].timestamp(), seen
        time.sleep(LOOK_S)


def gaps(printed: str, *, since: float, until: float) -> list[float]:
    """Seconds from `since` to the first sweep, from each to the next, and from the last one to `until`."""
    whole, _, _ = printed.rpartition("\n")  # what is killed while it prints leaves half a line
    moments = [float(line.split()[0]) for line in whole.splitlines()]
    within = [since, *(moment for moment in moments if since < moment < until), until]
    return [after - before for before, after in pairwise(within)]


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dfdsite.settings")
    django.setup()
    for moment, count in sweeps():
        print(moment, count, flush=True)
