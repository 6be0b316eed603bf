"""Store what a file says of where it comes from."""

from __future__ import annotations

from uuid import UUID

from django.utils import timezone

from detection.models import VideoProvenance
from detection.services.jobs.results import Provenance


def store_provenance(*, video_id: UUID, told: Provenance | None) -> None:
    """Replace what was read before; nothing where it was not read this time."""
    if told is None:
        return
    values = {"claims": dict(told.claims), "credentials": told.credentials, "read_at": timezone.now()}
    VideoProvenance.objects.update_or_create(video_id=video_id, defaults=values)
