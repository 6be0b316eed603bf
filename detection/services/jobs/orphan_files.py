"""Files that a killed process, or a commit in doubt, has left without a row.

Whoever is about to write notes the folder first (`watch`, `watch_folder`) and takes the note back in the transaction
that names the files (`claim`).  The sweep looks through the folders whose notes are still there after a while: folders
of videos that are there lose what neither a row names nor a claim covers; others go whole.  Note and sweep are under
one lock, the note's row, so that a folder is either named or removed.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import structlog
from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from detection.errors import Refused
from detection.models import AuditArchive, FolderCheck, ModelVersion, Snapshot, TrainingRun, Video
from detection.services.jobs.attempt_files import longest_attempt, prune, remove_tree

log = structlog.get_logger(__name__)

BATCH = 200
ABANDONED_AFTER = timedelta(days=1)
"""No upload is still on its way into storage after this."""
NAMES = ((ModelVersion, "file"), (Snapshot, "manifest"), (TrainingRun, "report"), (AuditArchive, "file"))
"""Files outside of the videos' folders."""


def watch(*, video_id: UUID) -> FolderCheck:
    """Something is about to be written into the video's folder, or a worker that wrote there has died."""
    return FolderCheck.objects.create(video_id=video_id)


def watch_folder(*, below: str) -> FolderCheck:
    """Something is about to be written into a new folder `path`, of a name that is never used again."""
    token = uuid4()
    return FolderCheck.objects.create(video_id=token, path=f"{below}/{token.hex}")


def claim(check: FolderCheck) -> None:
    """Take the note back, in the transaction that names the files.

    Raises Refused `storage_late` when the sweep has removed the folder by now.
    """
    if not FolderCheck.objects.filter(pk=check.pk).delete()[0]:
        raise Refused("storage_late", "The file took more than a day to be stored; send it again.", status=503)


def sweep() -> int:
    """Look through the folders whose time has come; returns how many."""
    now = timezone.now()
    known = Exists(Video.objects.filter(pk=OuterRef("video_id")))
    due = FolderCheck.objects.annotate(known=known).filter(
        Q(created_at__lt=now - longest_attempt(), known=True) | Q(created_at__lt=now - ABANDONED_AFTER)
    )
    done = 0
    for check_id in list(due.values_list("pk", flat=True)[:BATCH]):
        try:
            with transaction.atomic():
                check = FolderCheck.objects.select_for_update().filter(pk=check_id).first()
                if check is None:  # whoever wrote it has come to an end just now
                    continue
                _look_through(check)
                check.delete()
        except Exception as error:  # whatever storages raise; the next sweep tries again
            log.warning("files_left", check=check_id, error=str(error))
            continue
        done += 1
    return done


def _look_through(check: FolderCheck) -> None:
    if check.path:
        if not is_named(check.path):
            remove_tree(check.path)
    elif Video.objects.filter(pk=check.video_id).exists():
        prune(check.video_id)
    else:
        remove_tree(Video(id=check.video_id).folder)


def is_named(folder: str) -> bool:
    """Whether a row names a file in this folder, which is no video's."""
    return any(
        model._default_manager.filter(**{f"{field}__startswith": f"{folder}/"}).exists() for model, field in NAMES
    )
