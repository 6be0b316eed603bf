"""/healthz, /readyz and /metrics."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from detection import broker_health, dispatch
from detection.api.views import health
from detection.models import Analysis, ChoreRun, Stage, WorkerBeat
from detection.services.ops import chores
from tests.api.conftest import Caller, Factory
from tests.stack import wait_for

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[2]
Problem = Callable[..., dict[str, Any]]


def test_a_living_process_says_so_without_asking_the_database(nobody: Caller, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert nobody.get("/healthz").json() == {"status": "ok"}


def test_a_request_is_one_line_of_the_log(nobody: Caller, caplog: pytest.LogCaptureFixture) -> None:
    nobody.get("/healthz")
    events = [record.msg["event"] for record in caplog.records if isinstance(record.msg, dict)]
    assert events == ["request_finished"]
    assert caplog.records[-1].msg["request"] == "GET /healthz"  # type: ignore[index]  # structlog puts the event there


def test_the_log_has_the_address_that_is_believed(nobody: Caller, caplog: pytest.LogCaptureFixture) -> None:
    nobody.get("/healthz", headers={"X-Forwarded-For": "203.0.113.9"})
    assert caplog.records[-1].msg["ip"] == "127.0.0.1"  # type: ignore[index]


def test_a_process_that_can_take_uploads_is_ready(nobody: Caller, tmp_path: Path) -> None:
    assert nobody.get("/readyz").json()["status"] == "ready"
    assert list((tmp_path / "media").iterdir()) == []


def test_how_the_broker_stands_is_said_without_waiting_for_it(
    nobody: Caller, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, looked = threading.Event(), threading.Event()

    def slow() -> bool:
        looked.set()
        return answer.wait(600)

    wait_for(lambda: not broker_health._looking, "the end of what an earlier test had looked for")
    monkeypatch.setattr(broker_health, "_looked_at", -1000.0)
    monkeypatch.setattr(broker_health, "_found", broker_health.Broker.SILENT)
    monkeypatch.setattr(broker_health, "_looking", False)
    monkeypatch.setattr(dispatch, "broker_answers", slow)
    started = time.monotonic()
    body = nobody.get("/readyz").json()
    assert (body["status"], body["broker"]) == ("ready", "not known yet")
    assert nobody.get("/readyz").json()["broker"] == "not known yet"
    assert time.monotonic() - started < 60
    assert looked.wait(60)
    answer.set()
    wait_for(lambda: nobody.get("/readyz").json()["broker"] == "answers", "an answer of the broker")
    assert figures(admin)["dfd_broker_up",] == 1
    monkeypatch.setattr(broker_health, "_found", broker_health.Broker.SILENT)
    body = nobody.get("/readyz").json()
    assert (body["status"], body["broker"]) == ("ready", "does not answer")
    assert figures(admin)["dfd_broker_up",] == 0


def test_when_the_sweep_last_ran_is_said_and_which_chores_fail(
    nobody: Caller, admin: Caller, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError

    body = nobody.get("/readyz").json()
    assert (body["last_sweep_at"], body["sweep_is_late"]) == (None, True)
    assert figures(admin)["dfd_last_sweep_timestamp_seconds",] == 0
    assert figures(admin)["dfd_sweep_late",] == 1
    chores.run_all([chores.Chore("erasure", fail), chores.Chore("quotas", lambda: None)])
    body = nobody.get("/readyz").json()
    assert body["last_sweep_at"] is not None
    assert not body["sweep_is_late"]
    found = figures(admin)
    assert found["dfd_last_sweep_timestamp_seconds",] == pytest.approx(time.time(), abs=60)
    assert found["dfd_sweep_late",] == 0
    assert (found["dfd_chore_failures", "erasure"], found["dfd_chore_failures", "quotas"]) == (1, 0)
    assert found["dfd_chore_last_success_timestamp_seconds", "erasure"] == 0
    settings.DFD_SWEEP_S = 1
    ChoreRun.objects.update(ran_at=timezone.now() - timedelta(seconds=3))
    assert nobody.get("/readyz").json()["sweep_is_late"]


def test_without_its_database_it_is_not_ready(
    nobody: Caller, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> None:
        raise OperationalError("could not connect to 10.0.0.7")

    monkeypatch.setattr(connection, "cursor", gone)
    body = problem(nobody.get("/readyz"), 503, "not_ready")
    assert "10.0.0.7" not in str(body)


def test_with_migrations_to_apply_it_is_not_ready(
    nobody: Caller, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_migrated", False)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'detection'")
    assert "migrations" in problem(nobody.get("/readyz"), 503, "not_ready")["detail"]


def test_with_a_storage_that_cannot_be_written_it_is_not_ready(
    nobody: Caller, problem: Problem, settings: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    settings.MEDIA_ROOT = str(tmp_path / "file" / "media")
    assert "storage" in problem(nobody.get("/readyz"), 503, "not_ready")["detail"]


def figures(caller: Caller) -> dict[tuple[str, ...], float]:
    response = caller.get("/metrics")
    assert response["Content-Type"].startswith("text/plain")
    # By the name and the labels' values, in the order of the labels' names.
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.content.decode())
        for sample in family.samples
    }


def test_metrics_count_what_is_there(admin: Caller, owner: Caller, factory: Factory) -> None:
    model = factory.model(experimental=True)
    factory.judged(owner.user, score=0.9)
    factory.judged(owner.user, score=0.1, label="real")
    factory.failed(owner.user)
    waiting = factory.video(owner.user)
    Analysis.objects.filter(video=waiting).update(
        stage=Stage.AWAITING_MODEL, created_at=timezone.now() - timedelta(hours=1)
    )
    found = figures(admin)
    assert {key[1]: value for key, value in found.items() if key[0] == "dfd_videos"} == {
        "queued": 1, "running": 0, "succeeded": 2, "no_face": 0, "failed": 1, "dead": 0, "cancelled": 0,
    }  # fmt: skip
    assert found["dfd_open_analyses", "awaiting_model", "queued"] == 1
    assert (found["dfd_verdicts", "fake"], found["dfd_verdicts", "real"]) == (1, 1)
    assert found["dfd_videos_awaiting_review",] == 1
    assert found["dfd_oldest_queued_seconds",] == pytest.approx(3600, abs=60)
    assert found["dfd_active_model_info", "true", str(model.pk), model.name] == 1


def test_metrics_tell_queues_the_last_hour_workers_and_the_reviewers_backlog(
    admin: Caller, owner: Caller, factory: Factory, settings: Any
) -> None:
    settings.DFD_REVIEW_AUDIT_SHARE = 0.0
    now = timezone.now()
    for number in range(20):
        video = factory.judged(owner.user, margin=0.1)
        ended = now - timedelta(minutes=59 if number else 61)  # the first one is out of it
        Analysis.objects.filter(video=video).update(finished_at=ended, timings={"extract": number, "note": "x"})
    factory.failed(owner.user)
    due, later = factory.video(owner.user), factory.video(owner.user)
    Analysis.objects.filter(video=due).update(not_before=now - timedelta(minutes=5))
    Analysis.objects.filter(video=later).update(not_before=now + timedelta(minutes=5))
    WorkerBeat.objects.create(name="a", queues="extract,classify", processes=3)
    WorkerBeat.objects.create(name="b", queues="extract", processes=2, seen_at=now - timedelta(minutes=5))
    found = figures(admin)
    assert found["dfd_queue_length", "extract"] == 1
    assert found["dfd_queue_oldest_seconds", "extract"] == pytest.approx(300, abs=30)
    assert found["dfd_queue_length", "classify"] == found["dfd_queue_oldest_seconds", "classify"] == 0
    assert found["dfd_outcomes_last_hour", "succeeded"] == 19
    assert found["dfd_outcomes_last_hour", "failed"] == 1
    assert found["dfd_step_last_hour_count", "extract"] == 19
    assert found["dfd_step_last_hour_seconds_sum", "extract"] == sum(range(1, 20))
    assert found["dfd_step_last_hour_seconds_p95", "extract"] == 19
    assert ("dfd_step_last_hour_count", "note") not in found
    assert (found["dfd_workers", "extract"], found["dfd_worker_processes", "extract"]) == (1, 3)
    assert found["dfd_workers", "train"] == 0
    assert found["dfd_review_waiting", "uncertain"] == 20
    assert found["dfd_review_waiting", "failed"] == 1


def test_every_metric_of_the_dashboard_is_there(admin: Caller) -> None:
    dashboard = json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
        for name in re.findall(r"\bdfd_\w+", target["expr"])
    }
    text = admin.get("/metrics").content.decode()
    told = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    assert len(asked) > 12
    assert asked <= told


def test_metrics_of_an_empty_system_are_noughts(admin: Caller) -> None:
    found = figures(admin)
    assert found["dfd_videos", "queued"] == found["dfd_oldest_queued_seconds",] == found["dfd_verdicts", "fake"] == 0


@pytest.mark.parametrize("rows", [2, 20])
def test_metrics_cost_the_same_queries_however_much_there_is(
    admin: Caller, factory: Factory, rows: int, django_assert_num_queries: Any
) -> None:
    for _ in range(rows):
        factory.judged(admin.user)
        factory.video(admin.user)
    # the token, five counts, the sweep, queues, outcomes, steps, workers, seven of the reviewers' queues
    with django_assert_num_queries(18):
        figures(admin)
