"""The verdict over several segments: false alarms do not grow with them, and what is forged is still found."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ml.config import ModelConfig
from ml.model.decision import Look, combine, decide
from ml.model.inference import TrackScore
from ml.model.weights import WeightsInfo

INFO = WeightsInfo("test", ModelConfig(), threshold=0.5, experimental=False)
LARGEST_EXCESS = 0.02
ROUNDS = 4000


def look(segment: int, probability: float, track: int = 0) -> Look:
    return Look(track, segment, TrackScore(probability, (probability,) * 10))


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def log_odds(rng: np.random.Generator, separation: float, alike: float, segments: int, *, fake: bool) -> np.ndarray:
    """(rounds, segments): calibrated scores of a model of this separation; `alike`: correlation within a video."""
    shared, own = rng.normal(size=(ROUNDS, 1)), rng.normal(size=(ROUNDS, segments))
    noise = math.sqrt(alike) * shared + math.sqrt(1 - alike) * own
    return (1 if fake else -1) * separation**2 / 2 + separation * noise


def called_fake(scores: np.ndarray) -> float:
    return float(np.mean([combine(row) >= 0.5 for row in sigmoid(scores).tolist()]))


@pytest.mark.parametrize("segments", [2, 4, 8])
@pytest.mark.parametrize("separation", [0.7, 1.35, 2.0, 3.0, 4.0])
def test_real_videos_are_called_fake_no_more_often_for_being_long(segments: int, separation: float) -> None:
    rng = np.random.default_rng(1)
    for alike in (0.0, 0.5, 0.9):
        scores = log_odds(rng, separation, alike, segments, fake=False)
        single = float((scores[:, 0] >= 0).mean())
        assert called_fake(scores) <= single + LARGEST_EXCESS, alike


def test_without_a_rule_eight_segments_would_be_called_fake_far_too_often() -> None:
    scores = log_odds(np.random.default_rng(1), 2.0, 0.0, 8, fake=False)
    assert (scores.max(1) >= 0).mean() > (scores[:, 0] >= 0).mean() + 0.4


def test_what_is_forged_throughout_is_found_as_often_and_one_passage_most_times() -> None:
    rng = np.random.default_rng(2)
    for alike in (0.0, 0.5, 0.9):
        scores = log_odds(rng, 2.5, alike, 8, fake=True)
        assert called_fake(scores) >= (scores[:, 0] >= 0).mean() - 0.01
    scores = log_odds(rng, 2.5, 0.0, 8, fake=False)
    scores[:, 3] = log_odds(rng, 2.5, 0.0, 8, fake=True)[:, 0]
    assert called_fake(scores) > 0.6


def test_one_segment_is_its_most_fake_person_to_the_last_bit() -> None:
    verdict = decide([look(0, 0.1234567891234, 0), look(0, 0.3, 1)], INFO)
    assert (verdict.fake_probability, verdict.track) == (0.3, 1)
    assert [person.fake_probability for person in verdict.people] == [0.1234567891234, 0.3]


def test_a_passage_must_be_surer_than_a_video_and_is_named() -> None:
    calm = [look(segment, 0.1) for segment in range(7)]
    sure = decide([*calm, look(7, 0.99, track=1)], INFO)
    assert (sure.label, sure.track) == ("fake", 1)
    assert 0.5 < sure.fake_probability < 0.99
    doubtful = decide([*calm, look(7, 0.7, track=1)], INFO)
    assert doubtful.label == "real"
    assert "suspect_segment" in doubtful.review_reasons
    assert doubtful.segments[7].fake_probability == 0.7
    assert "suspect_segment" not in decide(calm, INFO).review_reasons


def test_segments_that_agree_weigh_as_one_and_certainty_does_no_harm() -> None:
    assert combine([0.8] * 8) == pytest.approx(0.8)
    assert combine([1.0, 0.0]) == pytest.approx(1.0, abs=1e-3)
    assert combine([0.0, 0.0]) == pytest.approx(0.0, abs=1e-3)
