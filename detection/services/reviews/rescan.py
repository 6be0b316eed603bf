"""Looking again, with lower thresholds for what counts as a face, where nobody was found at first.

What such a look finds is less certain.  So each verdict on those faces needs a person's review (`sensitive_faces`),
whether it is the first on them or one of a later model: it is asked of the analysis that stored the faces.
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
    """Queue an analysis with lower thresholds, or return the one that is open already.

    Raises Refused: `permission_denied`, `not_no_face` (there is no need), `looked_already` (it would find no more),
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
    """Whether the look with lower thresholds found nobody either."""
    return video.analyses.filter(sensitive=True, state=State.NO_FACE).exists()


def found_by_rescan(video_ids: Collection[UUID]) -> set[UUID]:
    """Those of the videos whose stored faces were found with lowered thresholds.

    An analysis that has extracted keeps the seconds that it took, from the very transaction that stored the faces; one
    that only classified has none.  At most one of a video is open, so the newest of them stored what is there.
    """
    rows = Analysis.objects.filter(video_id__in=video_ids, timings__has_key="extract").order_by("created_at", "id")
    newest = dict(rows.values_list("video_id", "sensitive"))
    return {video_id for video_id, sensitive in newest.items() if sensitive}
