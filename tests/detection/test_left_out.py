"""Who is no person decides nothing: the rule, held against the one that workers decide by."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from detection.models import FaceFrame, ModelVersion, Verdict
from detection.services.jobs import left_out
from detection.services.jobs.verdicts import verdict_fields
from ml.config import DecisionConfig, ModelConfig
from ml.model import decision
from ml.model.calibration import AssessmentBorders
from ml.model.inference import TrackScore
from ml.model.weights import WeightsInfo
from worker.stages.shown import Shown
from worker.stages.verdict import verdict

BORDERS = AssessmentBorders(0.2, 0.1, 0.8, 0.02, 100).to_metrics()


def test_the_numbers_are_the_workers() -> None:
    config = DecisionConfig()
    assert (config.uncertain_margin, config.few_faces) == (left_out.UNCERTAIN_MARGIN, left_out.FEW_FACES)
    assert decision.FEW_SEGMENTS_PENALTY == left_out.FEW_SEGMENTS_PENALTY
    rng = random.Random(0)
    for length in range(1, 9):
        values = [rng.choice((0.0, 1.0, rng.random())) for _ in range(length)]
        assert left_out.combine(values) == pytest.approx(decision.combine(values), abs=1e-12)


Seen = dict[tuple[int, int], tuple[float, int, bool]]
"""(track, segment) to (score, faces, still)."""


def judged(seen: Seen, *, metrics: dict[str, Any], sensitive: bool = False) -> Verdict:
    """The row that a worker would have stored."""
    info = WeightsInfo(name="m", config=ModelConfig(), threshold=0.5, experimental=False, metrics=metrics)
    sequences, scores = [], []
    for (track, segment), (score, faces, still) in sorted(seen.items()):
        run = [
            FaceFrame(track=track, segment=segment, position=k, frame_number=k, timestamp_s=k, still=still)
            for k in range(faces)
        ]
        sequences.append((track, run))
        scores.append(TrackScore(score, (score,) * faces))
    model = ModelVersion(name="m", threshold=0.5, metrics=metrics)
    result = verdict(model, SimpleNamespace(info=info), Shown([], sequences), scores, sensitive=sensitive)  # type: ignore[arg-type]
    row = Verdict(model_version=model)
    for name, value in verdict_fields(result, now=None).items():  # type: ignore[arg-type]
        setattr(row, name, value)
    return row


def drawn(rng: random.Random, segments: int) -> Seen:
    people, still = rng.randint(2, 4), rng.random() < 0.3
    return {
        (track, segment): (rng.random(), rng.choice((4, 10, 12)), still and track == 1)
        for track in range(people)
        for segment in range(segments)
        if segments == 1 or rng.random() < 0.7
    }


@pytest.mark.parametrize("segments", [1, 3])
@pytest.mark.parametrize("metrics", [{}, {"assessment": BORDERS}])
def test_without_somebody_it_is_what_a_worker_would_decide_without_them(segments: int, metrics: dict[str, Any]) -> None:
    rng = random.Random(segments)
    turned = 0
    for _ in range(60):
        seen = drawn(rng, segments)
        tracks = sorted({track for track, _ in seen})
        if len(tracks) < 2 or all(still for *_, still in seen.values()):
            continue
        gone = [track for track in tracks if track == 0 or (track == 2 and rng.random() < 0.5)]
        rest = {key: value for key, value in seen.items() if key[0] not in gone}
        row = judged(seen, metrics=metrics, sensitive=rng.random() < 0.2)
        before = {name: getattr(row, name) for name in (*left_out.DECIDED, "segments", "people")}
        left_out.leave_out(row, gone)
        assert row.left_out == gone
        if rest and not all(still for *_, still in rest.values()):
            wanted = judged(rest, metrics=metrics)
            assert (row.label, row.track, row.assessment) == (wanted.label, wanted.track, wanted.assessment)
            assert row.fake_probability == pytest.approx(wanted.fake_probability, abs=1e-12)
            rare = {"few_faces", "sensitive_faces"} if segments > 1 else {"sensitive_faces"}
            assert set(row.review_reasons) - rare == set(wanted.review_reasons) - rare
            assert row.needs_review == bool(row.review_reasons)
            assert row.with_everybody == {name: before[name] for name in left_out.DECIDED}
            scores = {part["segment"]: part["fake_probability"] for part in wanted.segments or ()}
            if wanted.segments is not None:
                assert left_out.segment_scores(row) == scores
            assert (row.segments, row.people) == (before["segments"], before["people"])
            turned += row.label != before["label"]
        left_out.leave_out(row, [])
        assert {name: getattr(row, name) for name in before} == before
        assert (row.left_out, row.with_everybody) == (None, None)
    assert turned > 3


def test_where_nobody_is_left_the_models_own_outcome_stays() -> None:
    row = judged({(0, 0): (0.9, 10, False), (1, 0): (0.2, 10, False)}, metrics={})
    left_out.leave_out(row, [0])
    assert (row.label, row.track) == ("real", 1)
    left_out.leave_out(row, [0, 1])
    assert (row.label, row.fake_probability, row.track, row.left_out, row.with_everybody) == (
        "fake", 0.9, 0, [0, 1], None,
    )  # fmt: skip
    left_out.leave_out(row, [1])
    assert (row.label, row.left_out) == ("fake", [1])


def test_a_still_picture_decides_where_all_who_live_are_no_people() -> None:
    row = judged({(0, 0): (0.9, 10, False), (1, 0): (0.3, 10, True)}, metrics={})
    assert row.track == 0
    left_out.leave_out(row, [0])
    assert (row.label, row.track, row.fake_probability) == ("real", 1, 0.3)
