"""What `doctor` looks at.  Each check answers in sentences, and says what to do next."""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any

import redis
from celery.exceptions import OperationalError as BrokerSilent
from django.conf import settings
from django.core.files.storage import default_storage
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count, Min
from django.utils import timezone

from detection.errors import Refused
from detection.evidence_report import signing
from detection.models import OPEN_STATES, Analysis, ModelVersion, Stage, State
from detection.services.learning import registry
from detection.services.stored_files import is_away
from dfdsite import brokers, environment

CODECS = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg2video", "mjpeg")
LITTLE_DISK_BYTES = 2 * 1024**3
LONG_WAIT = timedelta(minutes=10)
BROKEN = (redis.RedisError, BrokerSilent, OSError)


class Level(Enum):
    """How bad a finding is; only a PROBLEM must be fixed before the program can do its work."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One sentence about one thing, and the next step where there is one."""

    level: Level
    sentence: str
    next_step: str = ""


def examine() -> Iterator[Finding]:
    """All findings, in the order in which problems are best fixed.  A check that fails is itself a finding."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _versions, _settings, _database, _disk, _codecs, _model, _device, _signing_key, _broker, _workers, _queue,
    ]  # fmt: skip
    for check in checks:
        try:
            yield from check()
        except DatabaseError as error:
            yield Finding(Level.PROBLEM, f"The database cannot be read: {error}.", "Run `make setup`.")
        except Exception as error:
            yield _broken(error)


def _broken(error: Exception) -> Finding:
    if is_away(error):
        return Finding(
            Level.PROBLEM,
            f"Storage does not answer: {error}",
            "Start it or mount it, or correct DFD_S3_BUCKET, DFD_S3_ENDPOINT or the credentials.",
        )
    return Finding(
        Level.PROBLEM,
        f"A check failed: {type(error).__name__}: {error}",
        "Put right what it names; if it names nothing, this is a fault of the program.",
    )


def _versions() -> Iterator[Finding]:
    import torch
    import torchvision

    yield Finding(
        Level.OK,
        f"Python {platform.python_version()}, torch {torch.__version__}, torchvision {torchvision.__version__}.",
    )


def _settings() -> Iterator[Finding]:
    for name, meant in environment.misspelt():
        yield Finding(Level.NOTE, f"{name} is set, but is no setting.", f"Write {meant}, if that is what was meant.")


def _database() -> Iterator[Finding]:
    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if pending:
        yield Finding(
            Level.PROBLEM, f"The database ({connection.vendor}) lacks {len(pending)} migrations.", "Run `make setup`."
        )
    else:
        yield Finding(Level.OK, f"The database ({connection.vendor}) is up to date.")


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(settings.VAR_DIR).free
    sentence = f"{free / 1024**3:.1f} GiB are free at {settings.VAR_DIR}."
    if free < LITTLE_DISK_BYTES:
        yield Finding(Level.PROBLEM, sentence, "Make room, or move the state elsewhere with DFD_VAR.")
    else:
        yield Finding(Level.OK, sentence)


def _signing_key() -> Iterator[Finding]:
    path = settings.VAR_DIR / signing.FILE_NAME
    if not settings.DFD_SIGNING_KEY and not path.exists():
        yield Finding(Level.OK, "The key that signs evidence reports is made at the first one.")
        return
    try:
        fingerprint = signing.current_key().fingerprint
    except (OSError, ValueError) as error:
        yield Finding(
            Level.PROBLEM,
            f"The key that signs evidence reports cannot be read from {path}: {error}.",
            "Bring it back from a backup, or set DFD_SIGNING_KEY.",
        )
        return
    sentence = f"Evidence reports are signed with the key {fingerprint[:16]}…"
    if settings.S3_BUCKET and not settings.DFD_SIGNING_KEY:
        yield Finding(Level.NOTE, f"{sentence}, which is this machine's alone.", "Set DFD_SIGNING_KEY on all machines.")
    else:
        yield Finding(Level.OK, f"{sentence}.")


def _codecs() -> Iterator[Finding]:
    import av

    versions = ", ".join(
        f"{name} {'.'.join(map(str, version))}"
        for name, version in sorted(av.library_versions.items())
        if name in ("libavcodec", "libavformat")
    )
    missing = [name for name in CODECS if not _can_decode(name)]
    if missing:
        yield Finding(
            Level.PROBLEM,
            f"PyAV {av.__version__} ({versions}) cannot decode {', '.join(missing)}.",
            "Install PyAV from its wheel (`pip install --force-reinstall av`), which brings FFmpeg along.",
        )
    else:
        yield Finding(Level.OK, f"PyAV {av.__version__} ({versions}) decodes {', '.join(CODECS)}.")


def _can_decode(name: str) -> bool:
    import av

    try:
        av.CodecContext.create(name, "r")
    except (ValueError, av.error.FFmpegError):
        return False
    return True


def _model() -> Iterator[Finding]:
    model = ModelVersion.objects.filter(active=True).first()
    if model is None:
        count = ModelVersion.objects.count()
        step = "`manage.py promote MODEL`" if count else "`manage.py register_model --activate`"
        yield Finding(Level.PROBLEM, f"No model is active ({count} registered): tasks wait for one.", f"Run {step}.")
        return
    try:
        registry.local_weights(model=model)
    except (OSError, Refused) as error:
        if is_away(error):
            raise
        yield Finding(
            Level.PROBLEM,
            f"The weights of the active model {model} cannot be had: {error}",
            "Register the file again: `manage.py register_model PATH --activate`.",
        )
        return
    yield Finding(Level.OK, f"The active model is {model}; its file has the registered sha256.")
    if model.experimental:
        yield Finding(
            Level.NOTE,
            "The active model is experimental: every verdict it gives needs a review.",
            "Train a better one when there is more data, and promote it.",
        )


def _device() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        yield Finding(
            Level.OK, f"The GPU {torch.cuda.get_device_name(0)} can be used (DFD_DEVICE={settings.DFD_DEVICE})."
        )
    elif settings.DFD_DEVICE.startswith("cuda"):
        yield Finding(
            Level.PROBLEM,
            f"DFD_DEVICE is {settings.DFD_DEVICE}, but torch finds no GPU.",
            "Set DFD_DEVICE=auto, or install the driver and a CUDA build of torch.",
        )
    else:
        yield Finding(Level.NOTE, "There is no GPU; classification runs on the CPU, in well under a second a video.")


def _broker() -> Iterator[Finding]:
    where = "the embedded broker" if not _broker_url() else "DFD_BROKER_URL" if settings.DFD_BROKER_URL else "REDIS_URL"
    try:
        yield Finding(Level.OK, f"The broker ({where}, {_greeting()}) answers.")
    except BROKEN as error:
        if _broker_url():
            yield Finding(Level.PROBLEM, f"The broker at {where} does not answer: {error}", "Start it.")
        else:
            yield Finding(Level.NOTE, "The embedded broker is not running.", "`manage.py up` starts it.")


def _broker_url() -> str:
    """Empty for the embedded one."""
    return str(settings.DFD_BROKER_URL or settings.REDIS_URL)


def _greeting() -> str:
    """What the broker says that it is.  Raises one of `BROKEN`."""
    if brokers.is_amqp(_broker_url()):
        from worker.app import app

        with app.connection_for_read() as rabbit:
            rabbit.ensure_connection(max_retries=1, interval_start=0, timeout=3)
            facts: Any = rabbit.connection.server_properties
            return f"{facts.get('product', 'AMQP')} {facts.get('version', '?')}"
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    patience: dict[str, Any] = {"socket_timeout": 3, "socket_connect_timeout": 3, "retry": Retry(NoBackoff(), 0)}
    if _broker_url():
        client = redis.Redis.from_url(_broker_url(), **patience)
    else:
        client = redis.Redis(unix_socket_path=str(settings.EMBEDDED_BROKER_SOCKET), **patience)
    client.ping()
    return f"Redis protocol {client.info('server').get('redis_version', '?')}"


def _workers() -> Iterator[Finding]:
    from worker.app import app

    try:
        _greeting()
        answers = app.control.inspect(timeout=2).active_queues() or {}
    except BROKEN:
        answers = {}
    served = {queue["name"] for queues in answers.values() for queue in queues}
    missing = [name for name in ("extract", "classify", "maintenance", "webhooks") if name not in served]
    if not answers:
        yield Finding(
            Level.NOTE,
            "No worker answers.",
            "Start everything with `manage.py up`, or a worker with celery -A worker.app.",
        )
    elif missing:
        yield Finding(
            Level.PROBLEM,
            f"{len(answers)} workers answer, but none serves {', '.join(missing)}.",
            f"Start a worker with -Q {','.join(missing)}.",
        )
    else:
        yield Finding(Level.OK, f"{len(answers)} workers answer and serve {', '.join(sorted(served))}.")


def _queue() -> Iterator[Finding]:
    now = timezone.now()
    by_stage = (
        Analysis.objects.filter(state__in=OPEN_STATES)
        .values("state", "stage")
        .annotate(count=Count("id"), oldest=Min("created_at"))
        .order_by("state", "stage")
    )
    late = False
    for row in by_stage:
        age = now - row["oldest"]
        late |= age > LONG_WAIT and row["stage"] != Stage.AWAITING_MODEL
        yield Finding(
            Level.NOTE,
            f"{row['count']} tasks are {State(row['state']).label.lower()} ({Stage(row['stage']).label.lower()}),"
            f" the oldest for {_minutes(age)}.",
        )
    if late:
        yield Finding(Level.NOTE, "Some tasks have waited long.", "Start workers, or more of them.")
    dead = Analysis.objects.filter(state=State.DEAD, finished_at__gt=now - timedelta(days=7)).count()
    if dead:
        yield Finding(Level.NOTE, f"{dead} tasks were given up in the last 7 days.", "Look at them in the admin.")
    if not by_stage and not dead:
        yield Finding(Level.OK, "No task waits.")
    started = time.perf_counter()
    default_storage.exists("videos")
    yield Finding(Level.OK, f"Storage answers in {time.perf_counter() - started:.3f} s.")


def _minutes(age: timedelta) -> str:
    minutes = age.total_seconds() / 60
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.0f} hours"
