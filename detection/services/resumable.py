"""Uploads in pieces: created with their length, appended to, and at the end submitted like any other upload.

The part on disk is the truth of how much has arrived; whoever writes to it holds its lock (flock), so it is one request
at a time, and a process that is killed leaves what it had written.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import structlog
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.core.files.base import File
from django.db import transaction
from django.db.models import QuerySet, Sum
from django.utils import timezone

from detection.errors import Refused
from detection.models import ResumableUpload
from detection.services import limits, uploads
from detection.sniff import HEAD_BYTES, sniff

log = structlog.get_logger(__name__)

MAX_OPEN = 20
"""Unfinished uploads of one user."""
KEPT = timedelta(days=1)
"""Since the last byte of it."""
CHUNK = 64 * 1024
"""A connection that breaks off costs at most this much of what had arrived."""
BATCH = 500
RETRY_S = 60
GONE = "upload_gone"
# The file itself is at fault: nothing can come of this upload any more.
FATAL = frozenset({"empty_file", "file_too_large", "not_a_video"})


class Stream(Protocol):
    """The body of a request."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Checksum:
    """What the client says of a piece: the name of an algorithm of hashlib's, and the digest."""

    algorithm: str
    digest: bytes


@dataclass(frozen=True)
class Appended:
    """`video` is there once the last byte is."""

    offset: int
    video_id: UUID | None


class _Part(File):  # type: ignore[type-arg]
    """A complete part: storage moves it where it lies on the same disk."""

    def __init__(self, file: FileIO, name: str, path: Path) -> None:
        super().__init__(file, name)
        self._path = path

    def temporary_file_path(self) -> str:
        return str(self._path)


def create(
    *,
    owner: AbstractBaseUser,
    length: int,
    name: str = "",
    external_id: str = "",
    metadata: Mapping[str, Any] | None = None,
    idempotency_key: str = "",
) -> ResumableUpload:
    """An upload of `length` bytes, of which none has arrived.

    Raises Refused: `empty_file`, `file_too_large`, `invalid_*`, `too_many_uploads`, and what limits an upload.
    """
    facts = dict(metadata or {})
    uploads.check_length(length)
    uploads.check_facts(external_id=external_id, metadata=facts, idempotency_key=idempotency_key)
    with transaction.atomic():
        list(get_user_model().objects.select_for_update(no_key=True).filter(pk=owner.pk).values_list("pk"))
        unfinished = ResumableUpload.objects.filter(owner_id=owner.pk, video_id=None)
        if unfinished.count() >= MAX_OPEN:
            raise Refused(
                "too_many_uploads",
                f"{MAX_OPEN} of your uploads are unfinished; finish or delete one.",
                status=429,
                headers={"Retry-After": str(RETRY_S)},
            )
        promised = unfinished.aggregate(total=Sum("length"))["total"] or 0
        limits.check_upload(owner_id=owner.pk, size_bytes=length, promised_bytes=promised)
        upload = ResumableUpload.objects.create(
            owner_id=owner.pk,
            length=length,
            name=uploads.display_name(name),
            external_id=external_id,
            metadata=facts,
            idempotency_key=idempotency_key,
        )
        _path(upload).touch(mode=0o600)
    return upload


def uploads_of(*, user: Any) -> QuerySet[ResumableUpload]:
    """The user's own, those that are complete too."""
    rows = ResumableUpload.objects.all()
    return rows.filter(owner_id=user.pk) if user.is_authenticated else rows.none()


def offset_of(upload: ResumableUpload) -> int:
    """How many bytes have arrived.  Raises Refused `upload_gone`."""
    if upload.video_id is not None:
        return upload.length
    try:
        return _path(upload).stat().st_size
    except FileNotFoundError as error:
        raise _gone() from error


def expires_at(upload: ResumableUpload) -> datetime:
    """When it is removed unless more of it arrives."""
    return upload.touched_at + KEPT


def append(*, upload: ResumableUpload, offset: int, stream: Stream, checksum: Checksum | None = None) -> Appended:
    """Append what the stream has; after the last byte the upload becomes a video.

    What arrives before the stream breaks off stays (in whole chunks), unless a checksum was to say whether it is right.
    Where the end is refused for now (a limit, a full queue), an empty piece at the end tries again.
    Raises Refused: `offset_mismatch`, `upload_busy`, `upload_gone`, `upload_too_long`, `checksum_mismatch`,
    `storage_full`, and whatever `submit_video` refuses.
    """
    if upload.video_id is not None:
        _check_offset(offset, upload.length)
        return Appended(offset=offset, video_id=upload.video_id)
    with _locked(upload) as part:
        arrived = part.seek(0, os.SEEK_END)
        _check_offset(offset, arrived)
        arrived = _receive(upload, part, arrived, stream, checksum)
        if arrived == upload.length:
            _submit(upload, part)
    return Appended(offset=arrived, video_id=upload.video_id)


def remove(*, upload: ResumableUpload) -> None:
    """Forget the upload and its bytes; a video that it became stays.  Raises Refused `upload_busy`."""
    try:
        with _locked(upload):
            _remove(upload)
    except Refused as refusal:
        if refusal.code != GONE:
            raise
        _remove(upload)


def sweep() -> int:
    """Remove uploads of which nothing has arrived for a day, and files without a row; returns how many uploads."""
    removed = 0
    for upload in ResumableUpload.objects.filter(touched_at__lt=timezone.now() - KEPT).order_by("touched_at")[:BATCH]:
        try:
            with _locked(upload):
                if upload.touched_at >= timezone.now() - KEPT:  # more has arrived just now
                    continue
                _remove(upload)
        except Refused as refusal:
            if refusal.code != GONE:
                continue
            _remove(upload)
        removed += 1
    for path in _folder().iterdir():
        with suppress(FileNotFoundError):  # it has just become a video
            old = path.stat().st_mtime < (timezone.now() - KEPT).timestamp()
            if old and not ResumableUpload.objects.filter(pk=path.stem).exists():
                path.unlink()
    return removed


# --- inside --------------------------------------------------------------------------------------------------------


def _folder() -> Path:
    folder: Path = settings.VAR_DIR / "uploads"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _path(upload: ResumableUpload) -> Path:
    return _folder() / f"{upload.pk}.part"


def _check_offset(said: int, arrived: int) -> None:
    if said != arrived:
        raise Refused("offset_mismatch", f"{arrived:,} bytes have arrived, not {said:,}.", status=409)


@contextmanager
def _locked(upload: ResumableUpload) -> Iterator[FileIO]:
    """The part, open, and nobody else's for as long; the row is read again.  Raises Refused."""
    try:
        part = _path(upload).open("r+b", buffering=0)
    except FileNotFoundError as error:
        raise _gone() from error
    with part:
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refused("upload_busy", "Another request is at this upload.", status=423) from error
        try:
            upload.refresh_from_db()
        except ResumableUpload.DoesNotExist as error:
            raise _gone() from error
        yield part


def _receive(upload: ResumableUpload, part: FileIO, before: int, stream: Stream, checksum: Checksum | None) -> int:
    """Write the piece behind what is there; returns how much is there then."""
    digest = hashlib.new(checksum.algorithm, usedforsecurity=False) if checksum else None
    arrived, whole = before, False
    try:
        while data := stream.read(CHUNK):
            if arrived + len(data) > upload.length:
                raise Refused("upload_too_long", f"The upload has {upload.length:,} bytes, as you said.", status=413)
            _write(part, data)
            arrived += len(data)
            if digest:
                digest.update(data)
        if digest and checksum and digest.digest() != checksum.digest:
            raise Refused("checksum_mismatch", "The piece is not what its checksum says; send it again.", status=460)
        whole = True
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Refused("storage_full", "There is no room for the file; try again later.", status=507) from error
    except Refused:
        arrived = before
        raise
    finally:
        if not whole and checksum:
            arrived = before
        os.ftruncate(part.fileno(), arrived)
        os.fsync(part.fileno())
        ResumableUpload.objects.filter(pk=upload.pk).update(touched_at=timezone.now())
    upload.touched_at = timezone.now()
    if before < HEAD_BYTES <= arrived:
        part.seek(0)
        if sniff(part.read(HEAD_BYTES)) is None:
            _remove(upload)
            raise uploads.not_a_video()
    return arrived


def _write(part: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[part.write(rest) or 0 :]


def _submit(upload: ResumableUpload, part: FileIO) -> None:
    path = _path(upload)
    # A second name of the same file, for storage to move: whatever is refused after that, the part is still there.
    second = path.with_suffix(".whole")
    second.unlink(missing_ok=True)
    os.link(path, second)
    try:
        submission = uploads.submit_video(
            owner=upload.owner,
            upload=_Part(part, upload.name, second),
            external_id=upload.external_id,
            metadata=upload.metadata,
            idempotency_key=upload.idempotency_key,
        )
    except Refused as refusal:
        if refusal.code in FATAL:
            _remove(upload)
        raise
    finally:
        second.unlink(missing_ok=True)
    upload.video_id, upload.touched_at = submission.video.pk, timezone.now()
    upload.save(update_fields=("video_id", "touched_at"))
    path.unlink(missing_ok=True)


def _remove(upload: ResumableUpload) -> None:
    ResumableUpload.objects.filter(pk=upload.pk).delete()
    _path(upload).unlink(missing_ok=True)


def _gone() -> Refused:
    return Refused(GONE, "There is no such upload any more; begin a new one.", status=410)
