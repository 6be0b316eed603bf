"""Cancel an analysis for its owner, whatever it is at: waiting, or at work in a worker."""

from __future__ import annotations

from functools import partial
from uuid import UUID

import structlog
from django.db import transaction
from django.utils import timezone

from detection.errors import Refused
from detection.models import OPEN_STATES, Analysis, Stage, State, Video
from detection.services.jobs import attempt_files, orphan_files, webhook_deliveries
from detection.services.jobs.leases import lock_video
from detection.services.jobs.verdicts import take_off_outdated

log = structlog.get_logger(__name__)

CANCELLED = "cancelled"


def cancel_analysis(*, analysis_id: UUID) -> Analysis:
    """End an open analysis as `cancelled` and return it; one that is cancelled already is returned unchanged.

    Taking the token away is what stops a worker: its next heartbeat (at most `lease_heartbeat.BEAT_S` later) raises
    LeaseLost, and it can settle nothing any more.  What it has written goes: at once by `prune`, and what it writes
    until it notices by itself, or by `orphan_files` where it dies of something else first.  Faces that an extraction
    has already committed are whole, and stay: only a verdict on faces they replaced is taken off the video.

    Raises Refused `not_found` where the video was deleted meanwhile, `already_ended` where there is nothing to cancel.
    """
    with transaction.atomic():
        row = Analysis.objects.filter(id=analysis_id).only("video_id").first()
        if row is None or not lock_video(row.video_id):
            raise Refused("not_found", "There is no such task any more.", status=404)
        analysis = Analysis.objects.select_related("verdict__model_version").get(id=analysis_id)
        if analysis.state == State.CANCELLED:
            return analysis
        if analysis.state not in OPEN_STATES:
            raise Refused("already_ended", "The task has ended; there is nothing to cancel.", status=409)
        was_running, now = analysis.state == State.RUNNING, timezone.now()
        analysis.state, analysis.finished_at = State.CANCELLED, now
        analysis.error_code, analysis.error_detail = CANCELLED, "Its owner cancelled this task."
        analysis.token = analysis.lease_until = None
        analysis.save(
            update_fields=["state", "finished_at", "error_code", "error_detail", "token", "lease_until"],
        )
        video = Video.objects.filter(id=analysis.video_id, current_analysis=analysis)
        take_off_outdated(video)
        video.update(status=State.CANCELLED, updated_at=now)
        if was_running and analysis.stage == Stage.EXTRACT:
            orphan_files.watch(video_id=analysis.video_id)
        webhook_deliveries.announce(analysis_id=analysis.id)
        transaction.on_commit(partial(attempt_files.prune, analysis.video_id), robust=True)
    log.info("analysis_cancelled", analysis=str(analysis_id), video=str(analysis.video_id), was_running=was_running)
    return analysis
