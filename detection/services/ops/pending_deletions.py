"""Delete files after the commit that drops them, and again in the sweep until they are gone.

What a video left in training packs and cached features is deleted by workers (`worker.stages.erasure`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import structlog
from django.db import transaction
from django.utils import timezone

from detection.models import CacheHolder, Removal, RunState, TrainingRun
from detection.services.jobs.attempt_files import longest_attempt, remove_tree

log = structlog.get_logger(__name__)

BATCH = 200
HOLDER_KEPT = timedelta(days=7)


def schedule(*, video_id: UUID, paths: Sequence[str], packs: bool) -> None:
    """Delete the files after this transaction commits.

    `packs`: the video's faces may be in workers' caches, or on their way into them.
    """
    removal = Removal.objects.create(video_id=video_id, paths=list(paths), packs=packs)
    transaction.on_commit(partial(_remove_now, removal), robust=True)


def sweep() -> int:
    """Delete again what was scheduled a while ago: a worker may have been writing, or storage was away."""
    done = 0
    for removal in Removal.objects.filter(created_at__lt=timezone.now() - longest_attempt()).exclude(paths=[])[:BATCH]:
        if _remove(removal):
            done += 1
            Removal.objects.filter(pk=removal.pk, packs=True).update(paths=[])
            Removal.objects.filter(pk=removal.pk, packs=False).delete()
    return done


def waiting_for_packs(*, after: datetime | None = None) -> list[Removal]:
    """Return removals whose videos may still be in packs and which no running training can put there again.

    Oldest first, those made later than `after`.
    """
    rows = Removal.objects.filter(packs=True, paths=[], created_at__lt=timezone.now() - longest_attempt())
    if after is not None:
        rows = rows.filter(created_at__gt=after)
    running = TrainingRun.objects.filter(state=RunState.RUNNING).order_by("started_at")
    oldest = running.values_list("started_at", flat=True).first()
    if oldest is not None:
        rows = rows.filter(created_at__lt=oldest)
    return list(rows[:BATCH])


def packs_gone(*, removals: Collection[Removal]) -> None:
    """Delete removals whose caches are erased."""
    Removal.objects.filter(pk__in=[removal.pk for removal in removals]).delete()


def finish() -> int:
    """Delete the removals that every machine with caches has carried out; return how many.

    A machine silent for `HOLDER_KEPT` is not waited for: if it returns it is unknown, and empties its caches before it
    uses them (`worker.stages.erasure.register`).
    """
    gone = CacheHolder.objects.filter(seen_at__lt=timezone.now() - HOLDER_KEPT)
    for holder in gone:
        log.warning("cache_holder_gone", host=holder.host, seen_at=holder.seen_at.isoformat())
    gone.delete()
    until = list(CacheHolder.objects.values_list("erased_until", flat=True))
    done = [
        removal
        for removal in waiting_for_packs()
        if all(moment is not None and removal.created_at <= moment for moment in until)
    ]
    packs_gone(removals=done)
    return len(done)


def _remove_now(removal: Removal) -> None:
    # Of a whole video (packs) it is done once more later; of single files nobody writes, so this was all.
    if _remove(removal) and not removal.packs:
        removal.delete()


def _remove(removal: Removal) -> bool:
    try:
        for path in removal.paths:
            remove_tree(path)
    except Exception as error:  # whatever storages raise; the next sweep tries again
        log.warning("files_left", video=str(removal.video_id), error=str(error))
        return False
    return True
