"""Two transactions on Postgres, the second one begun where the first has stopped: `python -m tests.many.interleavings`.

With the product's settings, in a process of its own; prints what each case came to as JSON.  Nothing is timed: the
first stops at a named place, the second runs until it has ended or waits for a lock of the first (which Postgres
tells), then the first goes on.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from io import BytesIO
from typing import Any

import django

PATIENCE_S = 30.0
POLL_S = 0.02


class Interleaving:
    """`first` stops where it calls `pause`; then `second` runs as far as it can."""

    def __init__(self) -> None:
        self._first: threading.Thread | None = None
        self._paused, self._go_on = threading.Event(), threading.Event()
        self.second_waited = False

    def pause(self) -> None:
        """Called by patched code of the product; in the second thread, and from the second time on, it does nothing."""
        if threading.current_thread() is self._first and not self._paused.is_set():
            self._paused.set()
            assert self._go_on.wait(PATIENCE_S)

    def run(self, first: Callable[[], object], second: Callable[[], object]) -> dict[str, Any]:
        from django.db import connection

        outcomes: dict[str, str] = {}
        backends: dict[str, int] = {}

        def work(name: str, call: Callable[[], object]) -> None:
            try:
                connection.ensure_connection()
                backends[name] = connection.connection.info.backend_pid
                outcomes[name] = str(call())
            except Exception as error:
                outcomes[name] = getattr(error, "code", "") or f"{type(error).__name__}: {str(error).splitlines()[0]}"
            finally:
                connection.close()

        self._first = threading.Thread(target=work, args=("first", first))
        other = threading.Thread(target=work, args=("second", second))
        self._first.start()
        assert self._paused.wait(PATIENCE_S), outcomes
        other.start()
        while other.is_alive():
            self.second_waited = "second" in backends and _waits(backends["second"])
            if self.second_waited:
                break
            other.join(POLL_S)
        self._go_on.set()
        for thread in (self._first, other):
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), outcomes
        return {**outcomes, "second_waited": self.second_waited}


def _waits(backend: int) -> bool:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s", [backend])
        row = cursor.fetchone()
    return bool(row and row[0])


class Patched:
    """Replaces attributes, and puts them back."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> Patched:
        return self

    def set(self, owner: Any, name: str, value: Any) -> None:
        self._before.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    def around(
        self, owner: Any, name: str, *, before: Callable[[], object] = int, after: Callable[[], object] = int
    ) -> None:
        real = getattr(owner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            before()
            result = real(*arguments, **options)
            after()
            return result

        self.set(owner, name, call)

    def __exit__(self, *_: object) -> None:
        for owner, name, value in reversed(self._before):
            setattr(owner, name, value)


# --- the cases -------------------------------------------------------------------------------------------------------


def analyze_and_delete(given: Any) -> dict[str, Any]:
    """Somebody asks for a new analysis of a failed video while its owner deletes it."""
    from django.db.models import QuerySet

    from detection.models import Analysis, Video
    from detection.services.uploads import uploads

    video, race = given.factory.failed(given.owner), Interleaving()
    real = QuerySet.update

    def update(rows: Any, **changes: Any) -> int:
        if rows.model is Analysis and changes.get("replaced"):
            race.pause()
        return real(rows, **changes)

    with Patched() as patched:
        patched.set(QuerySet, "update", update)
        outcome = race.run(
            lambda: uploads.analyze_again(video=Video.objects.get(pk=video.pk)).state,
            lambda: uploads.delete_video(video=Video.objects.get(pk=video.pk)),
        )
    return {**outcome, "there": Video.objects.filter(pk=video.pk).exists()}


def delete_and_analyze(given: Any) -> dict[str, Any]:
    """The other way round: who asks comes second, and finds nothing."""
    from detection.models import Analysis, Video
    from detection.services.ops import pending_deletions
    from detection.services.uploads import uploads

    video, race = given.factory.failed(given.owner), Interleaving()
    second = Video.objects.get(pk=video.pk)
    with Patched() as patched:
        patched.around(pending_deletions, "schedule", before=race.pause)
        outcome = race.run(lambda: uploads.delete_video(video=video), lambda: uploads.analyze_again(video=second))
    return {**outcome, "left": Analysis.objects.filter(video_id=video.pk).count()}


def retention_and_analyze(given: Any) -> dict[str, Any]:
    from datetime import timedelta

    from django.conf import settings
    from django.utils import timezone

    from detection.models import Video
    from detection.services.jobs import analyses
    from detection.services.ops import retention

    video, race = given.factory.judged(given.owner), Interleaving()
    Video.objects.filter(pk=video.pk).update(created_at=timezone.now() - timedelta(days=3))
    with Patched() as patched:
        patched.set(settings, "DFD_KEEP_VIDEOS_DAYS", 1)
        patched.around(retention, "delete_video", before=race.pause)
        outcome = race.run(lambda: retention.apply().videos, lambda: analyses.queue_analysis(video=video))
    return {**outcome, "there": Video.objects.filter(pk=video.pk).exists()}


def preview_and_delete(given: Any) -> dict[str, Any]:
    """A worker stores a preview while the video is deleted: job and video are locked in one order."""
    from pathlib import Path

    from django.core.files.storage import default_storage

    from detection.models import EvidenceJob, Video
    from detection.services.jobs import evidence
    from detection.services.uploads import uploads

    video, race = given.factory.judged(given.owner), Interleaving()
    job = EvidenceJob.objects.create(video=video, kind="preview", requested_by=given.owner)
    claim = evidence.claim(job_id=job.pk)
    assert claim is not None
    path = Path(default_storage.path("p.mp4"))
    path.write_bytes(b"preview")
    with Patched() as patched:
        patched.around(evidence, "_settle", after=race.pause)
        outcome = race.run(
            lambda: evidence.finish_preview(claim=claim, path=path), lambda: uploads.delete_video(video=video)
        )
    return {**outcome, "there": Video.objects.filter(pk=video.pk).exists()}


def rescore_and_analyze(given: Any) -> dict[str, Any]:
    """A stored rescore must not hide that somebody has just asked for a new analysis."""
    from detection.models import Video
    from detection.services.jobs import analyses
    from detection.services.learning import rescoring

    (video, model, results), race = given.rescored(), Interleaving()
    real = rescoring.outdated

    class Looked:
        """What was free at that moment, and a pause."""

        def __init__(self, **options: Any) -> None:
            self.rows = real(**options)

        def filter(self, **conditions: Any) -> Looked:
            self.rows = self.rows.filter(**conditions)
            return self

        def values_list(self, *names: str, **options: Any) -> list[Any]:
            found = list(self.rows.values_list(*names, **options))
            race.pause()
            return found

    with Patched() as patched:
        patched.set(rescoring, "outdated", Looked)
        outcome = race.run(
            lambda: rescoring.store_verdicts(model=model, results=results),
            lambda: analyses.queue_analysis(video=Video.objects.get(pk=video.pk)).state,
        )
    video.refresh_from_db()
    return {**outcome, "status": video.status, "newest": video.current_analysis.state}


def rescore_and_finish(given: Any) -> dict[str, Any]:
    """A batch of rescores and a worker's verdict need the same model and the same video: one order of locks."""
    from django.db.models import QuerySet

    from detection.models import Analysis, Stage, State, Video
    from detection.services.jobs import analyses
    from detection.services.learning import rescoring
    from tests.detection.conftest import verdict

    (video, model, results), race = given.rescored(), Interleaving()
    analysis = Analysis.objects.create(video=video, stage=Stage.CLASSIFY)
    Video.objects.filter(pk=video.pk).update(current_analysis=analysis, status=State.QUEUED)
    claim = analyses.claim(analysis_id=analysis.pk, stage=Stage.CLASSIFY, worker="w")
    assert claim is not None
    real = QuerySet.select_for_update

    def select_for_update(rows: Any, *arguments: Any, **options: Any) -> Any:
        if rows.model is Video:
            race.pause()
        return real(rows, *arguments, **options)

    with Patched() as patched:
        patched.set(QuerySet, "select_for_update", select_for_update)
        outcome = race.run(
            lambda: rescoring.store_verdicts(model=model, results=results),
            lambda: analyses.finish_classification(claim=claim, result=verdict(model)),
        )
    video.refresh_from_db()
    return {**outcome, "status": video.status}


def two_runs(given: Any) -> dict[str, Any]:
    """Two training runs asked for at once, where there is neither a model nor a run to lock."""
    from detection.models import ModelVersion, TrainingRun
    from detection.services.jobs import training_runs

    assert not ModelVersion.objects.exists()
    race = Interleaving()
    with Patched() as patched:
        patched.around(TrainingRun.objects, "create", before=race.pause)
        outcome = race.run(
            lambda: training_runs.request_run(options={}).state, lambda: training_runs.request_run(options={}).state
        )
    found = TrainingRun.objects.filter(state="queued").count()
    TrainingRun.objects.all().delete()
    return {**outcome, "open": found}


def rollback_and_promotion(given: Any) -> dict[str, Any]:
    """After both, the next rollback leads to another model than the active one."""
    from detection.models import ModelVersion
    from detection.selectors import videos
    from detection.services.learning import registry

    models = [given.factory.model(active=False) for _ in range(4)]
    for model in models[:3]:
        registry.activate_model(model=model)
    race = Interleaving()
    with Patched() as patched:
        patched.around(registry, "model_before", after=race.pause)
        outcome = race.run(
            lambda: registry.rollback().name == models[1].name,
            lambda: registry.activate_model(model=models[3]).name == models[3].name,
        )
    before, active = videos.model_before(), ModelVersion.objects.get(active=True)
    return {**outcome, "active_is_the_promoted": active == models[3], "way_back": before not in (None, active)}


def quota_of_analyses(given: Any) -> dict[str, Any]:
    """Two videos analysed again at once, with one allowed."""
    from django.conf import settings

    from detection.models import Analysis
    from detection.services.uploads import uploads

    one, two = given.factory.judged(given.owner), given.factory.judged(given.owner)
    race = Interleaving()
    with Patched() as patched:
        patched.set(settings, "DFD_MAX_VIDEOS_IN_FLIGHT", 1)
        patched.around(uploads, "queue_analysis", before=race.pause)
        outcome = race.run(
            lambda: uploads.analyze_again(video=one).state, lambda: uploads.analyze_again(video=two).state
        )
    return {**outcome, "open": Analysis.objects.filter(video__owner=given.owner, state="queued").count()}


def sweep_and_upload(given: Any) -> dict[str, Any]:
    """The sweep takes the folder of an upload for abandoned while that comes to its end: one of the two gives way."""
    from datetime import timedelta

    from django.core.files.base import File
    from django.core.files.storage import default_storage
    from django.utils import timezone

    from detection.models import FolderCheck, Video
    from detection.services.jobs import orphan_files
    from detection.services.uploads import uploads
    from tests.api.conftest import mp4

    race = Interleaving()

    def upload() -> str:
        uploads.submit_video(owner=given.owner, upload=File(BytesIO(mp4()), name="clip.mp4"))
        return "accepted"

    def sweep_a_day_later() -> int:
        FolderCheck.objects.update(created_at=timezone.now() - timedelta(days=2))
        return orphan_files.sweep()

    with Patched() as patched:
        patched.around(uploads, "queue_analysis", before=race.pause)  # the file is stored, the rows are being made
        outcome = race.run(upload, sweep_a_day_later)
    rows = Video.objects.filter(owner=given.owner)
    return {**outcome, "rows_without_a_file": sum(not default_storage.exists(str(row.file.name)) for row in rows)}


CASES = (
    two_runs,
    analyze_and_delete,
    delete_and_analyze,
    retention_and_analyze,
    preview_and_delete,
    rescore_and_analyze,
    rescore_and_finish,
    rollback_and_promotion,
    quota_of_analyses,
    sweep_and_upload,
)


class Given:
    """Rows for a case, of an owner of its own."""

    def __init__(self, name: str) -> None:
        from django.contrib.auth.models import User

        from tests.api.conftest import Factory

        self.factory, self.owner = Factory(), User.objects.create_user(name)

    def rescored(self) -> tuple[Any, Any, list[Any]]:
        """A video judged by an older model, the active one, and what that says of it."""
        from detection.models import ModelVersion
        from detection.services.learning import registry, rescoring
        from tests.detection.conftest import verdict

        older = ModelVersion.objects.filter(active=True).first() or self.factory.model()
        video = self.factory.judged(self.owner, model=older)
        model = self.factory.model(active=False)
        registry.activate_model(model=model)
        (stored,) = [each for each in rescoring.next_batch(model=model, size=100) if each.video_id == video.pk]
        return video, model, [(stored, verdict(model))]


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dfdsite.settings")
    django.setup()
    from detection import dispatch

    dispatch._publish = lambda task, args: True
    print(json.dumps({case.__name__: case(Given(case.__name__)) for case in CASES}))


if __name__ == "__main__":
    main()
