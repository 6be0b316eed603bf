"""Every change of an Analysis but `cancellation`, by the protocol of `leases`: the database owns the truth."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce, Greatest
from django.utils import timezone

from detection import dispatch
from detection.errors import Refused
from detection.models import (
    OPEN_STATES,
    TERMINAL_STATES,
    Analysis,
    DatasetVideo,
    ModelKind,
    ModelVersion,
    Stage,
    State,
    Verdict,
    Video,
)
from detection.selectors import videos
from detection.services.jobs import attempt_files, orphan_files, webhook_deliveries
from detection.services.jobs.extractions import store_extraction
from detection.services.jobs.leases import LONGEST_ERROR, SKEW, JobClaim, JobLeases, LeaseLost, lock_video, on_commit
from detection.services.jobs.results import ClassificationResult, ExtractionResult
from detection.services.jobs.verdicts import NO_VERDICT, mirrored, take_off_outdated, verdict_fields, without_no_persons

log = structlog.get_logger(__name__)

EXTRACTED_PERCENT = 80
GAVE_UP = "gave_up"
DIED_SILENTLY = "Each time the process that analysed this file ended without a word."
EXPIRED_AT_ONCE = 500
LONGEST_BACKOFF_S, STORAGE_WAIT_S = 3600.0, 60.0


@dataclass(frozen=True)
class AnalysisClaim(JobClaim):
    """The right to one attempt at one stage of an analysis."""

    video_id: UUID
    stage: str
    sensitive: bool = False
    """Whether faces are to be looked for with lower thresholds."""
    progress: int = 0
    """How far an attempt before this one came."""


_leases = JobLeases(Analysis)


# --- in ------------------------------------------------------------------------------------------------------------


def queue_analysis(*, video: Video, reuse_faces: bool = True, sensitive: bool = False, wake: bool = True) -> Analysis:
    """Queue a new analysis of the video, or return the open one.  With `wake` false the caller does the work.

    With `reuse_faces`, a video whose faces are stored goes straight to classification.  Otherwise faces are extracted
    (with
    lowered thresholds if `sensitive`) and replace the stored ones when that has succeeded.  Raises Refused
    `original_expired` if there is nothing to extract from any more, `not_found` if the video was deleted meanwhile.
    """
    with transaction.atomic():
        locked = Video.objects.select_for_update(no_key=True).filter(id=video.id).only("original_removed_at").first()
        if locked is None:
            raise Refused("not_found", "There is no such video any more.", status=404)
        analysis = video.analyses.filter(state__in=OPEN_STATES).first()
        if analysis is not None:
            return analysis
        stage = Stage.EXTRACT
        if reuse_faces and video.faces.exists():
            stage = _stage_after_extraction()
        else:
            videos.check_original(locked, then="Delete the video and upload the file again.", status=409)
        analysis = Analysis.objects.create(
            video=video,
            stage=stage,
            sensitive=sensitive,
            progress=0 if stage == Stage.EXTRACT else EXTRACTED_PERCENT,
        )
        now = timezone.now()
        Video.objects.filter(id=video.id).update(current_analysis=analysis, status=State.QUEUED, updated_at=now)
        Analysis.objects.filter(video=video, state__in=(State.FAILED, State.DEAD)).update(replaced=True)
        if wake:
            on_commit(partial(dispatch.wake, analysis_id=analysis.id, stage=stage))
    video.current_analysis, video.status, video.updated_at = analysis, State.QUEUED, now
    log.info("analysis_queued", analysis=str(analysis.id), video=str(video.id), stage=str(stage))
    return analysis


def requeue(*, video: Video) -> Analysis:
    """Queue a new analysis in place of the video's newest.  Raises Refused `still_open`, and as `queue_analysis`."""
    last = video.current_analysis
    if last is not None and last.state in OPEN_STATES:
        raise Refused("still_open", "This task has not ended yet.", status=409)
    # What was asked for has not been done yet.
    sensitive = last is not None and last.sensitive and last.state == State.DEAD
    return queue_analysis(video=video, sensitive=sensitive)


# --- a worker's side -----------------------------------------------------------------------------------------------


def claim(*, analysis_id: UUID, stage: str, worker: str) -> AnalysisClaim | None:
    """Claim the stage, or return None: claimed, not due, at another stage, ended or deleted (a duplicate message)."""
    now = timezone.now()
    with transaction.atomic():
        # See `lock_video`; the analysis says which.
        if (
            not Video.objects.select_for_update(no_key=True, of=("self",))
            .filter(analyses=analysis_id)
            .values_list("pk")
        ):
            return None
        taken = _leases.claim(
            analysis_id,
            Analysis.objects.filter(stage=stage),
            due=Q(not_before__lte=now + SKEW),
            worker=worker[:120],
            started_at=Coalesce(F("started_at"), now),
        )
        if taken is None:
            return None
        claim = _claim_of(*taken)
        _mirror(claim, status=State.RUNNING)
    return claim


def heartbeat(*, claim: AnalysisClaim, progress: int) -> None:
    """Extend the lease and raise the progress (0 to 100).  Raises LeaseLost."""
    _leases.extend(claim, progress=Greatest(F("progress"), progress))


def finish_extraction(*, claim: AnalysisClaim, result: ExtractionResult) -> None:
    """Store the faces in place of older ones and continue with classification.  Raises LeaseLost.

    A data set's video ends here: its label is known, and models are evaluated on whole sets at a time.
    """
    if not result.faces:
        raise ValueError("no faces: this is finish_no_face's")
    of_dataset = _is_of_dataset(claim.video_id)

    def end(now: datetime) -> None:
        _settle(
            claim,
            state=State.SUCCEEDED,
            stage=Stage.DONE,
            progress=100,
            finished_at=now,
            last_error="",
            timings=result.timings,
        )
        # A verdict of before was on other faces.
        _mirror(claim, status=State.SUCCEEDED, needs_review=False, **NO_VERDICT)

    store_extraction(
        video_id=claim.video_id,
        token=claim.token,
        result=result,
        settle=end if of_dataset else partial(_go_on, claim, result),
    )


def finish_no_face(*, claim: AnalysisClaim, result: ExtractionResult) -> None:
    """Store the sampled frames and end without a verdict.  Raises LeaseLost.

    Where the active model looks at whole frames, continue with classification: a data set's videos, too, as nothing
    else of them is shown.
    """
    if result.faces:
        raise ValueError("there are faces: this is finish_extraction's")
    of_dataset = _is_of_dataset(claim.video_id)
    judged = ModelVersion.objects.filter(active=True, kind=ModelKind.ONNX_FRAMES).exists()

    def end(now: datetime) -> None:
        _settle(claim, state=State.NO_FACE, stage=Stage.DONE, progress=100, finished_at=now, timings=result.timings)
        _mirror(claim, status=State.NO_FACE, needs_review=not of_dataset, **NO_VERDICT)

    store_extraction(
        video_id=claim.video_id,
        token=claim.token,
        result=result,
        settle=partial(_go_on, claim, result) if judged else end,
    )


def finish_unjudged(*, claim: AnalysisClaim) -> None:
    """End without a verdict: there is no face, and the model that is active by now needs one.  Raises LeaseLost."""
    with transaction.atomic():
        _settle(claim, state=State.NO_FACE, stage=Stage.DONE, progress=100, finished_at=timezone.now(), last_error="")
        of_dataset = _is_of_dataset(claim.video_id)
        _mirror(claim, status=State.NO_FACE, needs_review=not of_dataset, **NO_VERDICT)


def finish_classification(*, claim: AnalysisClaim, result: ClassificationResult) -> None:
    """Store the verdict, in place of an older one of the same model version.  Raises LeaseLost."""
    now = timezone.now()
    with transaction.atomic():
        # Locked as by `lock_video`: who is no person must not change until the verdict is stored.
        rows = Video.objects.select_for_update(no_key=True, of=("self",)).filter(id=claim.video_id, analyses=claim.id)
        known = rows.values_list("person_labels", "analyses__timings", "extracted_at").first()
        labels, timings, extracted_at = known or (None, {}, None)
        _settle(
            claim,
            state=State.SUCCEEDED,
            stage=Stage.DONE,
            progress=100,
            finished_at=now,
            last_error="",
            timings=timings | result.timings,
        )
        verdict, _ = Verdict.objects.update_or_create(
            video_id=claim.video_id,
            model_version_id=result.model_version_id,
            defaults=verdict_fields(result, now=now, extracted_at=extracted_at),
        )
        if without_no_persons(verdict, labels):
            verdict.save()
        Analysis.objects.filter(id=claim.id).update(verdict=verdict)
        _mirror(claim, **mirrored(verdict))


def finish_failed(*, claim: AnalysisClaim, code: str, detail: str) -> None:
    """End as failed: the file is at fault, which no retry changes.  Raises LeaseLost."""
    with transaction.atomic():
        _settle(
            claim,
            state=State.FAILED,
            error_code=code[:40],
            error_detail=detail[:500],
            finished_at=timezone.now(),
        )
        _mirror(claim, status=State.FAILED)
        on_commit(partial(attempt_files.prune, claim.video_id))


def await_model(*, claim: AnalysisClaim) -> None:
    """Wait until a model is active; this attempt does not count.  Raises LeaseLost."""
    with transaction.atomic():
        _settle(claim, state=State.QUEUED, stage=Stage.AWAITING_MODEL, attempts=0, published_at=None)
        _mirror(claim, status=State.QUEUED)


def release(*, claim: AnalysisClaim, error: str, detail: str = "", counts: bool = True, wait_s: float = 0) -> None:
    """Requeue after a backoff, or end as dead when the attempts are used up.  Raises LeaseLost.

    `error` is for the operator, `detail` a sentence for the client if this was the last attempt.  With `counts` false
    (the
    worker is stopping, storage is away) the attempt does not count and the work is due in `wait_s`.
    """
    with transaction.atomic():
        if counts:
            give_back(_leases.held(claim), claim=claim, error=error, detail=detail)
            return
        lock_video(claim.video_id)
        due = timezone.now() + timedelta(seconds=wait_s)
        _leases.give_back_unused(claim, not_before=due, last_error=error[-LONGEST_ERROR:])
        _mirror(claim, status=_status_while_queued(claim.stage))
        imported = claim.stage == Stage.EXTRACT and _is_of_dataset(claim.video_id)  # an import looks after its own
        if not wait_s and not imported:
            on_commit(partial(dispatch.wake, analysis_id=claim.id, stage=claim.stage))


def release_of_dead(*, analysis_id: UUID, worker: str, error: str) -> None:
    """Requeue what a process that has ended still holds; with an `error` the attempt counts.

    Call it only after the process has ended: before that it may be about to finish.
    """
    row = Analysis.objects.filter(id=analysis_id, state=State.RUNNING, worker=worker).first()
    if row is None or row.token is None:
        return
    with contextlib.suppress(LeaseLost), transaction.atomic():
        release(claim=_claim_of(row, row.token), error=error, detail=DIED_SILENTLY, counts=bool(error))
        if row.stage == Stage.EXTRACT:
            orphan_files.watch(video_id=row.video_id)


def give_back(job: QuerySet[Analysis], *, claim: AnalysisClaim, error: str, detail: str) -> State:
    """Queue again after a backoff with jitter, or end as dead; in a transaction.  For `release` and the sweeper.

    `job` is the row of the claim, with the conditions under which it may be taken.  Raises LeaseLost when they fail by
    now.
    """
    lock_video(claim.video_id)
    seconds = backoff_s(claim.attempt) * random.uniform(0.5, 1.5)  # nosec B311 # jitter
    sentence = f"Given up after {claim.attempt} attempts. {detail or 'The analysis stopped without an answer.'}"
    again = _leases.give_back(
        job,
        attempt=claim.attempt,
        error=error,
        queued={"not_before": timezone.now() + timedelta(seconds=seconds)},
        ended={"state": State.DEAD, "error_code": GAVE_UP, "error_detail": sentence[:500]},
    )
    state = State.QUEUED if again else State.DEAD
    if not again:
        on_commit(partial(attempt_files.prune, claim.video_id))
    _mirror(claim, status=_status_while_queued(claim.stage) if again else State.DEAD)
    log.warning(
        "analysis_given_back", analysis=str(claim.id), stage=claim.stage, attempt=claim.attempt, state=str(state)
    )
    return state


def give_back_expired(*, limit: int = EXPIRED_AT_ONCE) -> Counter[State]:
    """Requeue, or end, analyses whose lease expired; return how many of each."""
    counts: Counter[State] = Counter()

    def expired(row: Analysis, token: UUID, same: QuerySet[Analysis]) -> None:
        error = (
            f"Attempt {row.attempts} ({row.stage}): the lease of worker {row.worker or '?'} ran out at"
            f" {row.lease_until}. It was killed, lost its database, or hung."
        )
        state = give_back(same, claim=_claim_of(row, token), error=error, detail=DIED_SILENTLY)
        if row.stage == Stage.EXTRACT:
            orphan_files.watch(video_id=row.video_id)
        counts[state] += 1

    _leases.sweep(expired, Analysis.objects.order_by("not_before"), limit=limit)
    return counts


# --- inside --------------------------------------------------------------------------------------------------------


def backoff_s(attempt: int) -> float:
    """Return the mean backoff after this attempt in seconds: doubled each time, at most an hour."""
    return min(float(settings.DFD_BACKOFF_S * 2.0 ** min(attempt - 1, 32)), LONGEST_BACKOFF_S)


def _stage_after_extraction() -> Stage:
    return Stage.CLASSIFY if ModelVersion.objects.filter(active=True).exists() else Stage.AWAITING_MODEL


def _go_on(claim: AnalysisClaim, result: ExtractionResult, now: datetime) -> None:
    """Continue with classification; in a transaction."""
    stage = _stage_after_extraction()
    _settle(
        claim,
        state=State.QUEUED,
        stage=stage,
        attempts=0,
        progress=EXTRACTED_PERCENT,
        not_before=now,
        published_at=None,
        last_error="",
        timings=result.timings,
    )
    _mirror(claim, status=_status_while_queued(stage))
    on_commit(partial(dispatch.wake, analysis_id=claim.id, stage=stage))


def _claim_of(row: Analysis, token: UUID) -> AnalysisClaim:
    return AnalysisClaim(row.id, token, row.attempts, row.video_id, row.stage, row.sensitive, row.progress)


def _is_of_dataset(video_id: UUID) -> bool:
    return DatasetVideo.objects.filter(video_id=video_id).exists()


def _status_while_queued(stage: str) -> State:
    """As Analysis.public_state: a task between its two stages still runs."""
    return State.RUNNING if stage == Stage.CLASSIFY else State.QUEUED


def _settle(claim: AnalysisClaim, **changes: Any) -> None:
    """Leave `running`, if the claim still holds; to be called first in a transaction."""
    lock_video(claim.video_id)
    _leases.settle(claim, **changes)


def _mirror(claim: AnalysisClaim, **changes: Any) -> None:
    """Write into the video what its lists show of the analysis."""
    video = Video.objects.filter(id=claim.video_id, current_analysis_id=claim.id)
    if changes.get("status") in (State.FAILED, State.DEAD):
        take_off_outdated(video)
    video.update(updated_at=timezone.now(), **changes)
    if changes.get("status") in TERMINAL_STATES:  # every end comes by here, within its transaction
        webhook_deliveries.announce(analysis_id=claim.id)
