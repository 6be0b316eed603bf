"""What a video's file says of where it comes from.  It never moves a score, and no file fails for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from django.conf import settings

from detection.services.jobs.results import Provenance
from worker.process.credentials import read_in_child

if TYPE_CHECKING:
    from ml.config import VideoConfig
    from ml.video.ranged_file import VideoFile

log = structlog.get_logger(__name__)

COPY_BYTES = 1024 * 1024


def read(path: VideoFile, limits: VideoConfig, folder: Path) -> Provenance | None:
    """Read tags and the C2PA manifest, where there is one; None where the file does not open.

    A manifest is checked against all of the file, so that one in a bucket is fetched into `folder` then.
    """
    from ml.video.decode import VideoError
    from ml.video.provenance.content_credentials import has_manifest
    from ml.video.provenance.metadata import read_provenance

    try:
        claims = read_provenance(path, limits)
    except VideoError as error:
        log.warning("provenance_not_read", reason=error.detail)
        return None
    if isinstance(path, Path):
        with path.open("rb") as file:
            carries_manifest = has_manifest(file)
        local = path
    else:
        carries_manifest = has_manifest(path.open())
        local = folder / "whole.mp4"
        if carries_manifest:
            with local.open("wb") as target:
                reader = path.open()
                while piece := reader.read(COPY_BYTES):
                    target.write(piece)
    return Provenance(claims.as_dict(), read_in_child(local, trust_anchors()) if carries_manifest else None)


def trust_anchors() -> str:
    """Return the certificates of DFD_C2PA_TRUST (PEM); empty where none are trusted."""
    return Path(settings.DFD_C2PA_TRUST).read_text() if settings.DFD_C2PA_TRUST else ""
