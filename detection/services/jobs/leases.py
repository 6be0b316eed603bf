"""What holders of a lease are told when it is theirs no more, and the order of locks.

A transaction that changes a video and what belongs to it (analyses, evidence, verdicts) locks the video's row first.
Owners come before their videos, several videos in the order of their ids, models (`lock_models`) before videos.
"""

from __future__ import annotations

from uuid import UUID

from django.db import connection

from detection.models import Video

MODELS_LOCK = 0x6D6F6465  # any number, the same in all processes


class LeaseLost(Exception):
    """The claim's token is no longer the row's: stop, and leave no trace."""


def lock_video(video_id: UUID) -> bool:
    """Lock the video's row until the transaction ends; false where it is gone."""
    return bool(Video.objects.select_for_update(no_key=True).filter(pk=video_id).values_list("pk"))


def lock_models() -> None:
    """Lock which model is active and which run is open, until the transaction ends.

    No row will do: there may be no model and no run yet.  SQLite's transactions exclude each other anyway.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [MODELS_LOCK])
