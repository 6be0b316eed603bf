"""The gate's answer as it is kept, and how often the holdout was asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detection.models import ModelVersion, RunState, Snapshot, TrainingRun
from detection.services.learning.gate_record import GateRecord
from detection.services.learning.holdout_looks import take_look

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, settings: Any) -> None:
    settings.VAR_DIR = tmp_path / "var"


def version(name: str) -> ModelVersion:
    return ModelVersion.objects.create(
        name=name, sha256=name.ljust(64, "0"), file=f"models/{name}", threshold=0.5, temperature=1.0
    )


def snapshot(name: str) -> Snapshot:
    return Snapshot.objects.create(sha256=name.ljust(64, "0"), manifest=f"snapshots/{name}", summary={"components": 9})


def test_a_record_is_read_as_it_was_written_and_those_of_earlier_versions_too() -> None:
    record = GateRecord(True, "Passed.", "abc", {"code": "won", "look": 2, "figures": {"auc": {"low": 0.1}}})
    assert GateRecord.from_json(json.loads(json.dumps(record.to_json()))) == record
    old = {"passed": True, "code": "won", "sentence": "Passed.", "champion": None, "n_components": 9}
    found = GateRecord.from_json(old)
    assert found is not None
    assert (found.passed, found.champion, found.facts["n_components"]) == (True, None, 9)
    empty: tuple[object, ...] = ({}, None, "text")
    assert [GateRecord.from_json(value) for value in empty] == [None, None, None]
    odd = GateRecord.from_json({"passed": "yes", "sentence": None})
    assert odd is not None
    assert (odd.passed, odd.sentence) == (False, "")


def test_it_goes_live_only_when_it_passed_against_the_model_that_is_active() -> None:
    champion, other = version("champion"), version("other")
    passed = GateRecord(True, "Passed.", str(champion.pk))
    assert passed.refusal(champion) is None
    assert passed.refusal(other) is not None
    assert passed.refusal(other)[0] == passed.refusal(None)[0] == "stale_gate"  # type: ignore[index]
    assert GateRecord(True, "First.", None).refusal(None) is None
    assert GateRecord(False, "Refused: no.", str(champion.pk)).refusal(champion) == ("gate_refused", "Refused: no.")


def test_every_question_to_the_holdout_is_a_look_and_the_same_one_again_is_the_same() -> None:
    champion, one = version("champion"), snapshot("one")
    candidates = [version(f"candidate{k}") for k in range(3)]
    looks = [take_look(snapshot=one, candidate=c, champion=champion, groups=20) for c in candidates]
    assert looks == [1, 2, 3]
    assert take_look(snapshot=one, candidate=candidates[1], champion=champion, groups=20) == 2
    assert take_look(snapshot=one, candidate=candidates[1], champion=None, groups=20) == 4  # against another model
    one.refresh_from_db()
    assert one.summary["components"] == 9
    assert [look["look"] for look in one.summary["looks"]] == [1, 2, 3, 4]


def test_a_few_labels_more_are_the_same_holdout_and_twice_the_people_are_another() -> None:
    champion, candidate = version("champion"), version("candidate")
    assert take_look(snapshot=snapshot("one"), candidate=candidate, champion=champion, groups=10) == 1
    assert take_look(snapshot=snapshot("two"), candidate=candidate, champion=champion, groups=11) == 2
    assert take_look(snapshot=snapshot("three"), candidate=candidate, champion=champion, groups=20) == 3
    assert take_look(snapshot=snapshot("four"), candidate=candidate, champion=champion, groups=23) == 2  # of 20 only


def test_looks_of_runs_from_before_they_were_noted_count() -> None:
    for facts in ({"figures": {"auc": {}}, "n_components": 12}, {"figures": {}, "code": "too_small"}, {}):
        TrainingRun.objects.create(state=RunState.QUEUED, gate=facts)
    assert take_look(snapshot=snapshot("one"), candidate=version("c"), champion=None, groups=12) == 2
