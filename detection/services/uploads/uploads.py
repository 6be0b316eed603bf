"""Upload, re-analyse and delete videos.

An upload looks for a duplicate, moves the file into storage, then writes all rows in one transaction.  On an error in
between the file is deleted again, and after a killed process or a commit in doubt `orphan_files` deletes it, so storage
holds nothing without a row.  Data sets use the same steps (`check_content`, `content_sha256`, `store_video`).
"""

from __future__ import annotations

import hashlib
import json
import time
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.core.files.base import File
from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction

from detection.container_format import HEAD_BYTES, STILL_CHECK_BYTES, FileKind, is_still_picture, sniff
from detection.errors import Refused, has_no_room, storage_full
from detection.models import Analysis, AuditAction, UploadKey, Video
from detection.selectors.videos import has_open_analysis
from detection.services.jobs import orphan_files
from detection.services.jobs.analyses import queue_analysis
from detection.services.jobs.attempt_files import remove_tree
from detection.services.jobs.leases import lock_video
from detection.services.ops import audit, pending_deletions
from detection.services.stored_files import StoredFiles
from detection.services.uploads.quotas import check_queue, check_quota, check_upload, lock_owner
from detection.services.validation import is_showable, is_storable

log = structlog.get_logger(__name__)

MAX_EXTERNAL_ID = 200
MAX_KEY = 200
MAX_NAME = 255
MAX_METADATA_DEPTH = 64
ABANDONED_AFTER_S = 24 * 3600.0
TIDY_EVERY_S = 3600.0


@dataclass(frozen=True)
class Submission:
    """`created` is False if the owner had sent the same content before: `video` is that one, unchanged."""

    video: Video
    created: bool


def submit_video(
    *,
    owner: AbstractBaseUser,
    upload: File[bytes],
    external_id: str = "",
    metadata: Mapping[str, Any] | None = None,
    idempotency_key: str = "",
) -> Submission:
    """Store the file and queue its analysis, or return the owner's video of the same content.

    `upload` is moved if it is a temporary file (`temporary_file_path`), else copied; its attribute `sha256` (lower-case
    hex) is used if the receiver has computed it.  Bytes are counted where they arrive (`quotas.Arrival`).

    Raises:
        Refused: `empty_file`, `file_too_large`, `not_a_video`, `invalid_*`, `idempotency_key_reused`, `quota_exceeded`,
            `queue_full`.
    """
    facts = dict(metadata or {})
    check_facts(external_id=external_id, metadata=facts, idempotency_key=idempotency_key)
    kind = check_content(upload)
    sha256 = getattr(upload, "sha256", "") or content_sha256(upload)

    existing = _existing(owner, sha256, idempotency_key)
    if existing is not None:
        return Submission(video=existing, created=False)
    size: int = upload.size
    check_upload(owner_id=owner.pk)

    video = Video(
        owner_id=owner.pk,
        external_id=external_id,
        metadata=facts,
        original_name=display_name(upload.name or ""),
        sha256=sha256,
        size_bytes=size,
    )

    def write() -> None:
        lock_owner(owner.pk)
        check_quota(owner_id=owner.pk)  # once more, one upload at a time
        video.save(force_insert=True)
        if idempotency_key:
            UploadKey.objects.create(owner_id=owner.pk, key=idempotency_key, video=video)
        queue_analysis(video=video)

    try:
        store_video(video=video, upload=upload, kind=kind, write=write)
    except IntegrityError as error:
        # The same content or key arrived twice at once, and the other was first.
        existing = _existing(owner, sha256, idempotency_key)
        if existing is None and "unique" in str(error).lower():  # so both databases say
            raise deleted_meanwhile() from error
        if existing is None:
            raise
        return Submission(video=existing, created=False)
    log.info("video_submitted", video=str(video.pk), size_bytes=video.size_bytes, kind=kind.suffix)
    return Submission(video=video, created=True)


def store_video(*, video: Video, upload: File[bytes], kind: FileKind, write: Callable[[], None]) -> None:
    """Store the file in the new video's folder and let `write` make all rows in one transaction, or undo both."""
    check = orphan_files.watch(video_id=video.pk)
    try:
        with StoredFiles(lambda: remove_tree(video.folder)) as files:
            upload.seek(0)
            video.file = default_storage.save(f"{video.folder}/original{kind.suffix}", upload)
            with files.transaction():
                write()
                orphan_files.claim(check)
    except BaseException as error:
        if has_no_room(error):
            raise storage_full() from error
        raise


def analyze_again(*, video: Video, reuse_faces: bool = True) -> Analysis:
    """Queue a new analysis of the video, or return the open one.

    Raises Refused `quota_exceeded`, `queue_full`, `original_expired`, or `not_found` (deleted meanwhile).
    """
    with transaction.atomic():
        lock_owner(video.owner_id)  # before the video, as an upload; requests at once are counted one by one
        if not has_open_analysis(video=video):
            check_queue()
            check_quota(owner_id=video.owner_id)
        return queue_analysis(video=video, reuse_faces=reuse_faces)


def delete_video(*, video: Video) -> None:
    """Delete the video, all its rows and, after the commit, its files.

    A worker that has it loses its claim, changes nothing and deletes what it wrote; the sweeper checks once more.  Its
    faces in training packs are deleted by a later sweep (see `pending_deletions`).
    """
    with transaction.atomic():
        list(Video.objects.select_for_update().filter(pk=video.pk).values_list("pk"))
        deleted, _ = Video.objects.filter(pk=video.pk).delete()
        pending_deletions.schedule(video_id=video.pk, paths=[video.folder], packs=True)
        if deleted:
            audit.record(AuditAction.VIDEO_DELETED, subject=f"video:{video.pk}", facts={"owner": video.owner_id})
    log.info("video_deleted", video=str(video.pk))


def remove_abandoned_uploads(*, older_than_s: float = ABANDONED_AFTER_S) -> int:
    """Delete temporary files of uploads whose process died; return how many."""
    removed = 0
    for path in Path(settings.FILE_UPLOAD_TEMP_DIR).glob("*.upload"):
        try:
            if time.time() - path.stat().st_mtime > older_than_s:
                path.unlink()
                removed += 1
        except FileNotFoundError:  # finished or removed meanwhile
            continue
    return removed


_tidied_at = -ABANDONED_AFTER_S


def tidy_now_and_then() -> None:
    """Call `remove_abandoned_uploads` at most once an hour per process, where uploads arrive."""
    global _tidied_at
    if time.monotonic() - _tidied_at > TIDY_EVERY_S:
        _tidied_at = time.monotonic()
        remove_abandoned_uploads()


# --- checks, for the API to use early --------------------------------------------------------------------------------


def too_large() -> Refused:
    """Return the refusal of a file that is too large."""
    return Refused("file_too_large", f"A file may have at most {settings.DFD_MAX_UPLOAD_BYTES:,} bytes.", status=413)


def not_a_video() -> Refused:
    """Return the refusal of a file that is no video."""
    return Refused("not_a_video", "The content of the file is not a video, whatever its name says.", status=415)


def check_length(size_bytes: int) -> None:
    """Raise Refused `empty_file` or `file_too_large`."""
    if size_bytes == 0:
        raise Refused("empty_file", "The file is empty.")
    if size_bytes > settings.DFD_MAX_UPLOAD_BYTES:
        raise too_large()


def check_facts(*, external_id: str, metadata: Mapping[str, Any], idempotency_key: str) -> None:
    """Raise Refused `invalid_*` for values that cannot be stored."""
    _check_text("external_id", external_id, MAX_EXTERNAL_ID)
    check_metadata(metadata)
    check_key(idempotency_key)


def check_key(key: str) -> None:
    """Raise Refused unless the key is empty or at most 200 visible ASCII characters."""
    if len(key) > MAX_KEY or not key.isascii() or not key.isprintable():
        raise Refused("invalid_idempotency_key", f"An Idempotency-Key is 1 to {MAX_KEY} visible ASCII characters.")


def check_key_of_length(*, owner_id: int, key: str, length: int) -> None:
    """Raise Refused `idempotency_key_reused` if the key was used for a file of another length."""
    if key:
        used = UploadKey.objects.filter(owner_id=owner_id, key=key).exclude(video__size_bytes=length)
        if used.exists():
            raise _key_reused()


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Raise Refused unless every database can store the metadata and every client read it.

    It must be small and not deeply nested, without NUL, NaN or half of a surrogate pair.
    """
    if _is_deeper(metadata, MAX_METADATA_DEPTH):
        raise Refused("invalid_metadata", f"The metadata may be nested {MAX_METADATA_DEPTH} deep at most.")
    try:
        encoded = json.dumps(metadata, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, TypeError, RecursionError) as error:  # a UnicodeEncodeError is a ValueError
        raise Refused("invalid_metadata", "The metadata must be a plain JSON object.") from error
    if len(encoded) > settings.DFD_MAX_METADATA_BYTES:
        raise Refused("invalid_metadata", f"The metadata may have at most {settings.DFD_MAX_METADATA_BYTES:,} bytes.")
    if b"\\u0000" in encoded.replace(b"\\\\", b""):
        raise Refused("invalid_metadata", "The metadata must not contain NUL characters.")


def display_name(name: str) -> str:
    """Return the last part of the client's file name, composed (NFC), without control characters; for people only.

    Its lower-case form, which the database stores for searches, is no longer than MAX_NAME either.
    """
    last = unicodedata.normalize("NFC", name.replace("\\", "/").rsplit("/", 1)[-1])
    shown = "".join(filter(is_showable, last)).strip()[:MAX_NAME]
    while len(shown.lower()) > MAX_NAME:  # of one letter may become two
        shown = shown[:-1]
    return shown or "video"


def _check_text(field: str, value: str, limit: int) -> None:
    """Refuse text that cannot be shown, instead of changing it: its sender searches for it as sent."""
    if len(value) > limit or not is_storable(value) or not all(map(is_showable, value)):
        sentence = f"{field} has at most {limit} characters, and none that cannot be seen (control characters, say)."
        raise Refused(f"invalid_{field}", sentence)


def _is_deeper(value: Any, depth: int) -> bool:
    """Return whether lists and objects are nested deeper than `depth`, without recursion."""
    level = [value]
    for _ in range(depth + 1):
        inner = (one.values() if isinstance(one, Mapping) else one for one in level if isinstance(one, Mapping | list))
        level = list(chain.from_iterable(inner))
        if not level:
            return False
    return True


def check_content(upload: File[bytes]) -> FileKind:
    """Return the file's container.  Raises Refused `empty_file`, `file_too_large` or `not_a_video`."""
    check_length(upload.size)
    upload.seek(0)
    head = upload.read(HEAD_BYTES)
    kind = sniff(head)
    if kind is None:
        raise not_a_video()
    if kind.media_type.startswith("image/"):
        upload.seek(0)
        if is_still_picture(upload.read(STILL_CHECK_BYTES)):
            raise Refused("not_a_video", "The file is a picture that does not move.", status=415)
    return kind


def content_sha256(upload: File[bytes]) -> str:
    """Return the hex SHA-256 of the file's content."""
    digest = hashlib.sha256()
    upload.seek(0)
    for chunk in upload.chunks():
        digest.update(chunk)
    return digest.hexdigest()


def _existing(owner: AbstractBaseUser, sha256: str, key: str) -> Video | None:
    """Return the owner's video of this content, and remember a new key for it.

    Raises Refused `idempotency_key_reused` for a key of another file.
    """
    if key:
        used = UploadKey.objects.select_related("video").filter(owner_id=owner.pk, key=key).first()
        if used is not None:
            if used.video.sha256 == sha256:
                return used.video
            raise _key_reused()
    video = Video.objects.filter(owner_id=owner.pk, sha256=sha256).first()
    if video is not None and key:
        with transaction.atomic():
            if not lock_video(video.pk):  # its owner has deleted it just now
                return None
            UploadKey.objects.get_or_create(owner_id=owner.pk, key=key, defaults={"video": video})
    return video


def deleted_meanwhile() -> Refused:
    """Return the refusal of an upload whose video its owner deleted before it was answered."""
    return Refused("not_found", "The video of this content was deleted meanwhile; send the file again.", status=404)


def _key_reused() -> Refused:
    return Refused("idempotency_key_reused", "This Idempotency-Key has been used with another file before.", status=422)
