"""Receive an upload: to disk, hashed on the way, stopped at a limit or as soon as it cannot be a video."""

from __future__ import annotations

import hashlib
import time
from typing import IO, Any

from django.conf import settings
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.core.files.uploadhandler import FileUploadHandler

from detection.container_format import HEAD_BYTES, sniff
from detection.errors import Refused, has_no_room, storage_full
from detection.services.uploads.quotas import Arrival, check_queue
from detection.services.uploads.uploads import display_name, not_a_video, tidy_now_and_then, too_large

FIELD = "file"
FORM_OVERHEAD_BYTES = 1024 * 1024
"""Most bytes of a request beside the file: part headers and other fields."""
FORM_FIELDS_BYTES = 64 * 1024
"""Most bytes of the other fields in an honest request, for an early guess at the file's size."""
# A refused upload is still read for a while, and thrown away: a client that is in the middle of sending often does not
# look for the answer, and closing the connection on it would lose the answer.
DRAIN_BYTES = 16 * 1024 * 1024
DRAIN_S = 5.0


class ReceivedFile(TemporaryUploadedFile):
    """An upload in a temporary file, with the sha256 (lower-case hex) of its content; closing deletes it."""

    sha256: str = ""

    def __init__(self, *, content_type: str) -> None:
        # Not the client's name: Django would give its suffix, of whatever length, to the temporary file.
        super().__init__("video", content_type, 0, None)


class VideoUploadHandler(FileUploadHandler):
    """Receives the file in the field `file`; other files in the request are read and dropped."""

    chunk_size = 256 * 1024

    def __init__(self, request: Any = None) -> None:
        super().__init__(request)
        self.received: ReceivedFile | None = None
        self.done: ReceivedFile | None = None
        self.arrival: Arrival | None = None
        self.refusal: Refused | None = None
        self.drained = 0
        self.refused_at = 0.0

    def handle_raw_input(
        self,
        input_data: IO[bytes],
        META: dict[str, Any],
        content_length: int,
        boundary: Any,
        encoding: str | None = None,
    ) -> None:
        """Refuse a request by its announced length or the full queue, before anything is stored."""
        if content_length > settings.DFD_MAX_UPLOAD_BYTES + FORM_OVERHEAD_BYTES:
            self._refuse(too_large())
            return
        user = getattr(self.request, "user", None)
        try:
            check_queue()
            if user is not None and user.is_authenticated:
                announced = content_length - FORM_FIELDS_BYTES
                self.arrival = Arrival(owner_id=user.pk, announced_bytes=announced)
        except Refused as refusal:
            self._refuse(refusal)
        tidy_now_and_then()

    def new_file(self, field_name: str, file_name: str, content_type: str, *args: Any, **kwargs: Any) -> None:
        """Begin to receive a file."""
        super().new_file(field_name, file_name, content_type, *args, **kwargs)
        self.received = None
        if field_name != FIELD or self.refusal is not None:
            return
        if self.done is not None:
            self._refuse(Refused("more_than_one_file", "Send one file a request, in the field `file`."))
            return
        self.received = ReceivedFile(content_type=content_type)
        self.hash = hashlib.sha256()
        self.head = b""
        self.size = 0

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Store a chunk, or drop it after a refusal."""
        if self.refusal is not None:
            self._drain(len(raw_data))
        elif self.received is not None:
            self._keep(self.received, raw_data)

    def file_complete(self, file_size: int) -> ReceivedFile | None:
        """Return the received file, or raise the refusal."""
        if self.refusal is not None:
            raise self.refusal
        if self.received is None:
            return None
        if self.arrival is not None:
            try:
                self.arrival.count()
            except Refused as refusal:
                self._refuse(refusal)
                raise
        received, self.received = self.received, None
        received.name = display_name(self.file_name or "")
        received.size = self.size
        received.sha256 = self.hash.hexdigest()
        received.seek(0)
        self.done = received
        return received

    def upload_complete(self) -> None:
        """Raise a refusal that came after the file."""
        if self.refusal is not None:
            raise self.refusal

    def upload_interrupted(self) -> None:
        """Delete what has arrived."""
        self.discard()

    def discard(self) -> None:
        """Delete what has arrived; harmless after it was moved into storage."""
        for file in (self.received, self.done):
            if file is not None:
                file.close()
        self.received = self.done = None

    def _keep(self, received: ReceivedFile, data: bytes) -> None:
        self.size += len(data)
        if self.size > settings.DFD_MAX_UPLOAD_BYTES:
            self._refuse(too_large())
            return
        if len(self.head) < HEAD_BYTES:
            self.head += data[:HEAD_BYTES]
            if len(self.head) >= HEAD_BYTES and sniff(self.head) is None:
                self._refuse(not_a_video())
                return
        try:
            if self.arrival is not None:
                self.arrival.add(len(data))
        except Refused as refusal:
            self._refuse(refusal)
            return
        self.hash.update(data)
        try:
            received.write(data)
        except OSError as error:
            if not has_no_room(error):
                raise
            self._refuse(storage_full())

    def _refuse(self, refusal: Refused) -> None:
        self.refusal = refusal
        self.refused_at = time.monotonic()
        self.discard()

    def _drain(self, size: int) -> None:
        self.drained += size
        if self.drained > DRAIN_BYTES or time.monotonic() - self.refused_at > DRAIN_S:
            assert self.refusal is not None
            raise self.refusal
