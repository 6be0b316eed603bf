"""Delete files that a killed process, or a commit in doubt, left without a row.

Before writing, a folder is noted (`watch`, `watch_folder`); the transaction that names the files deletes the note
(`claim`).  The sweep checks folders whose notes are old: folders of existing videos lose what neither a row names nor a
claim covers, others are deleted whole.  Note and sweep lock the note's row, so a folder is either named or deleted.
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
    """Note that something is about to be written to the video's folder, or that a worker that wrote there died."""
    return FolderCheck.objects.create(video_id=video_id)


def watch_folder(*, below: str) -> FolderCheck:
    """Note that something is about to be written to a new folder `path`, whose name is never used again."""
    token = uuid4()
    return FolderCheck.objects.create(video_id=token, path=f"{below}/{token.hex}")


def claim(check: FolderCheck) -> None:
    """Delete the note, in the transaction that names the files.

    Raises Refused `storage_late` if the sweep has deleted the folder.
    """
    if not FolderCheck.objects.filter(pk=check.pk).delete()[0]:
        raise Refused("storage_late", "The file took more than a day to be stored; send it again.", status=503)


def sweep() -> int:
    """Check the folders whose time has come; return how many."""
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
    """Return whether a row names a file in this folder of no video."""
    return any(
        model._default_manager.filter(**{f"{field}__startswith": f"{folder}/"}).exists() for model, field in NAMES
    )
