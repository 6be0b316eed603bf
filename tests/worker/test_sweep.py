"""The sweep as workers run it: every chore in it, each for itself, and no other queue's work in its way."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from detection.models import ChoreRun
from worker import tasks
from worker.management.commands import up


def test_deliveries_share_neither_a_queue_nor_a_worker_with_anything_else() -> None:
    routes = {task.rsplit(".", 1)[1]: route["queue"] for task, route in settings.CELERY_TASK_ROUTES.items()}
    others = {queue for task, queue in routes.items() if task != "send_webhooks"}
    assert routes["send_webhooks"] not in others
    for queues, _ in up.WORKERS.values():
        served = set(queues.split(","))
        assert routes["sweep"] not in served or served == {routes["sweep"]}
        assert routes["send_webhooks"] not in served or served == {routes["send_webhooks"]}
    assert {queue for queues, _ in up.WORKERS.values() for queue in queues.split(",")} == set(routes.values())


def test_a_sweep_ends_before_its_task_is_killed() -> None:
    assert sum(chore.budget_s for chore in tasks.CHORES) < settings.CELERY_TASK_SOFT_TIME_LIMIT
    assert len({chore.name for chore in tasks.CHORES}) == len(tasks.CHORES)


@pytest.mark.django_db
def test_a_folder_of_the_file_system_among_the_uploads_stops_no_chore(settings: Any, tmp_path: Any) -> None:
    settings.MEDIA_ROOT = str(tmp_path)
    default_storage.save("uploads/lost+found/x", ContentFile(b"x"))
    tasks.sweep()
    ran = ChoreRun.objects.exclude(name="sweep")
    assert {row.name for row in ran} == {chore.name for chore in tasks.CHORES}
    assert {row.name: row.last_error for row in ran if row.last_error} == {}
