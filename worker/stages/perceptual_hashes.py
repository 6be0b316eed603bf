"""Prints for videos of before there were any: from the stored thumbnail and crops, a few at each sweep."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import structlog
from django.core.files.storage import default_storage

from detection.services.jobs import perceptual_hashes
from detection.services.jobs.perceptual_hashes import NO_PRINT, Unprinted
from worker.stages import images as pictures

log = structlog.get_logger(__name__)

BATCH = 50
LOOK_AT = 5000

_after: UUID | None = None
_done = False


def fill(batch: Sequence[Unprinted]) -> None:
    """Make and store the prints of these videos.  What cannot be read has none, and is not tried again."""
    for video in batch:
        faces = {track: _print(names, face=True) for track, names in video.faces.items()}
        picture = _print([video.thumbnail])
        perceptual_hashes.store_prints(video_id=video.video_id, picture=picture, faces=faces, thumbnail=video.thumbnail)


def sweep() -> int:
    """The next few; returns how many.  A process walks the table once: new videos get theirs at their extraction."""
    global _after, _done
    if _done:
        return 0
    batch, _after = perceptual_hashes.next_unprinted(after=_after, batch=BATCH, look_at=LOOK_AT)
    _done = _after is None
    if batch:
        fill(batch)
        log.info("prints_made", videos=len(batch))
    return len(batch)


def _print(names: Sequence[str], *, face: bool = False) -> str:
    from ml.faces.perceptual_hash import face_hash, image_hash

    images = []
    for name in names:
        try:
            with default_storage.open(name) as handle:
                data = handle.read()
        except OSError as error:
            log.warning("no_print", file=name, error=str(error))
            continue
        image = pictures.decoded_crop(data) if data else None
        if image is not None:
            images.append(image)
    if not images:
        return NO_PRINT
    return face_hash(images) if face else image_hash(images[0])
