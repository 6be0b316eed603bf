"""A model becomes the active one only when chance cannot explain that it is better."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_ind
from sklearn.metrics import roc_auc_score

from ml.config import GateConfig, Label
from ml.evaluation.bootstrap import STEP, ClusterBootstrap
from ml.evaluation.metrics import ranking_metrics
from ml.evaluation.promotion_gate import FIGURES, compare, compare_alone
from ml.evaluation.scored_video import ScoredVideo
from ml.evaluation.simulate import NULL, Situation, null_passes


def scored(n: int = 60, *, skill: float, seed: int = 0, people: int = 20) -> list[ScoredVideo]:
    """As many reals as fakes; the scores of both lie `skill` standard deviations apart."""
    noise = np.random.default_rng(seed).normal(0, 1, size=n)
    margins = noise + skill * (np.arange(n) % 2 - 0.5)
    return [
        ScoredVideo(key=f"v{k:03d}", label=k % 2, score=float(1 / (1 + np.exp(-m))), component=f"p{k // 2 % people}")
        for k, m in enumerate(margins)
    ]


def rescored(videos: list[ScoredVideo], scores: list[float]) -> list[ScoredVideo]:
    return [replace(video, score=score) for video, score in zip(videos, scores, strict=True)]


def gate(champion: list[ScoredVideo], challenger: list[ScoredVideo], **more: float):  # type: ignore[no-untyped-def]
    thresholds = {"champion_threshold": 0.5, "candidate_threshold": 0.5} | more
    return compare(champion, challenger, n_bootstrap=500, **thresholds)  # type: ignore[arg-type]


def test_a_clear_win_passes_and_names_the_figures() -> None:
    found = gate(scored(skill=0.3), scored(skill=3.0, seed=1))
    assert (found.passed, found.code) == (True, "won")
    assert (found.n_videos, found.n_real, found.n_fake, found.n_components) == (60, 30, 30, 20)
    auc = found.figures["auc"]
    assert auc["low"] > 0
    assert auc["difference"] == pytest.approx(auc["challenger"] - auc["champion"], abs=2e-6)
    assert auc["low"] < auc["difference"] < auc["high"]
    assert found.sentence.startswith("Passed: on 60 held-out videos of 20 groups of people the candidate's AUC is ")
    assert set(found.figures) == set(FIGURES)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["figures"]["auc"] == auc


def test_the_figures_are_those_of_the_videos() -> None:
    champion, challenger = scored(skill=1.0), scored(skill=2.0, seed=3)
    found = gate(champion, challenger, champion_threshold=0.4, candidate_threshold=0.6)
    labels = np.array([v.label for v in challenger])
    for name, videos, threshold in (("champion", champion, 0.4), ("challenger", challenger, 0.6)):
        scores = np.array([v.score for v in videos])
        right = (scores >= threshold) == (labels == 1)
        assert found.figures["auc"][name] == pytest.approx(ranking_metrics(labels, scores)[0], abs=1e-6)
        assert found.figures["accuracy"][name] == pytest.approx(right.mean(), abs=1e-6)
        assert found.figures["recall_fake"][name] == pytest.approx(right[labels == 1].mean(), abs=1e-6)


def test_the_same_model_again_is_not_better() -> None:
    videos = scored(skill=1.5)
    found = gate(videos, list(reversed(videos)))  # in whatever order a query gives them
    assert (found.passed, found.code) == (False, "not_better")
    assert all((f["difference"], f["low"], f["high"]) == (0, 0, 0) for f in found.figures.values())
    assert "difference 0.00, 95 % interval 0.00 to 0.00" in found.sentence
    assert "it must be better with 97.5 % confidence" in found.sentence


def test_a_little_better_on_few_videos_is_not_enough() -> None:
    videos = scored(n=20, skill=1.0, people=8)
    k = min((k for k, v in enumerate(videos) if v.label == 1), key=lambda k: videos[k].score)
    found = gate(videos, rescored(videos, [0.6 if i == k else v.score for i, v in enumerate(videos)]))
    assert found.figures["auc"]["difference"] > 0
    assert (found.passed, found.code) == (False, "not_better")


def test_shuffled_scores_lose_against_a_good_model() -> None:
    champion = scored(skill=2.0)
    shuffled = np.random.default_rng(7).permutation([v.score for v in champion]).tolist()
    found = gate(champion, rescored(champion, shuffled))
    assert (found.passed, found.code) == (False, "not_better")
    assert found.figures["auc"]["high"] < 0
    assert "difference -0." in found.sentence


def test_better_than_a_bad_model_is_not_enough_when_it_is_guessing() -> None:
    champion = scored(skill=-2.0)  # wrong more often than not
    found = gate(champion, scored(skill=0.0, seed=5))
    assert (found.passed, found.code) == (False, "no_better_than_chance")
    assert "cannot be told from guessing" in found.sentence


def test_a_better_ranking_at_a_threshold_that_misses_fakes_is_refused() -> None:
    champion, challenger = scored(skill=0.8), scored(skill=3.0, seed=2)
    found = gate(champion, challenger, candidate_threshold=0.97)
    assert (found.passed, found.code) == (False, "worse_recall")
    assert found.figures["recall_fake"]["high"] < -GateConfig().max_recall_loss
    assert "clearly fewer of the fakes" in found.sentence


def test_the_recall_of_a_model_that_calls_everything_fake_is_no_bar() -> None:
    champion, challenger = scored(skill=0.8), scored(skill=3.0, seed=2)
    found = gate(champion, challenger, champion_threshold=0.01, candidate_threshold=0.9)
    assert found.figures["recall_fake"]["high"] < -GateConfig().max_recall_loss
    assert found.figures["balanced_accuracy"]["champion_low"] <= 0.5
    assert (found.passed, found.code) == (True, "won")
    assert "so its recall says nothing." in found.sentence


@pytest.mark.parametrize(
    ("keep", "says"),
    [
        (lambda v: v.label == 1 or v.key < "v008", "1 more real video, 1 more group of people in the reals."),
        (lambda v: v.label == 0 or v.key < "v004", "3 more fake videos, 3 more groups of people in the fakes."),
        (
            lambda v: v.component in ("p1", "p2", "p3", "p4"),
            "1 more group of people in the reals, 1 more group of people in the fakes.",
        ),
        (lambda v: v.label == 1 or v.component in ("p1", "p2", "p3"), "2 more groups of people in the reals."),
        (
            lambda v: False,
            "5 more real videos, 5 more fake videos, 5 more groups of people in the reals, "
            "5 more groups of people in the fakes.",
        ),
    ],
)
def test_too_few_videos_are_refused_with_what_is_missing(keep, says: str) -> None:  # type: ignore[no-untyped-def]
    champion = [v for v in scored(n=200, skill=0.3) if keep(v)]
    found = gate(champion, [replace(v, score=float(v.label)) for v in champion])
    assert (found.passed, found.code, found.figures) == (False, "too_small", {})
    assert found.sentence.endswith(f"still needed: {says}")
    alone = compare_alone(champion, 0.5)
    assert (alone.code, alone.sentence) == (found.code, found.sentence)


def test_other_videos_labels_or_people_are_no_comparison() -> None:
    videos = scored(skill=1.0)
    for other in (
        videos[:-1],
        [*videos[:-1], replace(videos[-1], key="another")],
        [*videos[:-1], replace(videos[-1], label=0)],
        [*videos[:-1], replace(videos[-1], component="else")],
        [*videos, videos[0]],
        [*videos[:-1], replace(videos[-1], score=float("nan"))],
    ):
        with pytest.raises(ValueError):
            gate(videos, other)


def test_alone_a_model_must_beat_guessing() -> None:
    good = compare_alone(scored(skill=2.0), 0.5, n_bootstrap=500)
    assert (good.passed, good.code) == (True, "won")
    assert good.figures["auc"]["champion"] is good.figures["auc"]["low"] is None
    assert (good.figures["auc"]["challenger_low"] or 0) > 0.5
    guess = compare_alone(scored(skill=0.0, seed=5), 0.5, n_bootstrap=500)
    assert (guess.passed, guess.code) == (False, "no_better_than_chance")
    json.dumps([good.to_dict(), guess.to_dict()], allow_nan=False)


def test_guessing_seldom_wins() -> None:
    """The confidence is what it says: about one guesser in twenty gets through, where people are many enough."""
    passed = [compare_alone(scored(skill=0.0, seed=seed), 0.5, n_bootstrap=300).passed for seed in range(200)]
    assert np.mean(passed) < 0.1


def test_the_answer_repeats_with_its_seed() -> None:
    champion, challenger = scored(skill=1.0), scored(skill=1.5, seed=9)
    assert gate(champion, challenger) == gate(champion, challenger)


def test_videos_of_few_people_do_not_win_what_videos_of_many_would() -> None:
    """The same scores: who is better on three of six people has not shown it for the next one."""
    champion = [replace(v, score=0.5) for v in scored(n=120, skill=0.0)]
    better = {"p0", "p1", "p2"}

    def challenger(component: str, v: ScoredVideo) -> ScoredVideo:
        return replace(v, component=component, score=0.5 + (0.3 if component in better else -0.24) * (2 * v.label - 1))

    few = [challenger(f"p{k // 2 % 6}", v) for k, v in enumerate(champion)]
    many = [replace(v, component=v.key) for v in few]
    of = {"few": few, "many": many}
    low = {
        name: gate([replace(c, component=v.component) for c, v in zip(champion, vs, strict=True)], vs).figures["auc"][
            "low"
        ]
        for name, vs in of.items()
    }
    assert low["few"] < low["many"]


def test_a_draw_weighs_whole_components_and_counts_as_scikit_learns_sample_weights() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, size=80)
    scores = np.round(rng.random(80), 1)  # ties
    components = [f"c{k % 9}" for k in range(80)]
    draws = ClusterBootstrap(components, labels, 40, np.random.default_rng(1))
    assert draws.weights.shape == (40, 9)
    assert draws.weights.mean(axis=1) == pytest.approx(1)
    drawn = 1 + (draws.weights - 1) / STEP
    assert drawn * 8 / 9 == pytest.approx((drawn * 8 / 9).round())  # 8 of 9 groups, with replacement
    right = (scores >= 0.5) == (labels == 1)
    aucs, rates = draws.auc(labels, scores), draws.rate(right, labels == Label.FAKE)
    for k, weights in enumerate(draws.weights):
        each = weights[draws.which]
        assert aucs[k] == pytest.approx(roc_auc_score(labels, scores, sample_weight=each))
        assert rates[k] == pytest.approx(np.average(right[labels == 1], weights=each[labels == 1]))


def test_the_bootstraps_error_is_the_one_of_the_text_book() -> None:
    """Of a mean over equal groups: their standard deviation over the root of their number, with n - 1 degrees."""
    means = np.array([0.2, 0.5, 0.9, 0.4, 0.6, 0.1])
    hits = np.concatenate([np.arange(10) < 10 * mean for mean in means])
    labels = np.zeros(60, dtype=np.int64)
    draws = ClusterBootstrap([str(k // 10) for k in range(60)], labels, 20_000, np.random.default_rng(0))
    spread = draws.spread(draws.rate(hits, labels == 0))
    assert spread.error == pytest.approx(means.std(ddof=1) / 6**0.5, rel=0.02)
    assert spread.df == pytest.approx(5)


def test_two_strata_are_welchs_test() -> None:
    """Reals of 5 people, fakes of 20: errors add up, and the degrees of freedom are those of Satterthwaite."""
    rng = np.random.default_rng(4)
    values = np.concatenate([rng.random(5), rng.random(20) * 0.5])
    labels = (np.arange(25) >= 5).astype(np.int64)
    draws = ClusterBootstrap([str(k) for k in range(25)], labels, 40_000, np.random.default_rng(0))
    real, fake = labels == 0, labels == 1
    means = [draws.totals(values * mask) / draws.totals(mask) for mask in (real, fake)]
    spread = draws.spread(means[0] - means[1])
    welch = ttest_ind(values[real], values[fake], equal_var=False)
    assert spread.error == pytest.approx(abs((values[real].mean() - values[fake].mean()) / welch.statistic), rel=0.02)
    assert spread.df == pytest.approx(welch.df, rel=0.05)


# --- looks -----------------------------------------------------------------------------------------------------------


def test_all_looks_at_a_holdout_spend_no_more_than_one_did() -> None:
    config = GateConfig()
    spent = [config.alpha_of(look) for look in range(1, 10_001)]
    assert spent[:3] == pytest.approx([0.025, 0.05 / 6, 0.05 / 12])
    assert sum(spent) < config.alpha
    assert sum(spent) == pytest.approx(config.alpha, rel=1e-3)
    with pytest.raises(ValueError, match="look 1"):
        gate(scored(skill=1.0), scored(skill=2.0), look=0)


def test_a_later_look_asks_for_more_and_says_so() -> None:
    champion, challenger = scored(skill=1.4), scored(skill=3.0, seed=1)
    first, fortieth = gate(champion, challenger), gate(champion, challenger, look=40)
    assert first.passed
    assert (fortieth.passed, fortieth.code) == (False, "not_better")
    assert fortieth.figures["auc"]["low"] < first.figures["auc"]["low"]
    assert fortieth.figures["recall_fake"] == first.figures["recall_fake"]  # what only vetoes is not made milder
    assert (first.look, first.alpha, fortieth.look) == (1, 0.025, 40)
    assert first.sentence.endswith(
        "It is look 1 at this holdout: of the 5 % that chance may win in all looks together, this one may spend 2.5 %."
    )
    assert "look 40 at this holdout" in fortieth.sentence
    assert "better with 99.997 % confidence" in fortieth.sentence


# --- a candidate that is exactly as good as the champion ------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("situation", NULL, ids=lambda s: f"{s.name} {s.groups}")
def test_an_equal_candidate_seldom_passes(situation: Situation) -> None:
    """Promised: at most 5 %.  Of 400 trials at 5 % more than 8 % pass once in 300 times."""
    assert null_passes(situation, trials=400, n_bootstrap=200) <= 0.08


@pytest.mark.slow
def test_five_equal_candidates_seldom_pass_one_holdout() -> None:
    assert null_passes(Situation("", 20, 4), trials=200, looks=5, n_bootstrap=200) <= 0.09


@pytest.mark.parametrize(
    "situation",
    [Situation("", 10, 4, real_groups=5), Situation("", 20, 4, real_groups=5), Situation("", 6, 6)],
    ids=["one label each", "reals of 5", "both"],
)
def test_an_equal_candidate_passes_in_at_most_one_of_twenty(situation: Situation) -> None:
    assert null_passes(situation, trials=60, n_bootstrap=100) <= 0.13  # 5 % of 60, and three standard errors


@pytest.mark.parametrize("reals_of", [1, 2])
def test_an_equal_candidate_never_passes_on_reals_of_one_or_two_people(reals_of: int) -> None:
    """Item 4 of the audit: on reals of one person 29 % passed, on reals of two up to 17 %."""
    assert null_passes(Situation("", 40, 4, real_groups=reals_of), trials=10, n_bootstrap=50) == 0
