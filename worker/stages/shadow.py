"""A version in shadow scores what was analysed: after the clients' verdicts, and never before a waiting one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from uuid import UUID

import structlog
from django.utils import timezone

from detection.models import Analysis, FaceFrame, ModelKind, ModelVersion, Video
from detection.services.jobs.leases import LeaseLost
from detection.services.learning import local_figures, shadow
from detection.services.learning.rescoring import sequences_of
from detection.services.learning.shadow import Scored, ShadowClaim
from detection.services.reviews.rescan import found_by_rescan
from detection.services.stored_files import is_away
from worker.process import runtime
from worker.process.lease_heartbeat import LeaseHeartbeat
from worker.stages import attempt
from worker.stages.verdict import verdict

if TYPE_CHECKING:
    from ml.model.inference import Classifier

log = structlog.get_logger(__name__)

TURN_S = 30.0
"""After it the worker is free for something else."""
BATCH = 8

_loaded: tuple[UUID, Classifier] | None = None


def run(trial_id: str) -> None:
    """Take a turn at the trial, if it can be claimed."""
    claim = shadow.claim(trial_id=UUID(trial_id))
    if claim is None:
        log.info("nothing_to_do", shadow=trial_id)
        return
    attempt.run_claimed(claim, _turn, shadow, shadow=trial_id)


def _turn(claim: ShadowClaim, heartbeat: LeaseHeartbeat) -> None:
    until = time.monotonic() + TURN_S
    version = ModelVersion.objects.get(id=claim.model_version_id)
    while not shadow.clients_wait():
        if time.monotonic() > until:
            shadow.finish_turn(claim=claim, more=True)
            return
        batch = shadow.pending(trial_id=claim.id, limit=BATCH)
        if not batch:
            break
        classifier = _classifier(version)
        for analysis in batch:
            heartbeat(0)
            scored = _score(version, classifier, analysis)
            shadow.store(claim=claim, scored=[scored])
            if shadow.clients_wait():
                break
    if claim.measured_at is None or claim.measured_at < timezone.now() - local_figures.EVERY:
        from worker.training import measuring

        shadow.keep_figures(claim=claim, figures=measuring.compared(version))
    shadow.finish_turn(claim=claim, more=False)


def _score(version: ModelVersion, classifier: Classifier, analysis: Analysis) -> Scored:
    """What the version says of the stored faces, or clips.

    Whatever goes wrong is the version's failure, and nobody else's; but where storage is away, that is raised.
    """
    started = time.perf_counter()
    try:
        if version.kind == ModelKind.ONNX_FRAMES:
            shown, scores = runtime.score_frames(classifier, Video.objects.get(id=analysis.video_id))
        else:
            rows = FaceFrame.objects.filter(video_id=analysis.video_id).order_by("track", "position")
            shown, scores = runtime.score_people(classifier, sequences_of(rows))
        sensitive = bool(found_by_rescan([analysis.video_id]))
        result = verdict(version, classifier, shown, scores, sensitive=sensitive)
    except LeaseLost:
        raise
    except Exception as error:
        if is_away(error):
            raise
        log.warning("shadow_failed", video=str(analysis.video_id), model=version.name, error=str(error))
        return Scored(analysis)
    segments = [segment["fake_probability"] for segment in result.segments] if result.segments else None
    seconds = round(time.perf_counter() - started, 3)
    return Scored(analysis, result.fake_probability, result.label, segments, seconds)


def _classifier(version: ModelVersion) -> Classifier:
    """The version's network, kept beside the active model's.  Raises NotNow."""
    global _loaded
    if _loaded is None or _loaded[0] != version.id:
        _loaded = None  # first make room
        runtime.prepare()
        _loaded = (version.id, runtime.load_classifier(version, keep=False))
    return _loaded[1]
