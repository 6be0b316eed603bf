"""Files that a killed process has left without a row: its folder is noted before, and looked through afterwards.

Folders of videos that are there lose what no row names; folders of videos that never came to be go whole.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import structlog
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from detection.models import FolderCheck, Video
from detection.services.jobs.attempt_files import longest_attempt, prune, remove_tree

log = structlog.get_logger(__name__)

BATCH = 200
ABANDONED_AFTER = timedelta(days=1)
"""No upload is still on its way into storage after this."""


def watch(*, video_id: UUID) -> FolderCheck:
    """Something is about to be written into the video's folder, or a worker that wrote there has died.

    Whoever writes deletes the row in the transaction that names the files.
    """
    return FolderCheck.objects.create(video_id=video_id)


def sweep() -> int:
    """Look through the folders whose time has come; returns how many."""
    now = timezone.now()
    known = Exists(Video.objects.filter(pk=OuterRef("video_id")))
    due = FolderCheck.objects.annotate(known=known).filter(
        Q(created_at__lt=now - longest_attempt(), known=True) | Q(created_at__lt=now - ABANDONED_AFTER)
    )
    done = 0
    for check in due[:BATCH]:
        try:
            if check.known:
                prune(check.video_id)
            else:
                remove_tree(Video(id=check.video_id).folder)
        except Exception as error:  # whatever storages raise; the next sweep tries again
            log.warning("files_left", video=str(check.video_id), error=str(error))
            continue
        check.delete()
        done += 1
    return done
