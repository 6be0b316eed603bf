"""A new calibration from an installation's own labels, against scikit-learn and against the truth it was made from."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ml.config import Label
from ml.evaluation.recalibration import (
    FOLDS,
    CannotRecalibrate,
    Fit,
    JudgedVideo,
    cross_fitted,
    fit,
    folds,
    recalibrate,
)
from ml.model.decision import combine
from ml.model.inference import Classifier
from ml.model.weights import WeightsError, load_weights, read_info, save_with_info
from tests.ml.packs import drawn_face
from tests.weights import save_tiny


def judged(
    n: int = 400, *, seed: int = 0, scale: float = 3.0, shift: float = 1.0, segments: int = 1
) -> list[JudgedVideo]:
    """Videos whose log-odds are `scale` times too large and off by `shift`."""
    rng = np.random.default_rng(seed)
    found = []
    for k in range(n):
        truth = np.clip(rng.normal(0, 2, segments), -4, 4)  # further out float32 knows no better
        fake = rng.random() < combine([1 / (1 + math.exp(-x)) for x in truth])
        scores = tuple(float(1 / (1 + math.exp(-(scale * x + shift)))) for x in truth)
        found.append(JudgedVideo(f"video {k}", int(fake), f"group {k // 2}", scores))
    return found


def platt(videos: list[JudgedVideo]) -> tuple[float, float]:
    """The same optimum by scikit-learn: each video twice, once a label, weighted by Platt's targets."""
    x = np.array([math.log(video.segments[0] / (1 - video.segments[0])) for video in videos])
    y = np.array([video.label for video in videos])
    n_fake, n_real = int(y.sum()), int((1 - y).sum())
    target = np.where(y == 1, (n_fake + 1) / (n_fake + 2), 1 / (n_real + 2))
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-13, max_iter=1000)
    model.fit(
        np.concatenate([x, x])[:, None], np.repeat([1, 0], len(x)), sample_weight=np.concatenate([target, 1 - target])
    )
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def test_scale_and_shift_are_those_of_scikit_learn_and_undo_what_was_done_to_the_scores() -> None:
    videos = judged(4000)
    found = fit(videos)
    assert (found.scale, found.shift) == pytest.approx(platt(videos), rel=1e-7)
    assert found.scale == pytest.approx(1 / 3, rel=0.1)
    assert found.shift == pytest.approx(-1 / 3, abs=0.1)


def test_separated_videos_have_an_optimum_too() -> None:
    videos = [JudgedVideo(str(k), int(k >= 30), str(k), (0.4 if k < 30 else 0.6,)) for k in range(60)]
    found = fit(videos)
    assert found.apply(0.6) == pytest.approx(31 / 32, abs=1e-9)  # Platt's target: 30 of 30 are not all there are
    assert found.apply(0.4) == pytest.approx(1 / 32, abs=1e-9)


def test_videos_of_several_segments_are_fitted_by_the_rule_that_judges_them() -> None:
    videos = judged(1500, segments=4)

    def loss(point: Fit) -> float:
        y = np.array([video.label for video in videos])
        target = np.where(y == 1, (y.sum() + 1) / (y.sum() + 2), 1 / ((1 - y).sum() + 2))
        p = point.scores(videos)
        return float(-(target * np.log(p) + (1 - target) * np.log(1 - p)).sum())

    found = fit(videos)
    best = loss(found)
    around = [Fit(found.scale * (1 + a), found.shift + b) for a in (-0.02, 0, 0.02) for b in (-0.02, 0, 0.02)]
    assert all(loss(point) >= best - 1e-6 for point in around)
    assert found.scale == pytest.approx(1 / 3, rel=0.15)


def test_scores_that_point_the_wrong_way_are_not_turned_round() -> None:
    videos = [replace(video, label=1 - video.label) for video in judged(600)]
    with pytest.raises(CannotRecalibrate, match="say nothing of these labels"):
        fit(videos)


def test_what_is_said_of_the_new_calibration_was_fitted_on_other_people() -> None:
    videos = judged(300)
    fold = folds(videos)
    groups: dict[str, set[int]] = {}
    for video, number in zip(videos, fold, strict=True):
        groups.setdefault(video.component, set()).add(int(number))
    assert all(len(numbers) == 1 for numbers in groups.values())
    assert sorted(set(fold.tolist())) == list(range(FOLDS))
    crossed = cross_fitted(videos)
    for k in range(FOLDS):
        others = [video for video, number in zip(videos, fold, strict=True) if number != k]
        scale, shift = platt(others)
        for video, number, score in zip(videos, fold, crossed, strict=True):
            if number == k:
                log_odds = scale * math.log(video.segments[0] / (1 - video.segments[0])) + shift
                assert score == pytest.approx(1 / (1 + math.exp(-log_odds)), rel=1e-6)


def test_a_better_calibration_passes_and_one_that_is_no_better_is_refused() -> None:
    better = recalibrate(judged(600), threshold=0.5)
    assert better.gate.passed, better.gate.sentence
    assert better.after["brier"]["value"] < better.before["brier"]["value"]
    assert better.threshold == pytest.approx(better.fit.apply(0.5), rel=1e-12)
    reals = [video for video in judged(600) if video.label == Label.REAL]
    strict = recalibrate(judged(600), threshold=0.5, false_alarms=0.1, n_bootstrap=200)
    assert (strict.fit.scores(reals) >= strict.threshold).mean() <= 0.1
    same = recalibrate(judged(600, scale=1.0, shift=0.0), threshold=0.5, false_alarms=0.1)
    assert same.gate.code == "not_better"
    assert "must be lower with 97.5 % confidence" in same.gate.sentence


def test_each_further_recalibration_of_the_same_weights_may_spend_less() -> None:
    first, third = (recalibrate(judged(200), threshold=0.5, false_alarms=0.1, look=look) for look in (1, 3))
    assert first.gate.alpha == pytest.approx(0.05 / 2)
    assert third.gate.alpha == pytest.approx(0.05 / 12)
    spans = [r.gate.figures["brier"] for r in (first, third)]
    assert spans[1]["high"] > spans[0]["high"]  # type: ignore[operator]


def test_a_threshold_that_loses_fakes_for_certain_does_not_pass() -> None:
    lost = recalibrate(judged(900), threshold=0.2, false_alarms=0.005)
    assert lost.gate.code == "worse_recall"
    kept = recalibrate(judged(900), threshold=0.2, fake_recall=0.95)
    assert kept.gate.passed, kept.gate.sentence


@pytest.mark.parametrize(("reals", "fakes", "missing"), [(19, 40, "19 real"), (40, 19, "19 fake"), (40, 0, "0 fake")])
def test_too_few_labels_are_refused_with_the_numbers_that_it_takes(reals: int, fakes: int, missing: str) -> None:
    videos = [JudgedVideo(f"r{k}", Label.REAL, f"r{k}", (0.3,)) for k in range(reals)]
    videos += [JudgedVideo(f"f{k}", Label.FAKE, f"f{k}", (0.7,)) for k in range(fakes)]
    with pytest.raises(CannotRecalibrate, match=f"{missing} videos.*20 real and 20 fake ones, each of 10 groups"):
        recalibrate(videos, threshold=0.5, false_alarms=0.1)


def test_many_videos_of_few_people_are_refused_too() -> None:
    videos = [JudgedVideo(f"{k}", k % 2, f"{k % 2} {k % 9}", (0.2 + 0.5 * (k % 2),)) for k in range(200)]
    with pytest.raises(CannotRecalibrate, match=r"100 real videos of 8\.9 groups of people"):
        recalibrate(videos, threshold=0.5, false_alarms=0.1)


def test_the_recall_of_fakes_that_are_mostly_one_persons_is_not_taken_for_kept() -> None:
    """A better Brier score on the reals let a threshold through that finds a third fewer of the fakes."""
    rng = np.random.default_rng(0)
    reals = [JudgedVideo(f"r{k}", Label.REAL, f"r{k // 2}", (_sigmoid(rng.normal(-0.3, 0.1)),)) for k in range(400)]
    for many, groups in ((42, "1.9"), (28, "4.1")):
        fakes = [
            JudgedVideo(f"f{k}", Label.FAKE, f"f{max(k, many)}", (_sigmoid(0.18 if k % 3 else -0.045),))
            for k in range(60)
        ]
        with pytest.raises(CannotRecalibrate, match=f"60 fake videos of {groups} groups of people;"):
            recalibrate([*reals, *fakes], threshold=_sigmoid(-0.06), false_alarms=0.005, n_bootstrap=200)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_the_same_weights_score_with_temperature_and_shift(tmp_path: Path) -> None:
    old = tmp_path / "old.safetensors"
    save_tiny(old)
    info = replace(read_info(old), temperature=2.0, shift=-1.25)
    sha256 = save_with_info(old, info, tmp_path / "new.safetensors")
    state = [load_weights(path)[0].state_dict() for path in (old, tmp_path / "new.safetensors")]
    assert all((state[0][name] == state[1][name]).all() for name in state[0])
    faces = [[drawn_face(k) for k in range(3)]]
    before, after = (
        Classifier.load(path, device="cpu").score(faces)[0] for path in (old, tmp_path / "new.safetensors")
    )
    assert read_info(tmp_path / "new.safetensors") == info
    assert load_weights(tmp_path / "new.safetensors", sha256=sha256)[1].shift == -1.25
    fitted = Fit(0.5, -1.25)
    assert after.fake_probability == pytest.approx(fitted.apply(before.fake_probability), abs=1e-6)
    assert after.frame_probabilities == pytest.approx(
        [fitted.apply(p or 0.0) for p in before.frame_probabilities], abs=1e-6
    )


def test_weights_without_a_shift_are_read_by_programs_that_know_of_none(tmp_path: Path) -> None:
    save_tiny(tmp_path / "tiny.safetensors")
    assert "shift" not in read_info(tmp_path / "tiny.safetensors").to_header()["dfd"]


@pytest.mark.parametrize("shift", [math.nan, math.inf, 51.0, "1", True])
def test_a_shift_that_is_no_number_is_refused(tmp_path: Path, shift: object) -> None:
    path = tmp_path / "tiny.safetensors"
    save_tiny(path)
    bad = tmp_path / "bad.safetensors"
    save_with_info(path, replace(read_info(path), shift=shift), bad)  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match="shift"):
        read_info(bad)
