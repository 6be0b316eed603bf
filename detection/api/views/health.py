"""Liveness, readiness and Prometheus metrics."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import structlog
from django.conf import settings
from django.core.files.storage import default_storage
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from detection import broker_health
from detection.errors import Refused
from detection.selectors import chores, dashboard, metrics, videos

log = structlog.get_logger(__name__)


class HealthView(APIView):
    """Answers while the process lives; touches nothing else."""

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(exclude=True)
    def get(self, request: Request) -> Response:
        return Response({"status": "ok"})


class ReadyView(APIView):
    """Whether uploads can be taken: database, migrations, storage.

    Broker and sweep are reported, too; uploads are taken without them, so neither makes this fail.
    """

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(exclude=True)
    def get(self, request: Request) -> Response:
        for name, check in (("database", _check_database), ("storage", _check_storage)):
            try:
                check()
            except Refused:
                raise
            except Exception as error:
                log.error("not_ready", check=name, error=str(error))
                raise Refused("not_ready", f"The {name} does not answer.", status=503) from error
        sweep = chores.sweep_health()
        facts = {"broker": broker_health.broker(), "last_sweep_at": sweep.last_at, "sweep_is_late": sweep.late}
        return Response({"status": "ready", **facts})


class MetricsView(APIView):
    """Prometheus text, for staff only: `authorization: {type: Token, credentials: ...}` in the scrape configuration."""

    permission_classes = (IsAdminUser,)

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_FromDatabase())
        return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


_migrated = False


def _check_database() -> None:
    global _migrated
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    if not _migrated:  # what has been applied stays applied while this process runs
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            raise Refused("not_ready", "The database's migrations have not been applied.", status=503)
        _migrated = True


def _check_storage() -> None:
    tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR).close()
    if hasattr(default_storage, "bucket"):
        default_storage.bucket.meta.client.head_bucket(Bucket=default_storage.bucket.name)  # `exists` takes 404 for no
    else:
        os.makedirs(default_storage.path(""), mode=0o700, exist_ok=True)
        tempfile.TemporaryFile(dir=default_storage.path("")).close()


class _FromDatabase(Collector):
    """Metrics read from the tables at each scrape, so that every web process reports the same."""

    def collect(self) -> Iterator[Metric]:
        facts = videos.operational_counts()
        yield _gauge("dfd_videos", "Videos by where they stand.", ("status",), facts.videos)
        yield _gauge("dfd_open_analyses", "Open analyses.", ("state", "stage"), facts.open_analyses)
        yield _gauge("dfd_verdicts", "Standing verdicts.", ("label",), facts.verdicts)
        yield GaugeMetricFamily(
            "dfd_videos_awaiting_review", "Verdicts that wait for a person.", value=facts.awaiting_review
        )
        yield GaugeMetricFamily(
            "dfd_oldest_queued_seconds", "How long the oldest queued analysis has waited.", value=facts.oldest_queued_s
        )
        model: dict[tuple[str, ...], int] = {facts.active_model: 1} if facts.active_model else {}
        yield _gauge("dfd_active_model_info", "The active model version.", ("id", "name", "experimental"), model)
        yield GaugeMetricFamily(
            "dfd_broker_up", "Whether the broker answered when it was last looked at.", value=float(_broker_is_up())
        )
        yield from _sweep()
        yield from _queues()
        yield from _last_hour()
        workers = dashboard.workers_alive()
        yield _gauge(
            "dfd_workers", "Workers that give signs of life.", ("queue",), {each.name: each.workers for each in workers}
        )
        yield _gauge("dfd_worker_processes", "Their processes.", ("queue",), {w.name: w.processes for w in workers})
        text = f"Videos that wait for reviewers, by queue of the workspace; at most {metrics.MOST_WAITING} each."
        yield _gauge("dfd_review_waiting", text, ("queue",), metrics.review_backlog())


def _broker_is_up() -> bool:
    return broker_health.broker() == broker_health.Broker.ANSWERS


def _sweep() -> Iterator[Metric]:
    sweep = chores.sweep_health()
    last = sweep.last_at.timestamp() if sweep.last_at else 0.0
    yield GaugeMetricFamily("dfd_last_sweep_timestamp_seconds", "When a sweep last ended; 0 is never.", value=last)
    yield GaugeMetricFamily("dfd_sweep_late", "Whether that is more than two periods ago.", value=float(sweep.late))
    each = {row.name: row for row in sweep.chores}
    good = {name: row.succeeded_at.timestamp() if row.succeeded_at else 0.0 for name, row in each.items()}
    yield _gauge("dfd_chore_last_success_timestamp_seconds", "When a chore last went well.", ("chore",), good)
    failures = {name: row.failures for name, row in each.items()}
    yield _gauge("dfd_chore_failures", "Runs of a chore that failed, since ever.", ("chore",), failures)
    yield _gauge(
        "dfd_chore_seconds", "How long a chore's last run took.", ("chore",), {n: r.seconds for n, r in each.items()}
    )


def _queues() -> Iterator[Metric]:
    queues = metrics.queues()
    lengths = {stage: waiting.length for stage, waiting in queues.items()}
    ages = {stage: waiting.oldest_s for stage, waiting in queues.items()}
    yield _gauge("dfd_queue_length", "Analyses that are due at a stage.", ("stage",), lengths)
    yield _gauge("dfd_queue_oldest_seconds", "How long the first of them has been due.", ("stage",), ages)


def _last_hour() -> Iterator[Metric]:
    """Yield gauges over a sliding hour; use them as they are, without rate()."""
    yield _gauge("dfd_outcomes_last_hour", "How the analyses of the last hour ended.", ("state",), metrics.outcomes())
    steps = metrics.steps()
    text = "Seconds that a step took in analyses of the last hour:"
    counts = {step: timed.count for step, timed in steps.items()}
    sums = {step: timed.total_s for step, timed in steps.items()}
    p95s = {step: timed.p95_s for step, timed in steps.items()}
    yield _gauge("dfd_step_last_hour_count", "Analyses of the last hour with a step.", ("step",), counts)
    yield _gauge("dfd_step_last_hour_seconds_sum", f"{text} their sum.", ("step",), sums)
    yield _gauge("dfd_step_last_hour_seconds_p95", f"{text} 95 % took at most this.", ("step",), p95s)


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key if isinstance(key, tuple) else (key,), value)
    return family
