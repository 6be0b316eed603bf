"""The Celery application, for `celery -A worker.app worker -Q extract,classify,maintenance,webhooks` and `... beat`.

Everything it is told is in Django's settings (CELERY_*).  The parent process loads neither torch nor a model: a CUDA
context does not survive a fork, so each child makes its own, at its first task.

Start workers with REMAP_SIGTERM=SIGQUIT in the environment, as `manage.py up` and the images do (Celery reads it before
it reads this file).  SIGTERM, as process managers send it, is then a soft shutdown: the tasks at work have
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT seconds, then their children are told to end and give the work back.  Without it a
worker that is stopped waits for its tasks, however long they take.
"""

from __future__ import annotations

import atexit
import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dfdsite.settings")
# Django's checks are of URLs, templates and pages, which Celery would import for them at each start.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

import structlog
from celery import Celery
from celery.signals import (
    beat_init,
    celeryd_after_setup,
    heartbeat_sent,
    setup_logging,
    task_prerun,
    worker_init,
    worker_process_init,
    worker_shutdown,
)

from worker.process import embedded_broker, host

app = Celery("worker", task_cls="worker.process.messages:Job")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["worker"])


@setup_logging.connect
def _keep_the_logging_of_the_settings(**_: Any) -> None:
    """A receiver is what tells Celery to leave logging alone: Django has set it up."""


@worker_init.connect
@beat_init.connect
def _have_a_broker(**_: Any) -> None:
    if embedded_broker.is_embedded():
        embedded_broker.ensure()


@celeryd_after_setup.connect
def _share_the_cores(instance: Any, **_: Any) -> None:
    """Before the fork: what each child may use."""
    from worker.process import heartbeat, runtime, work_files

    runtime.share_cores(processes=int(instance.concurrency or 1))
    work_files.remove_leftovers()
    heartbeat.register(instance)
    atexit.register(heartbeat.deregister)  # Celery sends no signal when tasks are cut short; a child ends without this


@worker_process_init.connect
def _one_of_many(**_: Any) -> None:
    from worker.stages import watchdog

    host.lower_priority()
    watchdog.process_may_be_killed()


@task_prerun.connect
def _know_the_request(task: Any, **_: Any) -> None:
    """The task's log lines have the id of the request that it comes from."""
    from detection import dispatch

    structlog.contextvars.clear_contextvars()
    request_id = getattr(task.request, dispatch.REQUEST_ID_HEADER, None)
    if request_id:
        structlog.contextvars.bind_contextvars(request_id=str(request_id)[:64])


@heartbeat_sent.connect
def _sign_of_life(**_: Any) -> None:
    from worker.process import heartbeat

    heartbeat.send()


@worker_shutdown.connect
def _gone(**_: Any) -> None:
    from worker.process import heartbeat

    heartbeat.deregister()
