"""Videos come in, are analysed again, and go.

Order of an upload: look whether it is here already, move the file into storage, then write all rows in one
transaction.  Whatever fails between the two takes the file away again, and where the process dies or the commit is in
doubt `orphan_files` does, so storage holds nothing without a row.
A data set's videos come in by the same steps (`check_content`, `content_sha256`, `store_video`), see `datasets`.
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
    """`created` is False where the owner had sent the same content before: `video` is that one, unchanged."""

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
    """Store the file and queue its analysis, or find the video that the owner has of the same content.

    `upload` is moved where it lies in a temporary file (`temporary_file_path`) and copied otherwise; its `sha256`
    attribute (lower-case hex) is used where the receiver has computed it on the way.  Raises Refused:
    `empty_file`, `file_too_large`, `not_a_video`, `invalid_*`, `idempotency_key_reused`, `quota_exceeded`,
    `queue_full`.  The bytes are counted where they arrive (`quotas.Arrival`).
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
    except IntegrityError:
        # The same content or key arrived twice at once, and the other was first.
        existing = _existing(owner, sha256, idempotency_key)
        if existing is None:
            raise
        return Submission(video=existing, created=False)
    log.info("video_submitted", video=str(video.pk), size_bytes=video.size_bytes, kind=kind.suffix)
    return Submission(video=video, created=True)


def store_video(*, video: Video, upload: File[bytes], kind: FileKind, write: Callable[[], None]) -> None:
    """Put the file into the new video's folder, then let `write` make all rows in one transaction, or undo both."""
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
    """A new task for the video, or the one that is still open.

    Raises Refused `quota_exceeded`, `queue_full`, `original_expired`, or `not_found` if it has been deleted meanwhile.
    """
    with transaction.atomic():
        lock_owner(video.owner_id)  # before the video, as an upload; requests at once are counted one by one
        if not has_open_analysis(video=video):
            check_queue()
            check_quota(owner_id=video.owner_id)
        return queue_analysis(video=video, reuse_faces=reuse_faces)


def delete_video(*, video: Video) -> None:
    """Remove the video, all that belongs to it, and (after the commit) its files.

    A worker that is at it finds its claim gone, changes nothing and removes what it had written; the sweeper looks
    once more.  Faces of it in training packs go at a later sweep (see `removals`).
    """
    with transaction.atomic():
        list(Video.objects.select_for_update().filter(pk=video.pk).values_list("pk"))
        deleted, _ = Video.objects.filter(pk=video.pk).delete()
        pending_deletions.schedule(video_id=video.pk, paths=[video.folder], packs=True)
        if deleted:
            audit.record(AuditAction.VIDEO_DELETED, subject=f"video:{video.pk}", facts={"owner": video.owner_id})
    log.info("video_deleted", video=str(video.pk))


def remove_abandoned_uploads(*, older_than_s: float = ABANDONED_AFTER_S) -> int:
    """Remove temporary files of uploads whose process died before it could; returns how many."""
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
    """The same, at most once an hour by a process: called where uploads arrive, so that long-lived ones do it, too."""
    global _tidied_at
    if time.monotonic() - _tidied_at > TIDY_EVERY_S:
        _tidied_at = time.monotonic()
        remove_abandoned_uploads()


# --- checks, for the API to use early --------------------------------------------------------------------------------


def too_large() -> Refused:
    return Refused("file_too_large", f"A file may have at most {settings.DFD_MAX_UPLOAD_BYTES:,} bytes.", status=413)


def not_a_video() -> Refused:
    return Refused("not_a_video", "The content of the file is not a video, whatever its name says.", status=415)


def check_length(size_bytes: int) -> None:
    """Raises Refused `empty_file` or `file_too_large`."""
    if size_bytes == 0:
        raise Refused("empty_file", "The file is empty.")
    if size_bytes > settings.DFD_MAX_UPLOAD_BYTES:
        raise too_large()


def check_facts(*, external_id: str, metadata: Mapping[str, Any], idempotency_key: str) -> None:
    """Raises Refused `invalid_*`."""
    _check_text("external_id", external_id, MAX_EXTERNAL_ID)
    check_metadata(metadata)
    check_key(idempotency_key)


def check_key(key: str) -> None:
    """Raises Refused unless the key is empty or at most 200 visible ASCII characters."""
    if len(key) > MAX_KEY or not key.isascii() or not key.isprintable():
        raise Refused("invalid_idempotency_key", f"An Idempotency-Key is 1 to {MAX_KEY} visible ASCII characters.")


def check_key_of_length(*, owner_id: int, key: str, length: int) -> None:
    """Raises Refused `idempotency_key_reused` where the key names a file of another length: that cannot be this one."""
    if key:
        used = UploadKey.objects.filter(owner_id=owner_id, key=key).exclude(video__size_bytes=length)
        if used.exists():
            raise _key_reused()


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Raises Refused unless every database can hold it, and every reader take it.

    It must be small, have no NUL, no NaN, no half of a surrogate pair, and not be nested as deeply as no parser likes.
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
    """The last part of what the client calls the file, composed (NFC), without control characters; for people only.

    Its lower-case form, which a database keeps to search in, is no longer than MAX_NAME either.
    """
    last = unicodedata.normalize("NFC", name.replace("\\", "/").rsplit("/", 1)[-1])
    shown = "".join(filter(is_showable, last)).strip()[:MAX_NAME]
    while len(shown.lower()) > MAX_NAME:  # of one letter may become two
        shown = shown[:-1]
    return shown or "video"


def _check_text(field: str, value: str, limit: int) -> None:
    """It is kept as it was sent, for its sender looks for it: what cannot be shown is refused, not taken out."""
    if len(value) > limit or not is_storable(value) or not all(map(is_showable, value)):
        sentence = f"{field} has at most {limit} characters, and none that cannot be seen (control characters, say)."
        raise Refused(f"invalid_{field}", sentence)


def _is_deeper(value: Any, depth: int) -> bool:
    """Whether lists and objects are nested deeper; goes down in a loop, level after level."""
    level = [value]
    for _ in range(depth + 1):
        inner = (one.values() if isinstance(one, Mapping) else one for one in level if isinstance(one, Mapping | list))
        level = list(chain.from_iterable(inner))
        if not level:
            return False
    return True


def check_content(upload: File[bytes]) -> FileKind:
    """What the file is.  Raises Refused `empty_file`, `file_too_large` or `not_a_video`."""
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
    digest = hashlib.sha256()
    upload.seek(0)
    for chunk in upload.chunks():
        digest.update(chunk)
    return digest.hexdigest()


def _existing(owner: AbstractBaseUser, sha256: str, key: str) -> Video | None:
    """The owner's video of this content.  A key that is new is kept for it; one that names another is refused."""
    if key:
        used = UploadKey.objects.select_related("video").filter(owner_id=owner.pk, key=key).first()
        if used is not None:
            if used.video.sha256 == sha256:
                return used.video
            raise _key_reused()
    video = Video.objects.filter(owner_id=owner.pk, sha256=sha256).first()
    if video is not None and key:
        UploadKey.objects.get_or_create(owner_id=owner.pk, key=key, defaults={"video": video})
    return video


def _key_reused() -> Refused:
    return Refused("idempotency_key_reused", "This Idempotency-Key has been used with another file before.", status=422)
