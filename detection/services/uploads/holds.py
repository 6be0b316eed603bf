"""The exclusive right to append to a resumable upload, for one request at a time, extended while it works."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog
from django.db import DatabaseError, connection
from django.db.models import Q
from django.utils import timezone

from detection.errors import Refused
from detection.models import ResumableUpload

log = structlog.get_logger(__name__)

HELD = timedelta(seconds=15)
"""Time without a byte after which another request may take over."""
GONE = "upload_gone"


class Hold:
    """The right to append, valid while `token` is the row's."""

    def __init__(self, upload: ResumableUpload, token: UUID) -> None:
        self.upload, self.token = upload, token
        self._kept_at = time.monotonic()

    def keep(self) -> None:
        """Extend the hold when a third of its time has passed.

        Raises Refused `upload_busy` if another request took it.
        """
        if time.monotonic() - self._kept_at > HELD.total_seconds() / 3:
            self._kept_at = time.monotonic()
            self.change(held_until=timezone.now() + HELD)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Extend the hold from a thread during the block, for instance while storage is slow."""
        done = threading.Event()

        def keep_on() -> None:
            try:
                while not done.wait(HELD.total_seconds() / 3):
                    self.change(held_until=timezone.now() + HELD)
            except (Refused, DatabaseError) as error:  # how it ends, `_submit` finds out
                log.warning("hold_not_kept", upload=str(self.upload.pk), error=str(error))
            finally:
                connection.close()

        thread = threading.Thread(target=keep_on, name="upload-hold", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def change(self, **fields: Any) -> None:
        """Update the upload's row.  Raises Refused `upload_busy` if another request holds it."""
        rows = ResumableUpload.objects.filter(pk=self.upload.pk, holder=self.token)
        if not rows.update(**fields):
            raise busy()


@contextmanager
def held(upload: ResumableUpload) -> Iterator[Hold]:
    """Hold the upload during the block, with its row read again.  Raises Refused `upload_busy` or `upload_gone`."""
    now, token = timezone.now(), uuid4()
    row = ResumableUpload.objects.filter(pk=upload.pk)
    if not row.filter(Q(held_until=None) | Q(held_until__lt=now)).update(holder=token, held_until=now + HELD):
        raise busy() if row.exists() else gone()
    try:
        try:
            upload.refresh_from_db()
        except ResumableUpload.DoesNotExist as error:
            raise gone() from error
        yield Hold(upload, token)
    finally:
        row.filter(holder=token).update(holder=None, held_until=None)


def busy() -> Refused:
    """Return the refusal while another request appends."""
    return Refused("upload_busy", "Another request is at this upload.", status=423)


def gone() -> Refused:
    """Return the refusal when the upload no longer exists."""
    return Refused(GONE, "There is no such upload any more; begin a new one.", status=410)
