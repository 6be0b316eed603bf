"""Model versions: registered once, one active, found by what a person types."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone

from detection.errors import Refused
from detection.models import AppendOnlyError, ModelVersion, Promotion, Stage, TrainingRun, Video
from detection.services.jobs import analyses
from detection.services.learning import registry
from detection.services.learning.gate_record import GateRecord
from tests.detection.conftest import Doorbell, claimed, extraction

pytestmark = pytest.mark.django_db


def register(path: Path, content: bytes = b"weights", *, name: str = "first", activate: bool = False) -> ModelVersion:
    path.write_bytes(content)
    return registry.register_model(
        file=path,
        name=name,
        sha256=hashlib.sha256(content).hexdigest(),
        config={"arch": "x"},
        metrics={"auc": 0.8},
        threshold=0.4,
        temperature=1.5,
        experimental=True,
        training_data_sha256="",
        activate=activate,
    )


def test_the_same_file_is_registered_once(tmp_path: Path) -> None:
    first = register(tmp_path / "a")
    assert register(tmp_path / "b", name="other name") == first
    assert first.file.read() == b"weights"
    assert not first.active


def test_a_file_that_is_not_what_was_said_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"something else")
    with pytest.raises(Refused) as refused:
        registry.register_model(
            file=path, name="x", sha256="0" * 64, config={}, metrics={}, threshold=0.5, temperature=1.0,
            experimental=True, training_data_sha256="", activate=False,
        )  # fmt: skip
    assert refused.value.code == "hash_mismatch"
    assert not ModelVersion.objects.exists()


@pytest.mark.parametrize(
    ("threshold", "temperature", "code"),
    [
        (2.0, 1.0, "invalid_threshold"),
        (0.0, 1.0, "invalid_threshold"),
        (float("nan"), 1.0, "invalid_threshold"),
        (0.5, 0.0, "invalid_temperature"),
        (0.5, -2.0, "invalid_temperature"),
        (0.5, float("nan"), "invalid_temperature"),
        (0.5, float("inf"), "invalid_temperature"),
    ],
)
def test_a_threshold_or_temperature_without_meaning_is_refused(
    tmp_path: Path, threshold: float, temperature: float, code: str
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"weights")
    with pytest.raises(Refused) as refused:
        registry.register_model(
            file=path, name="x", sha256=hashlib.sha256(b"weights").hexdigest(), config={}, metrics={},
            threshold=threshold, temperature=temperature, experimental=True, training_data_sha256="", activate=False,
        )  # fmt: skip
    assert refused.value.code == code
    assert not ModelVersion.objects.exists()


def test_activating_one_model_retires_the_other(tmp_path: Path) -> None:
    first = register(tmp_path / "a", activate=True)
    second = register(tmp_path / "b", b"better", name="second", activate=True)
    first.refresh_from_db()
    assert (first.active, second.active) == (False, True)
    assert second.promoted_at is not None
    registry.activate_model(model=first)  # back again
    assert ModelVersion.objects.get(active=True) == first


WON = GateRecord(passed=True, sentence="Better.")


def test_only_a_winner_is_promoted_and_force_needs_a_reason(tmp_path: Path) -> None:
    first = register(tmp_path / "a", activate=True)
    second = register(tmp_path / "b", b"other", name="second")
    lost = GateRecord(passed=False, sentence="Refused: AUC 0.50 against 0.70.", champion=str(first.id))
    for gate, force, code in (
        (lost, False, "gate_refused"),
        (None, False, "gate_refused"),
        (lost, True, "reason_missing"),
    ):
        with pytest.raises(Refused) as refused:
            registry.promote(model=second, gate=gate, force=force, reason=" ")
        assert refused.value.code == code
    assert ModelVersion.objects.get(active=True) == first
    with pytest.raises(Refused) as refused:  # it was compared with another model than the one that is active by now
        registry.promote(model=second, gate=WON)
    assert refused.value.code == "stale_gate"
    assert registry.promote(model=second, gate=replace(WON, champion=str(first.id))).active
    row = Promotion.objects.first()
    assert row is not None
    assert (row.kind, row.model_version, row.previous) == ("gate", second, first)
    with pytest.raises(AppendOnlyError):
        row.save()
    with pytest.raises(AppendOnlyError):
        row.delete()


def test_a_model_that_learnt_shuffled_labels_is_promoted_by_force_alone(tmp_path: Path) -> None:
    model = register(tmp_path / "a")
    TrainingRun.objects.create(
        candidate=model,
        state="succeeded",
        finished_at=timezone.now(),
        options={"shuffle_labels": True},
        gate=WON.to_json(),
    )
    with pytest.raises(Refused, match="shuffled labels") as refused:
        registry.promote(model=model, gate=WON)
    assert refused.value.code == "gate_refused"
    assert not ModelVersion.objects.filter(active=True).exists()
    assert registry.promote(model=model, gate=WON, force=True, reason="to see that it can be done").active


def test_rolling_back_goes_the_way_that_was_come_one_step_a_time(tmp_path: Path) -> None:
    models = [register(tmp_path / "x", content, name=content.decode(), activate=True) for content in (b"a", b"b", b"c")]
    assert registry.rollback() == models[1]
    assert registry.rollback() == models[0]
    with pytest.raises(Refused) as refused:
        registry.rollback()
    assert refused.value.code == "nothing_before"
    registry.activate_model(model=models[2])
    assert registry.rollback(reason="worse on phones") == models[0]
    assert ModelVersion.objects.get(active=True) == models[0]
    assert [row.kind for row in Promotion.objects.all()[:2]] == ["rollback", "forced"]


def test_activation_wakes_every_task_that_waited_for_a_model(
    video: Video, tmp_path: Path, doorbell: Doorbell, django_capture_on_commit_callbacks: Any
) -> None:
    analysis = analyses.queue_analysis(video=video)
    analyses.finish_extraction(claim=claimed(analysis), result=extraction(tmp_path))
    with django_capture_on_commit_callbacks(execute=True):
        register(tmp_path / "a", activate=True)
    assert doorbell.rung[-1] == ("worker.tasks.sweep", [])
    assert claimed(analysis, Stage.CLASSIFY)


def test_a_model_is_found_by_id_name_or_the_start_of_its_hash(tmp_path: Path) -> None:
    first, second = register(tmp_path / "a"), register(tmp_path / "b", b"2", name="second")
    for reference in (str(first.id), "first", first.sha256, first.sha256[:6].upper()):
        assert registry.find_model(reference=reference) == first
    assert registry.find_model(reference="second") == second
    with pytest.raises(Refused, match="No model is called 'abc'"):
        registry.find_model(reference="abc")
    second.name = "first"
    second.save()
    with pytest.raises(Refused, match="Several models"):
        registry.find_model(reference="first")


def test_local_weights_are_fetched_once_and_a_damaged_copy_is_fetched_again(tmp_path: Path, settings: Any) -> None:
    settings.VAR_DIR = tmp_path / "var"
    model = register(tmp_path / "a")
    path = registry.local_weights(model=model)
    path.write_bytes(b"damaged")
    assert registry.local_weights(model=model).read_bytes() == b"weights"
    default_storage.delete(str(model.file.name))
    assert registry.local_weights(model=model).read_bytes() == b"weights"  # storage is not asked twice


def test_a_stored_file_that_was_damaged_is_not_used_and_registering_again_mends_it(
    tmp_path: Path, settings: Any
) -> None:
    settings.VAR_DIR = tmp_path / "var"
    model = register(tmp_path / "a")
    Path(model.file.path).write_bytes(b"damaged")
    with pytest.raises(Refused, match="Register the file again"):
        registry.local_weights(model=model)
    assert list((tmp_path / "var" / "cache").iterdir()) == []
    mended = register(tmp_path / "a")
    assert mended == model
    assert registry.local_weights(model=mended).read_bytes() == b"weights"
