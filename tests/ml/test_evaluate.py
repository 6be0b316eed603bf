"""Figures agree with ones worked out by hand, and their intervals mean what they say."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from ml.evaluation.metrics import evaluate_scores, expected_calibration_error, ranking_figures

LABELS = [0, 0, 0, 0, 1, 1, 1, 1]
SCORES = [0.1, 0.2, 0.3, 0.8, 0.4, 0.6, 0.7, 0.9]


def test_figures_at_a_threshold_equal_the_hand_count() -> None:
    # called fake at 0.5: one real (0.8), three fakes (0.6, 0.7, 0.9); one fake (0.4) is missed
    found = evaluate_scores(LABELS, SCORES, threshold=0.5, n_bootstrap=10)
    assert found["confusion_matrix"] == [[3, 1], [1, 3]]
    for name in (
        "accuracy",
        "balanced_accuracy",
        "precision_real",
        "recall_real",
        "precision_fake",
        "recall_fake",
        "f1_fake",
    ):
        assert found[name]["value"] == pytest.approx(0.75), name
    # of the 16 pairs, the real at 0.8 outranks three fakes: 13 are in order
    assert found["auc"]["value"] == pytest.approx(13 / 16)
    # ranks of the fakes from the top: 1, 3, 4, 5
    assert found["average_precision"]["value"] == pytest.approx((1 / 1 + 2 / 3 + 3 / 4 + 4 / 5) / 4, abs=1e-6)
    assert found["eer"]["value"] == pytest.approx(0.25)
    squares = [0.01, 0.04, 0.09, 0.64, 0.36, 0.16, 0.09, 0.01]
    assert found["brier"]["value"] == pytest.approx(sum(squares) / 8)
    assert (found["n"], found["n_real"], found["n_fake"], found["majority_accuracy"]) == (8, 4, 4, 0.5)


@pytest.mark.parametrize("digits", [1, 6])
def test_ranking_figures_equal_scikit_learns_with_ties_and_without(digits: int) -> None:
    rng = np.random.default_rng(digits)
    labels = rng.integers(0, 2, size=300)
    scores = np.round(np.clip(0.2 * labels + rng.random(300) * 0.8, 0, 1), digits).astype(np.float64)
    auc, average_precision, eer = ranking_figures(labels, scores)
    assert auc == pytest.approx(roc_auc_score(labels, scores))
    assert average_precision == pytest.approx(average_precision_score(labels, scores))
    assert 0.2 < eer < 0.5


def test_a_score_at_the_threshold_is_fake() -> None:
    assert evaluate_scores([0, 1], [0.5, 0.5], threshold=0.5, n_bootstrap=1)["confusion_matrix"] == [[0, 1], [0, 1]]


def test_calibration_error_equals_the_hand_count() -> None:
    labels = np.array([0, 1, 1, 1])
    scores = np.array([0.25, 0.25, 0.95, 1.0])  # bins: mean 0.25 with half fakes, mean 0.975 with all fakes
    assert expected_calibration_error(labels, scores) == pytest.approx(0.5 * 0.25 + 0.5 * 0.025)


def test_a_perfect_and_a_useless_answer_are_told_apart_by_their_intervals() -> None:
    labels = np.arange(200) % 2
    perfect = evaluate_scores(labels, labels * 0.8 + 0.1, threshold=0.5, n_bootstrap=100)
    assert perfect["auc"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert perfect["eer"]["value"] == 0.0
    noise = evaluate_scores(labels, np.random.default_rng(0).random(200), threshold=0.5, n_bootstrap=200)
    assert noise["auc"]["low"] < 0.5 < noise["auc"]["high"]


def test_the_interval_holds_the_value_and_repeats_with_its_seed() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, size=120)
    scores = np.clip(0.3 * labels + rng.random(120) * 0.7, 0, 1)
    one = evaluate_scores(labels, scores, threshold=0.5, n_bootstrap=200, seed=4)
    assert one == evaluate_scores(labels, scores, threshold=0.5, n_bootstrap=200, seed=4)
    assert one["auc"]["low"] < one["auc"]["value"] < one["auc"]["high"]
    assert one["auc"] != evaluate_scores(labels, scores, threshold=0.5, n_bootstrap=200, seed=5)["auc"]


def test_videos_of_few_people_give_a_wider_interval_than_the_same_videos_of_many() -> None:
    rng = np.random.default_rng(2)
    person = np.repeat(np.arange(12), 20)
    labels = np.tile([0, 1], 120)
    easy = rng.normal(0, 1, size=12)[person]  # how well it goes depends on who it is
    scores = 1 / (1 + np.exp(-(easy * (2 * labels - 1) + rng.normal(0, 0.3, size=240))))

    def width(groups: list[str] | None) -> float:
        found = evaluate_scores(labels, scores, threshold=0.5, n_bootstrap=300, groups=groups)["accuracy"]
        return float(found["high"] - found["low"])

    assert width([str(p) for p in person]) > 2 * width(None)


def test_one_class_alone_gives_no_auc_but_an_accuracy() -> None:
    found = evaluate_scores([0, 0, 0], [0.1, 0.2, 0.9], threshold=0.5, n_bootstrap=20)
    assert found["auc"] == {"value": None, "low": None, "high": None}
    assert found["recall_real"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert found["majority_accuracy"] == 1.0
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("labels", "scores", "groups", "says"),
    [
        ([], [], None, "one length"),
        ([0, 1], [0.5], None, "one length"),
        ([0, 2], [0.5, 0.5], None, "label is 0"),
        ([0, 1], [0.5, 1.5], None, "probability"),
        ([0, 1], [0.5, float("nan")], None, "probability"),
        ([0, 1], [0.5, 0.5], ["a"], "groups"),
    ],
)
def test_nonsense_is_refused(labels: list[int], scores: list[float], groups: list[str] | None, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        evaluate_scores(labels, scores, threshold=0.5, groups=groups)
