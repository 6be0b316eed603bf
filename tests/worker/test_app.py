"""The Celery application and its settings."""

from __future__ import annotations

import subprocess
import sys

from django.conf import settings

from worker.app import app


def test_the_settings_are_the_measured_ones() -> None:
    conf = app.conf
    assert conf.task_acks_late
    assert not conf.task_reject_on_worker_lost  # true would redeliver a killer for ever
    assert conf.worker_prefetch_multiplier == 1
    assert conf.task_ignore_result
    assert conf.accept_content == ["json"]
    assert conf.task_soft_time_limit < conf.task_time_limit < conf.broker_transport_options["visibility_timeout"]
    assert conf.worker_proc_alive_timeout == 120
    assert conf.task_time_limit > settings.DFD_LEASE_S * 1.0


def test_every_published_task_exists_and_has_a_queue() -> None:
    app.loader.import_default_modules()
    published = {"extract_faces", "classify_video", "train_model", "send_webhooks", "sweep"}
    assert {f"worker.tasks.{name}" for name in published} <= set(app.tasks)
    queues = {route["queue"] for route in app.conf.task_routes.values()}
    assert queues == {"extract", "classify", "train", "maintenance", "webhooks"}


def test_the_parent_process_loads_no_torch() -> None:
    code = (
        "import sys; from worker.app import app; app.loader.import_default_modules();"
        "print([m for m in ('torch', 'cv2', 'av') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.strip() == "[]"
