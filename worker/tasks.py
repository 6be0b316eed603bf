"""The tasks.  Each carries an id; what is to be done is in the database, and how is in `attempt` and `runtime`."""

from __future__ import annotations

from celery import shared_task

from detection import dispatch
from detection.models import Stage
from detection.services import sweeper
from worker import attempt, runtime


@shared_task(name="worker.tasks.extract_faces")
def extract_faces(analysis_id: str) -> None:
    attempt.run(analysis_id, Stage.EXTRACT, runtime.extract)


@shared_task(name="worker.tasks.classify_video")
def classify_video(analysis_id: str) -> None:
    attempt.run(analysis_id, Stage.CLASSIFY, runtime.classify)


@shared_task(name="worker.tasks.sweep")
def sweep() -> None:
    if sweeper.sweep().more:
        dispatch.wake_sweeper()
