"""A trainer that has lost its run changes nothing: no model becomes active, none is added, no report is left."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from detection.models import ModelVersion, Promotion, RunState, Snapshot, TrainingRun
from detection.services.jobs import training_runs
from detection.services.jobs.leases import LeaseLost
from detection.services.learning import snapshots
from detection.services.learning.gate_record import GateRecord
from ml.model.weights import read_info
from tests.weights import save_tiny
from worker.training import judging, snapshot_pack
from worker.training import run as runs

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_state", "silent_broker")]


@pytest.fixture
def champion() -> ModelVersion:
    return ModelVersion.objects.create(name="m", sha256="a" * 64, file="models/m", threshold=0.5, active=True)


@pytest.fixture
def row(champion: ModelVersion) -> TrainingRun:
    return training_runs.request_run(options={}, publish=False)


def give_up(row: TrainingRun) -> None:
    """What the sweeper does after the last attempt's lease has run out."""
    TrainingRun.objects.filter(pk=row.pk).update(
        state=RunState.FAILED, token=None, lease_until=None, finished_at=timezone.now(), message="Given up."
    )


def test_who_lost_the_run_while_judging_promotes_nothing_and_leaves_no_report(
    row: TrainingRun, champion: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps before are stubs; that the run is lost is what counts."""
    candidate = ModelVersion.objects.create(name="c", sha256="c" * 64, file="models/c", threshold=0.5)
    snapshot = Snapshot.objects.create(sha256="0" * 64, manifest="x")

    def judge(*_: Any, **__: Any) -> Any:
        give_up(row)
        return SimpleNamespace(gate=GateRecord(passed=True, sentence="Passed.", champion=str(champion.pk)))

    def report(folder: str, *_: Any) -> str:
        return default_storage.save(f"{folder}/report.html", ContentFile(b"html"))

    fitted = SimpleNamespace(info=SimpleNamespace(metrics={}))
    for owner, name, stub in (
        (snapshot_pack, "freeze", lambda **_: snapshot),
        (snapshot_pack, "pack_of", lambda *_, **__: None),
        (judging, "judge", judge),
        (snapshots, "read_snapshot", lambda **_: []),
        (runs, "describe", lambda *_: []),
        (runs, "check", lambda _: None),
        (runs, "_start", lambda *_: (None, "active", ())),
        (runs, "_fit_options", lambda *_: None),
        (runs, "fit", lambda *_, **__: fitted),
        (runs, "_register", lambda *_: candidate),
        (runs, "_report", report),
    ):
        monkeypatch.setattr(owner, name, stub)
    assert runs.run(str(row.pk))
    row.refresh_from_db()
    assert (row.state, row.message, row.candidate, row.report.name) == (RunState.FAILED, "Given up.", None, "")
    assert ModelVersion.objects.get(active=True) == champion
    assert not Promotion.objects.exists()
    assert default_storage.listdir(f"reports/{row.pk}") == ([], [])


def test_who_lost_the_run_while_hashing_pictures_freezes_no_snapshot(
    row: TrainingRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_hashes() -> list[Any]:
        give_up(row)
        return []

    monkeypatch.setattr(snapshots, "without_hashes", without_hashes)
    assert runs.run(str(row.pk))
    row.refresh_from_db()
    assert (row.state, row.message, row.snapshot) == (RunState.FAILED, "Given up.", None)
    assert not Snapshot.objects.exists()
    assert default_storage.listdir("snapshots") == ([], [])


def test_who_lost_the_run_while_training_adds_no_model(row: TrainingRun, tmp_path: Path) -> None:
    claim = training_runs.claim(run_id=row.pk, worker="slow")
    assert claim is not None
    path = tmp_path / "c.safetensors"
    sha256 = save_tiny(path, name="c", seed=1)
    info = read_info(path)
    fitted: Any = SimpleNamespace(info=info, path=path, sha256=sha256)
    give_up(row)
    with pytest.raises(LeaseLost):
        runs._register(fitted, None, claim)
    assert ModelVersion.objects.count() == 1
    assert not default_storage.exists("models") or default_storage.listdir("models") == ([], [])


def test_a_run_that_has_gone_past_its_time_is_told_of_its_own_limit(
    row: TrainingRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_long(*_: Any) -> None:
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(runs, "_train", too_long)
    assert runs.run(str(row.pk))
    row.refresh_from_db()
    assert row.last_error.splitlines()[0] == "It took longer than 7 days."
