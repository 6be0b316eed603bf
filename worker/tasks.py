"""The tasks.  Each carries an id; what is to be done is in the database, and how is in `attempt` and `runtime`."""

from __future__ import annotations

from celery import shared_task

from detection import dispatch
from detection.models import Stage
from detection.selectors.chores import sweep_health
from detection.services.jobs import evidence as evidence_jobs
from detection.services.jobs import orphan_files, sweeper, training_runs
from detection.services.jobs import webhook_deliveries as webhook_rows
from detection.services.learning import local_figures
from detection.services.learning import shadow as shadow_trials
from detection.services.ops import audit_archive, chores, expired_rows, hourly_stats, retention, worker_registry
from detection.services.ops.chores import Chore
from detection.services.reviews import workspace
from detection.services.uploads import quotas, resumable, uploads
from worker.process import runtime
from worker.stages import attempt, erasure, evidence, perceptual_hashes, report, shadow, webhook_delivery
from worker.stages.watchdog import TRAIN_LIMIT_S


@shared_task(name="worker.tasks.extract_faces")
def extract_faces(analysis_id: str) -> None:
    """Find the faces of a video: the stage `extract` of an analysis."""
    attempt.run(analysis_id, Stage.EXTRACT, runtime.extract)


@shared_task(name="worker.tasks.classify_video")
def classify_video(analysis_id: str) -> None:
    """Judge the stored faces: the stage `classify` of an analysis."""
    attempt.run(analysis_id, Stage.CLASSIFY, runtime.classify)


@shared_task(name="worker.tasks.make_heatmaps")
def make_heatmaps(job_id: str) -> None:
    """Make the heat maps that somebody asked for."""
    evidence.run(job_id, evidence.make_heatmaps)


@shared_task(name="worker.tasks.make_preview")
def make_preview(job_id: str) -> None:
    """Make the preview that somebody asked for."""
    evidence.run(job_id, evidence.make_preview)


@shared_task(name="worker.tasks.make_report")
def make_report(job_id: str) -> None:
    """Make the evidence report that somebody asked for."""
    evidence.run(job_id, report.make_report)


def _recover_analyses() -> None:
    if sweeper.sweep().more:
        dispatch.wake_sweeper()


# What recovers comes first, what waits for storage last.
CHORES = (
    Chore("analyses", _recover_analyses),
    Chore("training_runs", training_runs.sweep),
    Chore("evidence", evidence_jobs.sweep),
    Chore("webhooks", webhook_rows.sweep),
    Chore("review_claims", workspace.delete_expired_claims),
    Chore("workers", worker_registry.delete_gone),
    Chore("quotas", quotas.delete_old_days),
    Chore("expired_rows", expired_rows.delete_expired),
    Chore("abandoned_uploads", uploads.remove_abandoned_uploads),
    Chore("hourly_stats", hourly_stats.count_hours),
    Chore("resumable_uploads", resumable.sweep),
    Chore("perceptual_hashes", perceptual_hashes.sweep),
    Chore("erasure", erasure.sweep, budget_s=20.0),
    Chore("old_reports", evidence_jobs.delete_old_reports),
    Chore("orphan_files", orphan_files.sweep),
    Chore("audit_archive", audit_archive.sweep),
    Chore("local_figures", local_figures.sweep),
    Chore("shadow", shadow_trials.sweep),
)


@shared_task(name="worker.tasks.sweep")
def sweep(*, if_due: bool = False) -> None:
    """Do every chore; at beat's turns, three in each period, only if that is due.

    So a turn that is lost with a beat, a broker, a database or a worker costs a third of a period, whichever it was.
    """
    if not if_due or sweep_health().due:
        chores.run_all(CHORES)


@shared_task(name="worker.tasks.retain")
def retain() -> None:
    """Apply a round of the retention policy."""
    if retention.apply().more:
        dispatch.wake_retention()


@shared_task(name="worker.tasks.finish_uploads")
def finish_uploads() -> None:
    """Do the last step of uploads in pieces whose client has left them whole."""
    resumable.finish()


@shared_task(name="worker.tasks.score_shadow")
def score_shadow(trial_id: str) -> None:
    """Take a turn at a trial: score what was analysed with the version in shadow."""
    shadow.run(trial_id)


@shared_task(name="worker.tasks.measure_here")
def measure_here(model_id: str) -> None:
    """Measure a model on the random audit."""
    runtime.measure(model_id)


@shared_task(name="worker.tasks.send_webhooks")
def send_webhooks(webhook_id: str, doorbell: str | None = None) -> None:
    """Send what waits for a webhook; messages of earlier releases have no `doorbell`."""
    webhook_delivery.send(webhook_id, doorbell)


# Acknowledged at once: the row, its lease and the sweeper bring a lost run back, and the broker would deliver a message
# a second time while a training that takes hours is still at it.
@shared_task(
    name="worker.tasks.train_model", acks_late=False, soft_time_limit=TRAIN_LIMIT_S, time_limit=TRAIN_LIMIT_S + 60
)
def train_model(run_id: str) -> None:
    """Work on a training run."""
    runtime.train(run_id)
