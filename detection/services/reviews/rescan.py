"""Rescan a video in which no face was found, with lowered detection thresholds.

Faces found that way are less certain, so every verdict on them needs review (`sensitive_faces`), by any model: the
analysis that stored the faces says so.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

import structlog
from django.contrib.auth.models import User

from detection.errors import Refused
from detection.models import OPEN_STATES, Analysis, State, Video
from detection.services.jobs.analyses import queue_analysis

log = structlog.get_logger(__name__)


def request_rescan(*, video: Video, by: User) -> Analysis:
    """Queue an analysis with lowered thresholds, or return the open one.

    Raises Refused: `permission_denied`, `not_no_face` (faces were found), `looked_already` (it was rescanned before),
    `original_expired`.
    """
    if not by.has_perm("detection.add_review"):
        raise Refused("permission_denied", "Only reviewers may have a video looked at again.", status=403)
    analysis = video.analyses.filter(state__in=OPEN_STATES).first()
    if analysis is not None:
        return analysis
    status = Video.objects.filter(pk=video.pk).values_list("status", flat=True).first()
    if status != State.NO_FACE:
        raise Refused("not_no_face", "Only a video in which no face was found is looked at again.", status=409)
    if rescanned(video):
        raise Refused(
            "looked_already",
            "This video was looked at with lower thresholds before, and no face was found either.",
            status=409,
        )
    analysis = queue_analysis(video=video, reuse_faces=False, sensitive=True)
    log.info("looking_again", video=str(video.pk), by=by.pk)
    return analysis


def rescanned(video: Video) -> bool:
    """Return whether a rescan found no face either."""
    return video.analyses.filter(sensitive=True, state=State.NO_FACE).exists()


def found_by_rescan(video_ids: Collection[UUID]) -> set[UUID]:
    """Return those of the videos whose stored faces were found with lowered thresholds.

    Only an analysis that extracted has `extract` in its timings, written in the transaction that stored the faces.  At
    most
    one analysis of a video is open, so the newest of them stored the present faces.
    """
    rows = Analysis.objects.filter(video_id__in=video_ids, timings__has_key="extract").order_by("created_at", "id")
    newest = dict(rows.values_list("video_id", "sensitive"))
    return {video_id for video_id, sensitive in newest.items() if sensitive}
