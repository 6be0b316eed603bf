"""Move old entries of the audit log out of the table, into files of the storage that the chain of hashes goes through.

Numbers and hashes stay as they were: the first entry of an archive follows from the last one of the archive before, and
the table's first from the last archive.  Only entries that are as they were written are moved; the newest one stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import takewhile

import structlog
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import IntegrityError
from django.db.models import QuerySet
from django.utils import timezone

from detection.audit_context import acting_as
from detection.models import AuditAction, AuditArchive, AuditEntry, AuditHead
from detection.models.audit import BEGINNING
from detection.services.jobs import orphan_files
from detection.services.jobs.attempt_files import remove_tree
from detection.services.ops import audit
from detection.services.stored_files import StoredFiles

log = structlog.get_logger(__name__)

FOLDER = "audit"
ENTRIES = 10_000
"""Of one archive; the sweep waits until so many are due."""


class BrokenChainError(Exception):
    """Entries that are not as they were written are not moved; the message names the first."""


def sweep() -> int:
    """Archive what is older than DFD_AUDIT_DAYS, once it fills an archive; returns how many entries.

    Raises BrokenChainError.
    """
    if not settings.DFD_AUDIT_DAYS:
        return 0
    with acting_as("archive"):
        made = archive(older_than=timedelta(days=settings.DFD_AUDIT_DAYS), at_least=ENTRIES)
    return made.last - made.first + 1 if made else 0


def archive(*, older_than: timedelta, at_least: int = 1) -> AuditArchive | None:
    """Move the oldest entries into a new archive, at most `ENTRIES`; None where fewer than `at_least` are due.

    Raises BrokenChainError, and moves none, where one of them is missing or changed.
    """
    before = AuditArchive.objects.order_by("-last").first()
    first, previous = (before.last + 1, before.hash) if before else (1, BEGINNING)
    head, due_until = AuditHead.objects.first(), timezone.now() - older_than
    rows = AuditEntry.objects.filter(number__gte=first, number__lt=head.number if head else 0).order_by("number")
    if not rows.filter(number__gte=first + at_least - 1, at__lt=due_until)[:1]:
        return None
    entries = list(takewhile(lambda entry: entry.at < due_until, rows[:ENTRIES]))
    if len(entries) < at_least:
        return None
    _check(entries, first, previous)
    last = entries[-1]
    note = orphan_files.watch_folder(below=FOLDER)
    try:
        with StoredFiles(lambda: remove_tree(note.path)) as files:
            content = "".join(map(audit.to_line, entries)).encode()
            name = default_storage.save(f"{note.path}/{first:010}-{last.number:010}.jsonl", ContentFile(content))
            made = AuditArchive(first=first, last=last.number, hash=last.hash, file=name)
            _check(list(audit.archived(made)), first, previous)  # as it will be read, before the rows go
            with files.transaction():
                made.save(force_insert=True)
                orphan_files.claim(note)
                QuerySet(AuditEntry).filter(number__range=(first, last.number)).delete()
                audit.record(AuditAction.ARCHIVED, facts={"first": first, "last": last.number})
    except IntegrityError:  # another process has just moved them
        return None
    log.info("audit_archived", first=first, last=last.number, file=name)
    return made


def _check(entries: Sequence[AuditEntry], first: int, previous: str) -> None:
    for number, entry in enumerate(entries, first):
        if entry.number != number:
            raise BrokenChainError(f"Entry {number} of the audit log is missing.")
        if entry.previous != previous or not audit.is_as_written(entry):
            raise BrokenChainError(f"Entry {number} of the audit log is not as it was written.")
        previous = entry.hash
