"""The only publisher of Celery tasks: by name, with ids only.  The database holds the truth; a message is a doorbell.

A message that cannot be sent is no error: `published_at` stays empty and the sweeper publishes it later.  In a web
process (`publish_in_background`) a daemon thread publishes, so that no request waits for the broker.

A message carries the id of the request it comes from as a header, so that the log lines of both have it.
"""

from __future__ import annotations

import os
import queue
import threading
from contextvars import copy_context
from functools import cache, partial
from typing import Any
from uuid import UUID

import structlog
from celery import Celery
from django.db import connection
from django.utils import timezone

from detection.models import Analysis, EvidenceJob, EvidenceKind, ShadowTrial, Stage, State, TrainingRun, Webhook
from detection.models.leasing import LeasedJob

log = structlog.get_logger(__name__)

TASK_OF_STAGE = {Stage.EXTRACT: "worker.tasks.extract_faces", Stage.CLASSIFY: "worker.tasks.classify_video"}
SWEEP_TASK = "worker.tasks.sweep"
WEBHOOK_TASK = "worker.tasks.send_webhooks"
RETAIN_TASK = "worker.tasks.retain"
FINISH_TASK = "worker.tasks.finish_uploads"
TRAIN_TASK = "worker.tasks.train_model"
SHADOW_TASK = "worker.tasks.score_shadow"
MEASURE_TASK = "worker.tasks.measure_here"
EVIDENCE_TASKS = {
    EvidenceKind.HEATMAPS: "worker.tasks.make_heatmaps",
    EvidenceKind.PREVIEW: "worker.tasks.make_preview",
    EvidenceKind.REPORT: "worker.tasks.make_report",
}
EVIDENCE_OF_STAGE = {
    Stage.EXTRACT: (EvidenceKind.PREVIEW, EvidenceKind.REPORT),
    Stage.CLASSIFY: (EvidenceKind.HEATMAPS,),
}
"""What waits in the queue of a stage besides its analyses."""
BACKGROUND_QUEUE_SIZE = 1000
REQUEST_ID_HEADER = "dfd_request_id"


def wake(*, analysis_id: UUID, stage: str) -> bool:
    """Tell a worker that an analysis is ready for `stage`; stages without a task are ignored.

    Never raises; returns False when the message is known not to be sent.
    """
    task = TASK_OF_STAGE.get(Stage(stage))
    return task is None or _submit(partial(_publish_job, Analysis, analysis_id, task))


def wake_sweeper() -> bool:
    """Request a sweep now instead of at its next turn.  Never raises."""
    return _submit(partial(_publish, SWEEP_TASK, []))


def wake_retention() -> bool:
    """Request the next round of the retention policy now.  Never raises."""
    return _submit(partial(_publish, RETAIN_TASK, []))


def wake_finisher() -> bool:
    """Tell a worker that uploads in pieces wait for their last step.  Never raises; the sweeper repeats it."""
    return _submit(partial(_publish, FINISH_TASK, []))


def wake_trainer(*, run_id: UUID) -> bool:
    """Tell a worker of the queue `train` that a run waits.  Never raises; the sweeper repeats it."""
    return _submit(partial(_publish_job, TrainingRun, run_id, TRAIN_TASK))


def wake_shadow(*, trial_id: UUID) -> bool:
    """Tell a worker of the queue `train` that a version in shadow has something to score.  Never raises."""
    return _submit(partial(_publish_job, ShadowTrial, trial_id, SHADOW_TASK))


def wake_measuring(*, model_id: UUID) -> bool:
    """Tell a worker of the queue `train` to measure a model on the random audit.  Never raises."""
    return _submit(partial(_publish, MEASURE_TASK, [str(model_id)]))


def wake_evidence(*, job_id: UUID, kind: str) -> bool:
    """Tell a worker that heat maps, a preview or a report were requested.  Never raises; the sweeper repeats it."""
    return _submit(partial(_publish_job, EvidenceJob, job_id, EVIDENCE_TASKS[EvidenceKind(kind)]))


def wake_webhook(*, webhook_id: UUID, doorbell: UUID) -> bool:
    """Tell a worker that a delivery waits; `doorbell` is the webhook's.  Never raises; the sweeper repeats it."""
    return _submit(partial(_publish_webhook, webhook_id, doorbell))


def backlog(*, stage: str) -> int | None:
    """Return the number of messages waiting for `stage`, or None when the broker does not answer."""
    app = _app()
    name = app.conf.task_routes[TASK_OF_STAGE[Stage(stage)]]["queue"]
    try:
        with app.connection_for_write() as conn:
            conn.ensure_connection(max_retries=1, interval_start=0, timeout=2)
            channel: Any = conn.default_channel  # kombu's types lack what every channel has
            return int(channel.queue_declare(queue=name, durable=True, auto_delete=False).message_count)
    except Exception as error:
        log.warning("broker_unreachable", error=str(error))
        return None


def missing(*, stage: str) -> int:
    """Return how many messages the queue of `stage` lacks: of rows that a worker was told of; 0 without an answer.

    A long queue is no loss.  Who sent each of its rows again when it has waited for a while would make it longer and
    longer.
    """
    waiting = backlog(stage=stage)
    if waiting is None:
        return 0
    told = {"state": State.QUEUED, "published_at__isnull": False}
    evidence = EvidenceJob.objects.filter(kind__in=EVIDENCE_OF_STAGE[Stage(stage)], **told)
    return max(0, Analysis.objects.filter(stage=stage, **told).count() + evidence.count() - waiting)


def broker_answers() -> bool:
    """Return whether the broker accepts a connection within a few seconds.  Never raises."""
    try:
        with _app().connection_for_write() as conn:
            conn.ensure_connection(max_retries=1, interval_start=0, timeout=2)
    except Exception as error:
        log.warning("broker_unreachable", error=str(error))
        return False
    return True


def publish_in_background() -> None:
    """Publish from a thread of this process from now on; called when a web process starts."""
    global _background
    _background = True


# --- how -----------------------------------------------------------------------------------------------------------

_background = False
_lock = threading.Lock()
_waiting: queue.Queue[partial[bool]] = queue.Queue(maxsize=BACKGROUND_QUEUE_SIZE)
_thread_pid: int | None = None


@cache
def _app() -> Celery:
    """Return a Celery producer with the workers' settings, without their code."""
    app = Celery("dfd-dispatch", set_as_current=False)
    app.config_from_object("django.conf:settings", namespace="CELERY")
    return app


def _publish(task: str, args: list[str]) -> bool:
    """Send a message; return whether the broker took it."""
    try:
        queue_name = _app().conf.task_routes[task]["queue"]
        # One more try: the first may meet a connection that has died since it was last used.
        policy = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
        request_id = structlog.contextvars.get_contextvars().get("request_id")
        headers = {REQUEST_ID_HEADER: str(request_id)} if request_id else None
        _app().send_task(
            task, args=args, queue=queue_name, headers=headers, retry=True, retry_policy=policy, ignore_result=True
        )
    except Exception as error:
        log.warning("publish_failed", task=task, args=args, error=str(error))
        return False
    return True


def _publish_job(model: type[LeasedJob], job_id: UUID, task: str) -> bool:
    if not _publish(task, [str(job_id)]):
        return False
    try:
        model._default_manager.filter(pk=job_id).update(published_at=timezone.now())
    except Exception as error:  # a worker has been told; the sweeper telling it again does no harm
        log.warning("publish_not_recorded", task=task, job=str(job_id), error=str(error))
    return True


def _publish_webhook(webhook_id: UUID, doorbell: UUID) -> bool:
    if _publish(WEBHOOK_TASK, [str(webhook_id), str(doorbell)]):
        return True
    try:
        Webhook.objects.filter(pk=webhook_id, doorbell=doorbell).update(doorbell=None, told_at=None)
    except Exception as error:  # it then counts as told until DFD_REPUBLISH_S are over
        log.warning("publish_not_recorded", task=WEBHOOK_TASK, job=str(webhook_id), error=str(error))
    return False


def _submit(publish: partial[bool]) -> bool:
    if not _background:
        return publish()
    _ensure_thread()
    try:
        _waiting.put_nowait(partial(copy_context().run, publish))  # the thread has no context of the request
    except queue.Full:
        log.warning("publish_postponed", reason="too many wait for the broker; the sweeper will publish it")
        return False
    return True


def _ensure_thread() -> None:
    """Start the publishing thread of this process; a forked child needs its own."""
    global _thread_pid
    with _lock:
        if _thread_pid != os.getpid():
            _thread_pid = os.getpid()
            threading.Thread(target=_publish_for_ever, name="dispatch", daemon=True).start()


def _publish_for_ever() -> None:
    while True:
        publish = _waiting.get()
        try:
            publish()
        finally:
            _waiting.task_done()
            if _waiting.empty():
                connection.close()  # this thread's own; hold none while idle
