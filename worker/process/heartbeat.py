"""A worker's sign of life in the database, from the loop that takes messages: it stops when that loop does.

What a process list or a ping of the broker shows is that a worker exists; this shows that it consumes.  The same turn
of the loop touches a file, which a probe on the same machine can look at without a database (see `alive`).
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.utils import timezone

from detection.models import WorkerBeat
from worker import alive
from worker.process import work_files
from worker.stages import erasure

log = structlog.get_logger(__name__)

EVERY_S = 15.0

_facts: dict[str, Any] = {}
_eraser: subprocess.Popen[bytes] | None = None
_sent_at = -EVERY_S
_touched_at = -alive.EVERY_S


def register(worker: Any) -> None:
    """Called once the worker is set up: who it is, and what it consumes."""
    _facts.update(
        name=str(worker.hostname)[:200],
        queues=",".join(sorted(worker.app.amqp.queues.consume_from))[:200],
        processes=int(worker.concurrency or 1),
        started_at=timezone.now(),
    )
    alive.mark(_facts["name"]).unlink(missing_ok=True)  # of one that was killed


def send() -> None:
    """Write the sign of life, at most every `EVERY_S` seconds, and tidy the work folder each hour.

    Never raises: the work goes on without it.
    """
    global _sent_at
    if not _facts:
        return
    _touch()
    if time.monotonic() - _sent_at < EVERY_S:
        return
    _sent_at = time.monotonic()
    work_files.tidy_now_and_then()  # of children that were killed; this process lives for months
    facts = dict(_facts)
    try:
        WorkerBeat.objects.update_or_create(name=facts.pop("name"), defaults={**facts, "seen_at": timezone.now()})
        _erase_caches()
    except (DatabaseError, InterfaceError) as error:
        log.warning("heartbeat_not_written", error=str(error))
    finally:
        connection.close()  # the children are forked from this process: they must find no connection


def _erase_caches() -> None:
    """Where no sweep runs on this machine (a trainer's), in a process of its own: the loop must not wait for a disk."""
    global _eraser
    if "maintenance" in _facts["queues"].split(",") or (_eraser is not None and _eraser.poll() is None):
        return
    if erasure.is_waiting_here():
        _eraser = subprocess.Popen([sys.executable, str(settings.BASE_DIR / "manage.py"), "erase_caches"])


def _touch() -> None:
    global _touched_at
    if time.monotonic() - _touched_at < alive.EVERY_S:
        return
    _touched_at = time.monotonic()
    try:
        alive.mark(_facts["name"]).touch(mode=0o600)
    except OSError as error:  # a full disk
        log.warning("turn_not_noted", error=str(error))


def deregister() -> None:
    """The worker stops: it is gone, not silent."""
    name = _facts.get("name", "")
    _facts.clear()  # Celery's last heartbeat comes after this
    if not name:
        return
    alive.mark(name).unlink(missing_ok=True)
    try:
        WorkerBeat.objects.filter(name=name).delete()
    except (DatabaseError, InterfaceError) as error:
        log.warning("heartbeat_not_removed", error=str(error))
    finally:
        connection.close()
