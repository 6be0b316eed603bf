"""Heat maps, previews and reports on demand: asked for, claimed, finished.  The database owns the truth.

    queued ──claim──> running ──> succeeded (files stored)
      ^                 │  └────> failed    (a sentence: the file is at fault, or the attempts are used up)
      └─ lease expired ─┘

Heat maps hold as long as the model that they are of is the one of the video's verdict and the faces are there; a
preview holds until the clip is made anew.  A report is its requester's alone, as people may know different things, and
holds until something that it tells has changed; files of reports go after `REPORTS_KEPT`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from django.contrib.auth.models import User
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from detection import dispatch
from detection.errors import Refused
from detection.models import (
    OPEN_STATES,
    AuditAction,
    EvidenceJob,
    EvidenceKind,
    FaceFrame,
    State,
    Video,
)
from detection.selectors import blindness, report, videos
from detection.selectors.permissions import User as AnyUser
from detection.services.jobs import attempt_files
from detection.services.jobs.leases import JobClaim, JobLeases, lock_video, on_commit
from detection.services.ops import audit, pending_deletions
from detection.services.stored_files import StoredFiles
from detection.wording import LOOKS_AT, NO_HEATMAPS

log = structlog.get_logger(__name__)

MAX_OPEN = 50
"""Jobs of one user that may wait at once."""
BATCH = 200
NOT_YET = "not_yet"
REPORTS_KEPT = timedelta(days=7)
REPORT_RETRIED_AFTER = timedelta(minutes=1)
"""A report that could not be made is made anew when it is asked for later than this."""


@dataclass(frozen=True)
class EvidenceClaim(JobClaim):
    """The right to one attempt at heat maps, a preview or a report."""

    video_id: UUID
    kind: str


_leases = JobLeases(EvidenceJob)


# --- in ------------------------------------------------------------------------------------------------------------


def request(*, video: Video, kind: str, by: User, again: bool = False) -> EvidenceJob:
    """Return the job that makes or has made the evidence, a new one if none holds.

    A failed job is retried on request (`again`) or when its inputs have changed.  Raises Refused `not_yet` (heat maps
    or a report before one's own answer, a report before the analysis), `nothing_to_show`, `no_heatmaps` (the model's
    kind has none), `too_many_requests`, `not_found` (the video was deleted meanwhile).
    """
    jobs = video.evidence_jobs.filter(kind=kind)
    if kind == EvidenceKind.REPORT:
        check_may_have_report(video=video, user=by)
        jobs = jobs.filter(requested_by=by)
    elif kind == EvidenceKind.HEATMAPS:
        check_may_know(video_id=video.pk, user=by)
        _check_has_something_to_show(video)
    else:
        videos.check_original(video, status=409)
    while True:
        job = jobs.order_by("-created_at", "-id").first()
        if job is not None:
            if job.state in OPEN_STATES or (job.state == State.SUCCEEDED and holds(job, video)):
                return job
            if job.state == State.FAILED and not again and not _is_worth_another_try(job, video):
                return job
        try:
            with transaction.atomic():
                _check_limit(by)
                job = EvidenceJob.objects.create(video=video, kind=kind, requested_by=by)
                on_commit(partial(dispatch.wake_evidence, job_id=job.id, kind=kind))
                if kind == EvidenceKind.REPORT:
                    audit.record(AuditAction.REPORT_REQUESTED, subject=f"video:{video.pk}", by=by)
        except IntegrityError:  # another request was first: its job is the open one, or it has ended already
            if not Video.objects.filter(id=video.pk).exists():
                raise Refused("not_found", "There is no such video any more.", status=404) from None
            continue
        return job


def check_may_know(*, video_id: UUID, user: AnyUser) -> None:
    """Raise Refused `not_yet` for a reviewer who must still answer: heat maps reveal the model's verdict."""
    if blindness.is_withheld(user, video_id):
        raise Refused(NOT_YET, "Heat maps tell what the model thinks: they are shown after your answer.", status=409)


def check_may_have_report(*, video: Video, user: AnyUser) -> None:
    """Raise Refused `not_yet` for a reviewer who must still answer, and before the video was analysed."""
    if blindness.is_withheld(user, video.pk):
        raise Refused(
            NOT_YET, "The report tells what the model and others say: it is yours after your answer.", status=409
        )
    if video.status not in report.REPORTABLE and video.current_verdict_id is None:
        raise Refused(NOT_YET, "There is a report once the video has been analysed.", status=409)


def holds(job: EvidenceJob, video: Video) -> bool:
    """Return whether a succeeded job's evidence is still of the video's present faces, model and clip."""
    if job.kind == EvidenceKind.REPORT:
        return job.requested_by is not None and job.result.get("basis") == report_basis(video, job.requested_by)
    if job.kind == EvidenceKind.PREVIEW:
        return bool(video.preview)
    verdict = video.current_verdict
    return verdict is not None and job.result.get("model") == verdict.model_version.sha256 and _has_its_faces(job)


def heatmap_names(video: Video) -> dict[str, str]:
    """Map each face's id to the name of its valid heat map in storage."""
    job = _newest_heatmaps(video.pk)
    return dict(job.result["faces"]) if job is not None and holds(job, video) else {}


def report_basis(video: Video, user: User) -> str:
    """Return a digest of what a report for this user would tell now."""
    heatmaps = _newest_heatmaps(video.pk)
    made = str(heatmaps.token) if heatmaps is not None and holds(heatmaps, video) else ""
    return report.basis(video=video, user=user, heatmaps=made)


# --- a worker's side -----------------------------------------------------------------------------------------------


def claim(*, job_id: UUID) -> EvidenceClaim | None:
    """Claim the job, or return None: ended, claimed or deleted (a duplicate message)."""
    taken = _leases.claim(job_id, EvidenceJob.objects.all())
    return _claim_of(*taken) if taken else None


def heartbeat(*, claim: EvidenceClaim, progress: int = 0) -> None:
    """Extend the lease; progress is not recorded.  Raises LeaseLost."""
    _leases.extend(claim)


def finish_heatmaps(*, claim: EvidenceClaim, model_sha256: str, jpegs: Mapping[UUID, bytes]) -> None:
    """Store a JPEG per face id.  Raises LeaseLost, and then leaves no file."""
    folder = f"{attempt_files.heatmap_folder(claim.video_id)}/{claim.token.hex}"
    with StoredFiles(lambda: attempt_files.remove_tree(folder)) as files:
        names = {
            str(face): default_storage.save(f"{folder}/{face}.jpg", ContentFile(jpeg)) for face, jpeg in jpegs.items()
        }
        with files.transaction():
            lock_video(claim.video_id)
            _settle(claim, State.SUCCEEDED, result={"model": model_sha256, "faces": names}, last_error="")
            _prune_on_commit(claim.video_id)


def finish_preview(*, claim: EvidenceClaim, path: Path) -> None:
    """Store the local file as the video's preview.  Raises LeaseLost, and then leaves no file."""
    name = f"{attempt_files.preview_folder(claim.video_id)}/{claim.token.hex}{path.suffix}"
    with StoredFiles(lambda: default_storage.delete(name)) as files:
        with path.open("rb") as handle:
            stored = default_storage.save(name, File(handle))
        with files.transaction():
            lock_video(claim.video_id)
            _settle(claim, State.SUCCEEDED, last_error="")
            Video.objects.filter(id=claim.video_id).update(preview=stored)
            _prune_on_commit(claim.video_id)


def finish_report(*, claim: EvidenceClaim, basis: str, bundle: bytes, pdf: bytes) -> None:
    """Store a report in place of its requester's earlier one.  Raises LeaseLost, and then leaves no file."""
    folder = f"{attempt_files.report_folder(claim.video_id)}/{claim.token.hex}"
    with StoredFiles(lambda: attempt_files.remove_tree(folder)) as files:
        names = {
            "bundle": default_storage.save(f"{folder}/report.zip", ContentFile(bundle)),
            "pdf": default_storage.save(f"{folder}/report.pdf", ContentFile(pdf)),
        }
        with files.transaction():
            lock_video(claim.video_id)
            _settle(claim, State.SUCCEEDED, result={"basis": basis} | names, last_error="")
            job = EvidenceJob.objects.get(pk=claim.id)
            EvidenceJob.objects.filter(
                video=job.video_id,
                kind=EvidenceKind.REPORT,
                requested_by=job.requested_by,
                created_at__lt=job.created_at,
            ).exclude(state__in=OPEN_STATES).delete()
            _prune_on_commit(claim.video_id)


def finish_failed(*, claim: EvidenceClaim, code: str, detail: str) -> None:
    """End as failed: the file is at fault, which no retry changes.  Raises LeaseLost."""
    with transaction.atomic():
        _settle(claim, State.FAILED, error_detail=detail[:500], last_error=code)
        _prune_on_commit(claim.video_id)


def release(*, claim: EvidenceClaim, error: str, detail: str = "", counts: bool = True, wait_s: float = 0) -> None:
    """Requeue for the sweeper's next round, or end as failed when the attempts are used up.  Raises LeaseLost.

    `error` is for the operator, `detail` a sentence for the user.  With `counts` false (the worker is stopping) the
    attempt
    does not count and the work is due at once, or with `wait_s` when the sweeper finds it stale.
    """
    with transaction.atomic():
        if counts:
            _give_back(_leases.held(claim), claim, error=error, detail=detail)
            return
        _leases.give_back_unused(claim, published_at=timezone.now() if wait_s else None)
        if not wait_s:
            on_commit(partial(dispatch.wake_evidence, job_id=claim.id, kind=claim.kind))


# --- the sweeper ---------------------------------------------------------------------------------------------------


def sweep() -> int:
    """Requeue or end jobs whose lease expired, and republish queued ones; return how many."""

    def expired(row: EvidenceJob, token: UUID, same: QuerySet[EvidenceJob]) -> None:
        error = f"Attempt {row.attempts}: the lease ran out at {row.lease_until}. Its worker was killed, or hung."
        detail = "Each time the process that worked on it ended without a word."
        _give_back(same, _claim_of(row, token), error=error, detail=detail)

    moved = _leases.sweep(expired, EvidenceJob.objects.all(), limit=BATCH)
    unheard = _leases.unheard()
    untold = unheard.filter(published_at=None).values_list("id", "kind")[:BATCH]
    for job_id, kind in [*untold, *_lost(unheard.exclude(published_at=None))]:
        if not dispatch.wake_evidence(job_id=job_id, kind=kind):
            break  # the broker is away; the next sweep tries again
        moved += 1
    return moved


def delete_old_reports() -> int:
    """Delete reports made longer than `REPORTS_KEPT` ago, and those of users who are gone; return how many."""
    due = EvidenceJob.objects.filter(kind=EvidenceKind.REPORT).exclude(state__in=OPEN_STATES)
    old = due.filter(created_at__lt=timezone.now() - REPORTS_KEPT).order_by("created_at")
    count = 0
    for job in old[:BATCH]:
        with transaction.atomic():
            if EvidenceJob.objects.filter(pk=job.pk).exclude(state__in=OPEN_STATES).delete()[0]:
                pending_deletions.schedule(video_id=job.video_id, paths=report_files([job]), packs=False)
                count += 1
    return count


def report_files(jobs: Iterable[EvidenceJob]) -> list[str]:
    """Return the folders in storage of these reports."""
    return [f"{attempt_files.report_folder(job.video_id)}/{job.token.hex}" for job in jobs if job.token is not None]


# --- inside --------------------------------------------------------------------------------------------------------


def _lost(stale: QuerySet[EvidenceJob]) -> list[tuple[UUID, str]]:
    """Return (id, kind) of as many stale jobs as messages are missing."""
    found: list[tuple[UUID, str]] = []
    for stage, kinds in dispatch.EVIDENCE_OF_STAGE.items():
        jobs = list(stale.filter(kind__in=kinds).values_list("id", "kind")[:BATCH])
        if jobs:
            found += jobs[: dispatch.missing(stage=stage)]
    return found


def _check_has_something_to_show(video: Video) -> None:
    kind = video.current_verdict.model_version.kind if video.current_verdict else ""
    if kind in NO_HEATMAPS:
        raise Refused("no_heatmaps", f"{LOOKS_AT[kind]} {NO_HEATMAPS[kind]}", status=409)
    if video.current_verdict_id is None or not video.faces.exists():
        raise Refused(
            "nothing_to_show", "No model has judged faces of this video, so there is no heat map.", status=409
        )


def _check_limit(by: User) -> None:
    """Raise Refused when the user has too many open jobs; in the transaction that adds one, under the user's lock."""
    list(User.objects.select_for_update(no_key=True).filter(pk=by.pk).values_list("pk"))
    if EvidenceJob.objects.filter(requested_by=by, state__in=OPEN_STATES).count() >= MAX_OPEN:
        raise Refused(
            "too_many_requests",
            f"{MAX_OPEN} of your requests for evidence are waiting already; try again in a moment.",
            status=429,
            headers={"Retry-After": "5"},
        )


def _is_worth_another_try(job: EvidenceJob, video: Video) -> bool:
    if job.kind == EvidenceKind.REPORT:
        return job.finished_at is not None and job.finished_at < timezone.now() - REPORT_RETRIED_AFTER
    verdict = video.current_verdict
    return job.kind == EvidenceKind.HEATMAPS and verdict is not None and job.created_at < verdict.created_at


def _newest_heatmaps(video_id: UUID) -> EvidenceJob | None:
    rows = EvidenceJob.objects.filter(video_id=video_id, kind=EvidenceKind.HEATMAPS, state=State.SUCCEEDED)
    return rows.order_by("-created_at", "-id").first()


def _has_its_faces(job: EvidenceJob) -> bool:
    faces = FaceFrame.objects.filter(video_id=job.video_id).values_list("id", flat=True)
    return {str(face) for face in faces} == set(job.result.get("faces", ()))


def _claim_of(row: EvidenceJob, token: UUID) -> EvidenceClaim:
    return EvidenceClaim(row.id, token, row.attempts, row.video_id, row.kind)


def _give_back(job: QuerySet[EvidenceJob], claim: EvidenceClaim, *, error: str, detail: str) -> None:
    """Queue again, or end as failed; in a transaction.  `job` is the one row, if it may still be taken."""
    sentence = f"Given up after {claim.attempt} attempts. {detail or 'It stopped without an answer.'}"
    ended = {"state": State.FAILED, "error_detail": sentence[:500]}
    again = _leases.give_back(job, attempt=claim.attempt, error=error, queued={}, ended=ended)
    _prune_on_commit(claim.video_id)
    log.warning("evidence_given_back", video=str(claim.video_id), attempt=claim.attempt, again=again)


def _prune_on_commit(video_id: UUID) -> None:
    on_commit(partial(attempt_files.prune_evidence, video_id))


def _settle(claim: EvidenceClaim, state: State, **changes: Any) -> None:
    """Leave `running`, if the claim still holds; first in a transaction.  The token stays: it names files."""
    _leases.settle(claim, state=state, token=claim.token, finished_at=timezone.now(), **changes)
