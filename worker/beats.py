"""A worker's sign of life in the database, from the loop that takes messages: it stops when that loop does.

What a process list or a ping of the broker shows is that a worker exists; this shows that it consumes.
"""

from __future__ import annotations

import time
from typing import Any

import structlog
from django.db import DatabaseError, InterfaceError, connection
from django.utils import timezone

from detection.models import WorkerBeat

log = structlog.get_logger(__name__)

EVERY_S = 15.0

_facts: dict[str, Any] = {}
_beaten_at = -EVERY_S


def know(worker: Any) -> None:
    """Called once the worker is set up: who it is, and what it consumes."""
    _facts.update(
        name=str(worker.hostname)[:200],
        queues=",".join(sorted(worker.app.amqp.queues.consume_from))[:200],
        processes=int(worker.concurrency or 1),
        started_at=timezone.now(),
    )


def beat() -> None:
    """Write the sign of life, at most every `EVERY_S` seconds.  Never raises: the work goes on without it."""
    global _beaten_at
    if not _facts or time.monotonic() - _beaten_at < EVERY_S:
        return
    _beaten_at = time.monotonic()
    facts = dict(_facts)
    try:
        WorkerBeat.objects.update_or_create(name=facts.pop("name"), defaults={**facts, "seen_at": timezone.now()})
    except (DatabaseError, InterfaceError) as error:
        log.warning("beat_not_written", error=str(error))
    finally:
        connection.close()  # the children are forked from this process: they must find no connection


def end() -> None:
    """The worker stops: it is gone, not silent."""
    try:
        WorkerBeat.objects.filter(name=_facts.get("name", "")).delete()
    except (DatabaseError, InterfaceError) as error:
        log.warning("beat_not_removed", error=str(error))
    finally:
        connection.close()
