"""Resumable uploads: created with their length, appended to, and submitted like any other upload when complete.

Pieces are in storage and their rows in the database, so each request may reach another machine.  One request at a time
holds an upload and appends to it; a killed process leaves what it had stored.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any, Protocol
from uuid import UUID

import structlog
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import F, Q, QuerySet, Sum
from django.utils import timezone

from detection import dispatch
from detection.container_format import HEAD_BYTES, sniff
from detection.errors import Refused, has_no_room, storage_full
from detection.models import ResumablePiece, ResumableUpload
from detection.services.jobs.attempt_files import remove_tree
from detection.services.uploads import holds, quotas, uploads
from detection.services.uploads.holds import GONE, Hold, gone, held

log = structlog.get_logger(__name__)

FOLDER = "uploads"
MAX_PIECES = 10_000
KEPT = timedelta(days=1)
"""Retention after the last byte arrived."""
CHUNK = 64 * 1024
"""A connection that breaks off costs at most this much of what had arrived."""
PIECE_BYTES = 8 * 1024 * 1024
"""A process that is killed costs at most this much: so much is kept in memory before it is stored."""
BATCH = 500
RETRY_S = 60
LEFT_ALONE = timedelta(minutes=1)
"""After its last byte an upload is its client's to finish."""
FINISH_S = 60.0
"""No further upload is begun to be put together after this long."""
# The file itself, or the key that names another, is at fault: nothing can come of this upload any more.
FATAL = frozenset({"empty_file", "file_too_large", "not_a_video", "idempotency_key_reused"})


class Stream(Protocol):
    """The body of a request."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, none at the end."""


@dataclass(frozen=True)
class Checksum:
    """A client's checksum of a piece: an algorithm of hashlib and the digest."""

    algorithm: str
    digest: bytes


@dataclass(frozen=True)
class Appended:
    """The new offset; `video_id` is set after the last byte."""

    offset: int
    video_id: UUID | None


class _Whole(File):  # type: ignore[type-arg]
    """All pieces in one local file; storage moves it if it is on the same disk."""

    def __init__(self, file: IO[bytes], name: str, path: Path, sha256: str) -> None:
        super().__init__(file, name)
        self._path, self.sha256 = path, sha256

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
    """Create an upload of `length` bytes.

    Raises Refused: `empty_file`, `file_too_large`, `invalid_*`, `too_many_uploads`, and what limits an upload.
    """
    facts = dict(metadata or {})
    uploads.check_length(length)
    uploads.check_facts(external_id=external_id, metadata=facts, idempotency_key=idempotency_key)
    with transaction.atomic():
        list(get_user_model().objects.select_for_update(no_key=True).filter(pk=owner.pk).values_list("pk"))
        unfinished = ResumableUpload.objects.filter(owner_id=owner.pk, video_id=None)
        if unfinished.count() >= settings.DFD_MAX_OPEN_UPLOADS:
            raise Refused(
                "too_many_uploads",
                f"{settings.DFD_MAX_OPEN_UPLOADS} of your uploads are unfinished; finish or delete one.",
                status=429,
                headers={"Retry-After": str(RETRY_S)},
            )
        promised = unfinished.aggregate(total=Sum(F("length") - F("arrived")))["total"] or 0
        quotas.check_upload(owner_id=owner.pk)
        quotas.check_bytes(owner_id=owner.pk, size_bytes=length, promised_bytes=promised)
        uploads.check_key_of_length(owner_id=owner.pk, key=idempotency_key, length=length)
        return ResumableUpload.objects.create(
            owner_id=owner.pk,
            length=length,
            name=uploads.display_name(name),
            external_id=external_id,
            metadata=facts,
            idempotency_key=idempotency_key,
        )


def uploads_of(*, user: Any) -> QuerySet[ResumableUpload]:
    """Return the user's uploads, also complete ones."""
    rows = ResumableUpload.objects.all()
    return rows.filter(owner_id=user.pk) if user.is_authenticated else rows.none()


def offset_of(upload: ResumableUpload) -> int:
    """Return how many bytes have arrived."""
    return upload.length if upload.video_id is not None else upload.arrived


def expires_at(upload: ResumableUpload) -> datetime:
    """Return when it is deleted unless more arrives."""
    return upload.touched_at + KEPT


def append(*, upload: ResumableUpload, offset: int, stream: Stream, checksum: Checksum | None = None) -> Appended:
    """Append the stream; after the last byte the upload becomes a video.

    What arrives before the stream breaks off is kept in whole chunks, unless a checksum was to confirm it.  If the last
    step is refused for now (a limit, a full queue), an empty piece at the end retries it.  Raises Refused:
    `offset_mismatch`, `upload_busy`, `upload_gone`, `upload_too_long`, `checksum_mismatch`, `too_many_pieces`,
    `storage_full`, and what `submit_video` refuses.
    """
    with held(upload) as hold:
        _check_offset(offset, offset_of(upload))
        if upload.video_id is None:
            if upload.pieces.count() >= MAX_PIECES:
                raise Refused("too_many_pieces", f"An upload has at most {MAX_PIECES:,} pieces; send larger ones.")
            if upload.arrived < upload.length:
                quotas.check_bytes(owner_id=upload.owner_id, size_bytes=1)
            _receive(hold, stream, checksum)
            if upload.arrived == upload.length:
                _submit(hold)
    return Appended(offset=offset_of(upload), video_id=upload.video_id)


def remove(*, upload: ResumableUpload) -> None:
    """Delete the upload and its bytes; a video made from it stays.  Raises Refused `upload_busy`."""
    try:
        with held(upload):
            _remove(upload)
    except Refused as refusal:
        if refusal.code != GONE:
            raise


def sweep() -> int:
    """Delete uploads that nothing arrived for in a day, and files without a row; return how many uploads."""
    removed = 0
    for upload in ResumableUpload.objects.filter(touched_at__lt=timezone.now() - KEPT).order_by("touched_at")[:BATCH]:
        try:
            with held(upload):
                if upload.touched_at >= timezone.now() - KEPT:  # more has arrived just now
                    continue
                _remove(upload)
        except Refused:
            continue
        removed += 1
    if _left_whole().exists():
        dispatch.wake_finisher()
    names = _folders()
    known = ResumableUpload.objects.only("pk").in_bulk(names)  # a row is there before any piece
    for name in names:
        if name not in known:
            remove_tree(f"{FOLDER}/{name}")
    return removed


def finish() -> int:
    """Make videos of uploads of which all has arrived and nobody has done the last step; return how many.

    It was refused for now, or its process was killed.  A client that asks is told that all its bytes are there, which
    by the protocol is the end: so nobody else may do it.
    """
    uploads.tidy_now_and_then()
    until, done = time.monotonic() + FINISH_S, 0
    for upload in _left_whole().order_by("touched_at")[:BATCH]:
        if time.monotonic() > until:
            break  # the next sweep asks again
        try:
            with held(upload) as hold:
                if upload.video_id is None and upload.arrived == upload.length:
                    quotas.check_upload(owner_id=upload.owner_id)  # before gigabytes are put together in vain
                    _submit(hold)
                    done += 1
        except Refused as refusal:
            log.info("upload_not_finished", upload=str(upload.pk), code=refusal.code)
        except Exception as error:  # whatever storages raise: the others can still be finished
            log.warning("upload_not_finished", upload=str(upload.pk), error=str(error))
    return done


# --- inside --------------------------------------------------------------------------------------------------------


def _left_whole() -> QuerySet[ResumableUpload]:
    """Return uploads of which all has arrived, whose client has left them so."""
    now = timezone.now()
    free = ResumableUpload.objects.filter(Q(held_until=None) | Q(held_until__lt=now), owner__is_active=True)
    return free.filter(video_id=None, arrived=F("length"), touched_at__lt=now - LEFT_ALONE)


def _folders() -> list[UUID]:
    """Return folders of uploads; other entries (`lost+found`, a backup's) are not ours."""
    try:
        names = default_storage.listdir(FOLDER)[0]
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        with suppress(ValueError):
            if str(upload_id := UUID(name)) == name:
                found.append(upload_id)
    return found


def _folder(upload: ResumableUpload) -> str:
    return f"{FOLDER}/{upload.pk}"


def _check_offset(said: int, arrived: int) -> None:
    if said != arrived:
        raise Refused("offset_mismatch", f"{arrived:,} bytes have arrived, not {said:,}.", status=409)


def _receive(hold: Hold, stream: Stream, checksum: Checksum | None) -> None:
    """Store the stream behind what has arrived."""
    receiver = _Receiver(hold, checksum)
    try:
        while data := stream.read(CHUNK):
            receiver.take(data)
        receiver.finish()
    except OSError as error:
        if has_no_room(error):
            raise storage_full() from error
        receiver.break_off()
        raise
    finally:
        receiver.drop()


class _Receiver:
    """Store a request's body in pieces; they count at once or, with a checksum, together once it is confirmed."""

    def __init__(self, hold: Hold, checksum: Checksum | None) -> None:
        self.hold, self.upload, self.checksum = hold, hold.upload, checksum
        self._digest = hashlib.new(checksum.algorithm, usedforsecurity=False) if checksum else None
        self._buffer = bytearray()
        self._stored: list[ResumablePiece] = []
        """Not counted yet."""
        self._end = self.upload.arrived

    def take(self, data: bytes) -> None:
        if self._end + len(self._buffer) + len(data) > self.upload.length:
            raise Refused("upload_too_long", f"The upload has {self.upload.length:,} bytes, as you said.", status=413)
        if self._digest:
            self._digest.update(data)
        self._buffer += data
        self.hold.keep()
        if len(self._buffer) >= PIECE_BYTES:
            self._store()

    def finish(self) -> None:
        if self._digest and self.checksum and self._digest.digest() != self.checksum.digest:
            raise Refused("checksum_mismatch", "The piece is not what its checksum says; send it again.", status=460)
        self._store()
        self._count()

    def break_off(self) -> None:
        if self.checksum is None:
            self._store()

    def drop(self) -> None:
        """Delete stored pieces that will not count for the upload; what arrived counts for the day."""
        quotas.count_bytes(owner_id=self.upload.owner_id, size_bytes=len(self._buffer), refuse=False)
        self._buffer.clear()
        for piece in self._stored:
            default_storage.delete(piece.name)
        self._stored.clear()

    def _store(self) -> None:
        data = bytes(self._buffer)
        self._buffer.clear()
        if not data:
            return
        quotas.count_bytes(owner_id=self.upload.owner_id, size_bytes=len(data))
        wanted = f"{_folder(self.upload)}/{self._end:015}-{self.hold.token.hex[:8]}.part"
        name = default_storage.save(wanted, ContentFile(data))
        self._stored.append(ResumablePiece(upload=self.upload, offset=self._end, length=len(data), name=name))
        self._end += len(data)
        if self.checksum is None:
            self._count()

    def _count(self) -> None:
        before, now = self.upload.arrived, timezone.now()
        with transaction.atomic():
            self.hold.change(arrived=self._end, touched_at=now, held_until=now + holds.HELD)
            ResumablePiece.objects.bulk_create(self._stored)
            # Before COMMIT: an error from here on does not say whether the rows are there (see `StoredFiles`).  What
            # they do not name goes with the upload's folder.
            self._stored.clear()
        self.upload.arrived, self.upload.touched_at = self._end, now
        if before < HEAD_BYTES <= self._end and sniff(_head(self.upload)) is None:
            _remove(self.upload)
            raise uploads.not_a_video()


def _pieces(upload: ResumableUpload) -> Iterator[bytes]:
    """Yield all that has arrived, in order.  Raises Refused `upload_gone`."""
    for name in upload.pieces.order_by("offset").values_list("name", flat=True):
        try:
            with default_storage.open(name) as piece:
                yield from piece.chunks(1024 * 1024)
        except FileNotFoundError as error:
            raise gone() from error


def _head(upload: ResumableUpload) -> bytes:
    head = b""
    for data in _pieces(upload):
        head += data
        if len(head) >= HEAD_BYTES:
            break
    return head[:HEAD_BYTES]


def _submit(hold: Hold) -> None:
    upload, digest = hold.upload, hashlib.sha256()
    # Of a suffix that the next web process here removes, should this one be killed.
    with tempfile.NamedTemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR, suffix=".upload", delete=False) as whole:
        path = Path(whole.name)
        try:
            for data in _pieces(upload):
                whole.write(data)
                digest.update(data)
                hold.keep()
            whole.flush()
            with hold.kept():
                submission = uploads.submit_video(
                    owner=upload.owner,
                    upload=_Whole(whole, upload.name, path, digest.hexdigest()),
                    external_id=upload.external_id,
                    metadata=upload.metadata,
                    idempotency_key=upload.idempotency_key,
                )
        except OSError as error:
            if has_no_room(error):
                raise storage_full() from error
            raise
        except Refused as refusal:
            if refusal.code in FATAL or refusal.code == GONE:
                _remove(upload)
            raise
        finally:
            path.unlink(missing_ok=True)
    upload.video_id, upload.touched_at = submission.video.pk, timezone.now()
    try:
        hold.change(video_id=upload.video_id, touched_at=upload.touched_at)
    except Refused:  # taken over or removed meanwhile: the video is in all the same, and the pieces are not ours
        log.warning("upload_lost_at_its_end", upload=str(upload.pk), video=str(upload.video_id))
        return
    upload.pieces.all().delete()
    remove_tree(_folder(upload))


def _remove(upload: ResumableUpload) -> None:
    ResumableUpload.objects.filter(pk=upload.pk).delete()
    remove_tree(_folder(upload))
